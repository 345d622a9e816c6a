"""The events of many users out of the store, by one statement."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
import numpy as np

from headrace.serving.store import Rows, Store

USER_ROW = np.dtype(
    [("user", "i8"), ("sequence", "i8"), ("item", "i8"), ("time", "i8"), ("type", "i8"), ("value", "f8")]
)

# One row of lists, not a row for each event: the driver gives the interpreter lock away and waits for it at each row.
_COLUMNS = ("e.user_key", "e.sequence", "e.item_key", "e.time", "e.type", "min(max(e.value, -1e39), 1e39)")
_LISTS = ", ".join(f"json_group_array({column})" for column in _COLUMNS)
_EVENTS = f"SELECT {_LISTS} FROM json_each(?) AS wanted JOIN events AS e ON e.user_key = wanted.value"
_KEYS = (
    "SELECT json_group_array(u.user_id), json_group_array(u.key) "
    "FROM json_each(?) AS wanted JOIN users AS u ON u.user_id = wanted.value"
)
_LIST = msgspec.json.Decoder(list[Any])


def keys_of(store: Store, user_ids: Iterable[str]) -> dict[str, int]:
    """Return the keys of those users whom the store knows."""
    ids, keys = (_LIST.decode(one) for one in store.fetch(_KEYS, (_json(list(user_ids)),)))
    return dict(zip(ids, keys, strict=True))


def rows_of(store: Store, keys: Sequence[int], until: int) -> Rows:
    """Return the events of these users of sequence up to `until` as `USER_ROW`s, in no order; NaN where no value is."""
    lists = store.fetch(f"{_EVENTS} AND e.sequence <= ?", (_json(keys), until))
    users, numbers, items, times, kinds, values = (_LIST.decode(one) for one in lists)
    index, rows = store.type_index(), np.empty(len(users), USER_ROW)
    rows["user"], rows["sequence"], rows["item"], rows["time"] = users, numbers, items, times
    rows["type"] = [index[kind] for kind in kinds]
    rows["value"] = np.array(values, np.float64)  # None becomes NaN
    return rows


def _json(wanted: Sequence[str] | Sequence[int]) -> str:
    return msgspec.json.encode(wanted).decode()
