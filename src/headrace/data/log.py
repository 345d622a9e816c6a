"""Events as arrays: what counts, training and evaluation read.

Shapes: N events, U users, V items. Item 0 and user 0 do not exist (0 is padding), so that indices start at 1.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Ints: TypeAlias = NDArray[np.int32]
Longs: TypeAlias = NDArray[np.int64]
Floats: TypeAlias = NDArray[np.float32]
Bools: TypeAlias = NDArray[np.bool_]

_AT_ONCE = 4_000_000
"""Events that are sorted at once, which takes some 40 bytes of memory for each."""


@dataclass(frozen=True)
class EventLog:
    """Events of many users in canonical order, all of a user's together.

    Args:
        users: (N,) user index 1..U, ascending.
        items: (N,) item index 1..V.
        types: (N,) index into the dataset's list of event types.
        values: (N,) the value, NaN where the event has none.
        times: (N,) microseconds since 1970, UTC; ascending within a user.
        n_users: U.
        n_items: V.
        has_times: false where `times` are only places in each user's order, which say nothing between users.
    """

    users: Ints
    items: Ints
    types: Ints
    values: Floats
    times: Longs
    n_users: int
    n_items: int
    has_times: bool = True

    def __len__(self) -> int:
        return len(self.items)

    def offsets(self) -> Longs:
        """Return (U + 2,) places: the events of user u are `offsets[u]:offsets[u + 1]`."""
        return np.searchsorted(self.users, np.arange(self.n_users + 2)).astype(np.int64)

    def where(self, keep: Bools | Longs) -> EventLog:
        """Return the log of the events that `keep` marks, (N,), or at these places, (n,) ascending; indices stay."""
        return EventLog(
            self.users[keep],
            self.items[keep],
            self.types[keep],
            self.values[keep],
            self.times[keep],
            self.n_users,
            self.n_items,
            self.has_times,
        )

    def blocks(self, most: int) -> Iterator[tuple[int, int]]:
        """Yield `(start, end)` of the events of whole users, some `most` together, or more of the last one."""
        start = 0
        while start < len(self):
            last = self.users[min(start + most, len(self)) - 1]
            end = int(np.searchsorted(self.users, last, side="right"))
            yield start, end
            start = end

    def part(self, start: int, end: int) -> EventLog:
        """Return the log of the events `start:end`, without copying them; indices stay."""
        cut = slice(start, end)
        return replace(
            self,
            users=self.users[cut],
            items=self.items[cut],
            types=self.types[cut],
            values=self.values[cut],
            times=self.times[cut],
        )


def in_file_order(log: EventLog) -> EventLog:
    """Return the log with ties of one user pulled apart by a microsecond each, so that file order is time order.

    For datasets prepared with `--ties file`: each event becomes a moment of its own.
    """
    offsets = log.offsets()
    place = np.arange(len(log)) - offsets[log.users]
    # t_i = max(t_i, t_(i-1) + 1) within a user, as a running maximum of t_i - i.
    slack = log.times - place
    spread = np.empty_like(slack)
    for user in np.unique(log.users).tolist():
        part = slice(offsets[user], offsets[user + 1])
        spread[part] = np.maximum.accumulate(slack[part])
    return replace(log, times=spread + place)


def repeated(log: EventLog) -> Bools:
    """Mark the events (N,) whose item the same user met at an earlier time."""
    marks = np.zeros(len(log), np.bool_)
    for start, end in log.blocks(_AT_ONCE):
        users, items, times = log.users[start:end], log.items[start:end], log.times[start:end]
        # Stable, so that the events of one user and item stay in the order of their times.
        order = np.argsort(users * np.int64(log.n_items + 1) + items, kind="stable")
        users, items, times = users[order], items[order], times[order]
        heads = np.append(True, (users[1:] != users[:-1]) | (items[1:] != items[:-1]))
        # Ties of one item follow each other: the first of a run at one time decides for the run.
        firsts = np.maximum.accumulate(np.where(heads, np.arange(len(order)), 0))
        marks[start + order] = times > times[firsts]
    return marks


@dataclass(frozen=True)
class History:
    """The events of one user in canonical order, oldest first; see `EventLog` for the fields."""

    items: Ints
    types: Ints
    values: Floats
    times: Longs

    def __len__(self) -> int:
        return len(self.items)

    def last(self, n: int) -> History:
        """Return the last `n` events."""
        return self.part(max(0, len(self) - n), len(self))

    def part(self, start: int, end: int) -> History:
        """Return the events `start:end`, without copying them."""
        return History(self.items[start:end], self.types[start:end], self.values[start:end], self.times[start:end])

    def before(self, time: int) -> History:
        """Return the events strictly before `time` (microseconds)."""
        return self.part(0, int(np.searchsorted(self.times, time, side="left")))


EMPTY_HISTORY = History(np.empty(0, np.int32), np.empty(0, np.int32), np.empty(0, np.float32), np.empty(0, np.int64))


def joined(histories: Sequence[History]) -> History:
    """Return histories end to end."""
    return History(
        np.concatenate([history.items for history in histories]),
        np.concatenate([history.types for history in histories]),
        np.concatenate([history.values for history in histories]),
        np.concatenate([history.times for history in histories]),
    )


def ranges(starts: Longs, ends: Longs) -> Longs:
    """Return the ranges `starts[i]:ends[i]`, (n,) each, behind one another."""
    sizes = ends - starts
    shifts: Longs = np.repeat(starts - np.cumsum(sizes) + sizes, sizes)
    return shifts + np.arange(len(shifts))
