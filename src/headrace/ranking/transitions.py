"""Transition counts: which items follow which, near which; integers, a pure function of the canonical order.

c(b, a) grows by 1/distance for each a that comes after b in one user's history, at most `window` events later, in
fixed point: round(2**16 / distance). Events of one moment are a basket, a set without order. A basket that fills
places s .. e - 1 of the history stands at its centre (s + e - 1) / 2, and the distance of two events of different
baskets is that of the centres; single events have their plain distance. Two items of one basket of m events count in
both directions, at (m + 1) / 3: their mean distance over all orders. An item is no transition to itself within one
basket, but it is from one basket to a later one.
"""

from __future__ import annotations

import numpy as np

from headrace.core.compiled import plain
from headrace.data.log import Bools, EventLog, Floats, History, Ints, Longs
from headrace.ranking.count_kernels import Pool
from headrace.ranking.count_rows import Arrays, CountRows, Groups
from headrace.ranking.transition_kernels import (
    ONE,
    Placed,
    Timeline,
    appended,
    baskets,
    common_ends,
    difference,
    list_pairs,
    pairs_by_row,
)

_PAIRS_AT_ONCE = 1 << 22


class TransitionCounts:
    """c(b, a) of everything counted so far, and the score that follows from it."""

    def __init__(self, window: int = 20) -> None:
        self.window = window
        self._table = CountRows()

    @property
    def pool(self) -> Pool:
        """The counts as the kernels read them, in fixed point; good until the next change."""
        return self._table.pool

    @property
    def nbytes(self) -> int:
        """Memory of the counts, in bytes."""
        return self._table.nbytes

    def add_log(self, log: EventLog) -> None:
        """Add the whole histories of users who were not counted before (the same as `change` from an empty history)."""
        users, rows = plain(log.users), log.n_items + 1
        placed = Placed(users, plain(log.items), *baskets(users, plain(log.times)))
        pairs = pairs_by_row(placed, self.window, rows)
        bounds = np.concatenate((np.zeros(1, np.int64), np.cumsum(pairs)))
        first = 0
        while first < rows:
            # Some rows at a time, by passing over the log again: the pairs of all would take several times the memory.
            last = int(np.searchsorted(bounds, bounds[first] + _PAIRS_AT_ONCE, side="right")) - 1
            last = min(max(last, first + 1), rows)
            offsets = bounds[first : last + 1] - bounds[first]
            groups = Groups(offsets, np.empty(offsets[-1], np.int32), np.empty(offsets[-1], np.int64))
            list_pairs(placed, self.window, first, groups)
            self._table.add_grouped(first, groups)
            first = last

    def compact(self) -> None:
        """Give back the memory that growing left."""
        self._table.compact()

    def change(self, before: History, after: History, *, first: int = 0) -> None:
        """Replace one user's history by another; only pairs around what differs are touched.

        Args:
            before: what was counted; empty for a new user. Nothing changes if it equals `after` (a retry).
            after: what holds now; empty for a user who is forgotten. Both may be slices of the histories, if both
                begin at the same event and that is the first of all, or 2 * window events before the basket of the
                first difference; likewise at the end.
            first: events before this place are known to be the same in both; saves comparing a long history.
        """
        start, old_end, new_end = differing(before, after, first)
        if start == old_end == new_end:
            return
        span = (start, old_end, new_end)
        self._table.add(*difference(_timeline(before), _timeline(after), span, self.window))

    def append(self, log: EventLog, new: Bools) -> None:
        """Add the events that `new` (N,) marks, the last ones of their users, whose whole histories are in the log.

        The same as a `change` for each of the users, in one pass.
        """
        line = Timeline(plain(log.items), plain(log.types), plain(log.times))
        self._table.add(*appended(line, plain(log.users), new, self.window))

    def following(self, item: int, n_items: int) -> tuple[Ints, Floats]:
        """Return the items (n,) that come after one item, by index, and c(item, a) (n,)."""
        sums = self._table.sum_rows(np.array([item], np.int32), np.ones(1, np.int64), n_items + 1)
        items = np.flatnonzero(sums).astype(np.int32)
        return items, (sums[items] / ONE).astype(np.float32)

    def triples(self) -> tuple[Ints, Ints, Longs]:
        """Return (before, after, count) of all pairs but zeros, by index, counts in fixed point."""
        return self._table.triples()

    def state(self) -> Arrays:
        """Return everything as arrays, copies."""
        return {"window": np.array([self.window], np.int64), **self._table.state()}

    @classmethod
    def from_state(cls, state: Arrays) -> TransitionCounts:
        """Make the counts again from `state()`."""
        counts = cls(int(np.asarray(state["window"], np.int64)[0]))
        counts._table = CountRows.from_state(state)
        return counts


def differing(before: History, after: History, first: int = 0) -> tuple[int, int, int]:
    """Return (start, old_end, new_end): `before[start:old_end]` became `after[start:new_end]`, all else is the same.

    Args:
        before: items, types and times are compared, values are not.
        after: likewise.
        first: events before this place are known to be the same.
    """
    start, same = min(first, len(before), len(after)), 0
    shorter = min(len(before), len(after))
    if start < shorter:
        start, same = common_ends(_timeline(before), _timeline(after), start)
    return start, len(before) - same, len(after) - same


def _timeline(history: History) -> Timeline:
    return Timeline(plain(history.items), plain(history.types), plain(history.times))
