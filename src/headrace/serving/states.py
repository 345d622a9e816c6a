"""What the service remembers of each recent user: the history in canonical order; the store has the rest."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from headrace.core.order import Hashes, id_hash, id_hashes, pair_hash, pair_hash_of
from headrace.data.item_ids import ItemIds
from headrace.data.log import EMPTY_HISTORY, EventLog, Floats, History, Ints, Longs
from headrace.serving.batch import Applied
from headrace.serving.store import Rows, Store
from headrace.serving.user_rows import keys_of, rows_of

_USER_BYTES = 1090
"""The Python objects of one user, measured with tracemalloc: the id, six array headers, the place in the cache."""
_EVENT_BYTES = 36
"""item, type, value: 4 bytes each; time, tie-breaker, sequence: 8 each."""
_ROOM = 8
"""Events that there is room for at least behind a history that has grown."""
_NAN, _LARGEST = float("nan"), float(np.finfo(np.float32).max)


class Columns(NamedTuple):
    """A user's events in canonical order, with room behind them; each (n,). `ties` break equal times."""

    items: Ints
    types: Ints
    values: Floats
    times: Longs
    ties: Hashes
    sequences: Longs

    def part(self, end: int, room: int) -> Columns:
        """Return copies of the first `end` events with room for so many in all."""
        return Columns._make(np.concatenate((column[:end], np.empty(room - end, column.dtype))) for column in self)


_NONE = Columns(
    EMPTY_HISTORY.items,
    EMPTY_HISTORY.types,
    EMPTY_HISTORY.values,
    EMPTY_HISTORY.times,
    np.empty(0, np.uint64),
    np.empty(0, np.int64),
)


class UserState:
    """One user: who they are and what they did, canonical order.

    A history that was given away stays as it is: an event that comes last is written behind it, where there is room,
    and the next history is longer.
    """

    __slots__ = ("_columns", "history", "key", "user_hash")
    _columns: Columns

    def __init__(self, key: int, user_hash: int, columns: Columns = _NONE) -> None:
        """Take over columns that nobody else writes to."""
        self.key = key
        self.user_hash = user_hash
        self._set(columns, len(columns.items))

    @property
    def size(self) -> int:
        """Bytes that it takes."""
        return _USER_BYTES + _EVENT_BYTES * len(self._columns.items)

    @property
    def sequences(self) -> Longs:
        """(n,) the sequence number of each event of the history."""
        return np.asarray(self._columns.sequences[: len(self.history)], np.int64)

    def add(self, events: Sequence[Applied], ids: ItemIds) -> int:
        """Add events, by sequence; return the first place of the history that is another one than before."""
        first = n = len(self.history)
        for event in events:
            # Most events are the newest of their user: then nothing has to be sorted.
            if not self._append(n, event, pair_hash_of(self.user_hash, ids.hash(event.item_key))):
                self._set(self._columns, n)
                return min(first, self._sort_in(events[n - first :], ids))
            n += 1
        self._set(self._columns, n)
        return first

    def _append(self, n: int, event: Applied, tie: int) -> bool:
        """Write an event behind the first n; False, and nothing done, if it belongs before one of them."""
        columns = self._columns
        if n and (event.time, tie) < (columns.times[n - 1], columns.ties[n - 1]):
            return False
        if n == len(columns.items):
            self._columns = columns = columns.part(n, n + max(_ROOM, n // 4))
        value = _NAN if event.value is None else min(max(event.value, -_LARGEST), _LARGEST)
        columns.items[n], columns.types[n], columns.values[n] = event.item_key, event.type, value
        columns.times[n], columns.ties[n], columns.sequences[n] = event.time, tie, event.sequence
        return True

    def _sort_in(self, events: Sequence[Applied], ids: ItemIds) -> int:
        n = len(self.history)
        columns = self._columns.part(n, n + len(events))
        columns.items[n:] = [event.item_key for event in events]
        columns.types[n:] = [event.type for event in events]
        columns.values[n:] = float_values([event.value for event in events])
        columns.times[n:] = [event.time for event in events]
        columns.ties[n:] = pair_hash(np.full(len(events), self.user_hash, np.uint64), ids.hashes(columns.items[n:]))
        columns.sequences[n:] = [event.sequence for event in events]
        order = np.lexsort((columns.sequences, columns.ties, columns.times))
        self._set(Columns._make(column[order] for column in columns), len(order))
        return int(np.argmax(order != np.arange(len(order))))

    def _set(self, columns: Columns, n: int) -> None:
        self._columns = columns
        self.history = History(columns.items[:n], columns.types[:n], columns.values[:n], columns.times[:n])


class Grown(NamedTuple):
    """A user's history before and after events came, and the first place at which the two differ."""

    before: History
    after: History
    first: int


class Histories:
    """Histories of recent users, least recently used out first, read again from the store when asked for."""

    def __init__(self, store: Store, ids: ItemIds, limit: int) -> None:
        """`limit` is in bytes."""
        self._store = store
        self._ids = ids
        self._limit = limit
        self._states: OrderedDict[str, UserState] = OrderedDict()
        self.bytes = 0

    def get(self, user_id: str, until: int) -> UserState | None:
        """Return a user's state as of sequence `until`, None if the store does not know them."""
        state = self._states.get(user_id)
        if state is not None:
            self._states.move_to_end(user_id)
            return state
        self.fetch([user_id], until)
        return self._states.get(user_id)

    def fetch(self, user_ids: Iterable[str], until: int) -> None:
        """Read those users together whose states are not kept, as of sequence `until`."""
        missing = [user_id for user_id in dict.fromkeys(user_ids) if user_id not in self._states]
        if missing and (keys := keys_of(self._store, missing)):
            known = {key: user_id for user_id, key in keys.items()}
            for state in states_of(rows_of(self._store, list(known), until), self._ids, known):
                self._keep(known[state.key], state)

    def add(self, events: Sequence[Applied], until: int) -> Grown:
        """Add events of one user and return what has become of their history.

        Args:
            events: of one user, any order.
            until: the sequence up to which earlier events were added.
        """
        user_id = events[0].user_id
        state = self.get(user_id, until) or self._keep(user_id, UserState(events[0].user_key, id_hash(user_id)))
        before, size = state.history, state.size
        first = state.add(events, self._ids)
        self.bytes += state.size - size
        self._make_room()
        return Grown(before, state.history, first)

    def forget(self, user_id: str) -> None:
        """Drop a user's state."""
        state = self._states.pop(user_id, None)
        if state is not None:
            self.bytes -= state.size

    def _keep(self, user_id: str, state: UserState) -> UserState:
        self._states[user_id] = state
        self.bytes += state.size
        self._make_room()
        return state

    def _make_room(self) -> None:
        while self.bytes > self._limit and len(self._states) > 1:
            _, gone = self._states.popitem(last=False)
            self.bytes -= gone.size


def states_of(rows: Rows, ids: ItemIds, users: Mapping[int, str]) -> list[UserState]:
    """Put the rows (`user_rows.USER_ROW`) of users, whose ids are given by their keys, into canonical order."""
    keys = np.array(sorted(users), np.int64)
    user_hashes, places = id_hashes(users[key] for key in keys.tolist()), np.searchsorted(keys, rows["user"])
    ties = pair_hash(user_hashes[places], ids.hashes(rows["item"]))
    order = np.lexsort((rows["sequence"], ties, rows["time"], places))
    rows, ties = rows[order], ties[order]
    columns = Columns(
        rows["item"].astype(np.int32),
        rows["type"].astype(np.int32),
        _float32(rows["value"]),
        rows["time"].astype(np.int64),
        ties,
        rows["sequence"].astype(np.int64),
    )
    bounds = np.searchsorted(places[order], np.arange(len(keys) + 1)).tolist()
    return [
        UserState(key, user_hash, Columns._make(column[first:last].copy() for column in columns))
        for key, user_hash, (first, last) in zip(keys.tolist(), user_hashes.tolist(), pairwise(bounds), strict=True)
    ]


def canonical_log(store: Store, ids: ItemIds) -> EventLog:
    """Read every event of the store in canonical order; users are their keys, values are left out (NaN)."""
    rows = store.event_rows()
    known = store.user_ids()
    last = max(known, default=0)
    users = np.zeros(last + 1, np.uint64)
    users[list(known)] = id_hashes(known.values())
    ties = pair_hash(users[rows["user"]], ids.hashes(rows["item"]))
    if not _in_order(rows, ties):
        rows = rows[np.lexsort((rows["sequence"], ties, rows["time"], rows["user"]))]
    return EventLog(
        rows["user"].astype(np.int32),
        rows["item"].astype(np.int32),
        rows["type"].astype(np.int32),
        np.full(len(rows), np.nan, np.float32),
        rows["time"].astype(np.int64),
        n_users=last,
        n_items=len(store.item_ids),
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
    return np.clip(values, -_LARGEST, _LARGEST).astype(np.float32)
