"""What the service remembers of each recent user: the history in canonical order; the store has the rest."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from headrace.core.order import Hashes, id_hash, id_hashes, pair_hash
from headrace.data.log import EMPTY_HISTORY, EventLog, Floats, History, Longs
from headrace.serving.batch import Applied
from headrace.serving.store import Rows, Store

Order: TypeAlias = NDArray[np.intp]

_USER_BYTES = 1090
"""The Python objects of one user, measured with tracemalloc: the id, six array headers, the place in the cache."""
_EVENT_BYTES = 36
"""item, type, value: 4 bytes each; time, tie-breaker, sequence: 8 each."""


class ItemHashes:
    """The hash of each item id by key, for the canonical order."""

    def __init__(self, ids: Sequence[str]) -> None:
        """`ids[i]` has key i + 1."""
        self._hashes = np.concatenate((np.zeros(1, np.uint64), id_hashes(ids)))
        self._count = len(self._hashes)

    def append(self, item_id: str) -> None:
        """Add the item of the next key."""
        if self._count == len(self._hashes):
            self._hashes = np.concatenate((self._hashes, np.zeros(max(1024, self._count), np.uint64)))
        self._hashes[self._count] = id_hash(item_id)
        self._count += 1

    def of(self, keys: Longs) -> Hashes:
        """Return the hashes of keys."""
        return self._hashes[keys]


@dataclass
class UserState:
    """One user: who they are and what they did, canonical order."""

    key: int
    user_hash: int
    history: History
    ties: Hashes
    sequences: Longs

    @property
    def size(self) -> int:
        """Bytes that it takes."""
        return _USER_BYTES + _EVENT_BYTES * len(self.history)


class Histories:
    """Histories of recent users, least recently used out first, read again from the store when asked for."""

    def __init__(self, store: Store, hashes: ItemHashes, limit: int) -> None:
        """`limit` is in bytes."""
        self._store = store
        self._hashes = hashes
        self._limit = limit
        self._states: OrderedDict[str, UserState] = OrderedDict()
        self.bytes = 0

    def get(self, user_id: str, until: int) -> UserState | None:
        """Return a user's state as of sequence `until`, None if the store does not know them."""
        state = self._states.get(user_id)
        if state is not None:
            self._states.move_to_end(user_id)
            return state
        found = self._store.read_history(user_id, until)
        if found is None:
            return None
        key, rows = found
        return self._keep(user_id, state_of_rows(rows, self._hashes, (key, user_id)))

    def add(self, events: Sequence[Applied], until: int) -> tuple[History, History, int]:
        """Add events of one user and return their history before, after, and the first place that differs.

        Args:
            events: of one user, any order.
            until: the sequence up to which earlier events were added.
        """
        user_id = events[0].user_id
        state = self.get(user_id, until)
        if state is None:
            state = UserState(events[0].user_key, id_hash(user_id), EMPTY_HISTORY, _NO_TIES, _NO_SEQUENCES)
        grown, first = _with_events(state, events, self._hashes)
        self._drop(user_id)
        self._keep(user_id, grown)
        return state.history, grown.history, first

    def forget(self, user_id: str) -> None:
        """Drop a user's state."""
        self._drop(user_id)

    def _keep(self, user_id: str, state: UserState) -> UserState:
        self._states[user_id] = state
        self.bytes += state.size
        while self.bytes > self._limit and len(self._states) > 1:
            _, gone = self._states.popitem(last=False)
            self.bytes -= gone.size
        return state

    def _drop(self, user_id: str) -> None:
        state = self._states.pop(user_id, None)
        if state is not None:
            self.bytes -= state.size


_NO_TIES = np.empty(0, np.uint64)
_NO_SEQUENCES = np.empty(0, np.int64)


def state_of_rows(rows: Rows, hashes: ItemHashes, user: tuple[int, str]) -> UserState:
    """Put a user's rows (`store.HISTORY_ROW`) into canonical order."""
    user_hash = id_hash(user[1])
    ties = pair_hash(np.full(len(rows), user_hash, np.uint64), hashes.of(rows["item"]))
    order = np.lexsort((rows["sequence"], ties, rows["time"]))
    rows, ties = rows[order], ties[order]
    history = History(
        rows["item"].astype(np.int32),
        rows["type"].astype(np.int32),
        _float32(rows["value"]),
        rows["time"].astype(np.int64),
    )
    return UserState(user[0], user_hash, history, ties, rows["sequence"].astype(np.int64))


def canonical_log(store: Store, hashes: ItemHashes) -> EventLog:
    """Read every event of the store in canonical order; users are their keys, values are left out (NaN)."""
    rows = store.event_rows()
    ids = store.user_ids()
    last = max(ids, default=0)
    users = np.zeros(last + 1, np.uint64)
    users[list(ids)] = id_hashes(ids.values())
    ties = pair_hash(users[rows["user"]], hashes.of(rows["item"]))
    if not _in_order(rows, ties):
        rows = rows[np.lexsort((rows["sequence"], ties, rows["time"], rows["user"]))]
    return EventLog(
        rows["user"].astype(np.int32),
        rows["item"].astype(np.int32),
        rows["type"].astype(np.int32),
        np.full(len(rows), np.nan, np.float32),
        rows["time"].astype(np.int64),
        n_users=last,
        n_items=len(store.item_keys),
    )


def _in_order(rows: Rows, ties: Hashes) -> bool:
    """Whether rows by sequence stand in canonical order already, as an import leaves them: no need to sort."""
    users, times = np.diff(rows["user"]), np.diff(rows["time"])
    same = users == 0
    fine = (users > 0) | (same & ((times > 0) | ((times == 0) & (ties[1:] >= ties[:-1]))))
    return bool(fine.all())


def float_values(values: Sequence[float | None]) -> Floats:
    """Return values as float32, NaN for none; what float32 cannot hold becomes its largest number."""
    return _float32(np.array([np.nan if value is None else value for value in values], np.float64))


def _float32(values: NDArray[np.float64]) -> Floats:
    largest = float(np.finfo(np.float32).max)
    return np.clip(values, -largest, largest).astype(np.float32)


def _with_events(state: UserState, events: Sequence[Applied], hashes: ItemHashes) -> tuple[UserState, int]:
    items = np.array([event.item_key for event in events], np.int64)
    new_ties = pair_hash(np.full(len(events), state.user_hash, np.uint64), hashes.of(items))
    old = state.history
    times = np.concatenate((old.times, np.array([event.time for event in events], np.int64)))
    ties = np.concatenate((state.ties, new_ties))
    sequences = np.concatenate((state.sequences, np.array([event.sequence for event in events], np.int64)))
    kinds = np.concatenate((old.types, np.array([event.type for event in events], np.int32)))
    values = np.concatenate((old.values, float_values([event.value for event in events])))
    both_items = np.concatenate((old.items, items.astype(np.int32)))
    # Most events are the newest of their user: then nothing has to be sorted.
    tail = max(0, len(old) - 1)
    late = np.any(np.lexsort((sequences[tail:], ties[tail:], times[tail:])) != np.arange(len(times) - tail))
    if not late:
        return UserState(state.key, state.user_hash, History(both_items, kinds, values, times), ties, sequences), len(
            old
        )
    order = np.lexsort((sequences, ties, times))
    first = int(np.argmax(order != np.arange(len(order))))
    history = History(both_items[order], kinds[order], values[order], times[order])
    return UserState(state.key, state.user_hash, history, ties[order], sequences[order]), min(first, len(old))
