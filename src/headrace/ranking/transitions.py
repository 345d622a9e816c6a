"""Transition counts: which items follow which, near which; integers, a pure function of the canonical order.

c(b, a) grows by 1/distance for each a that comes after b in one user's history, at most `window` events later, in
fixed point: round(2**16 / distance). Events of one moment are a basket, a set without order. A basket that fills
places s .. e - 1 of the history stands at its centre (s + e - 1) / 2, and the distance of two events of different
baskets is that of the centres; single events have their plain distance. Two items of one basket of m events count in
both directions, at (m + 1) / 3: their mean distance over all orders. An item is no transition to itself within one
basket, but it is from one basket to a later one.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from headrace.data.log import EventLog, Floats, History, Ints, Longs
from headrace.ranking.compiled import Whole, compiled, plain
from headrace.ranking.count_rows import Arrays, CountRows, Groups

ONE = 1 << 16
"""The fixed-point form of a count of 1."""

# A history is scored by its last events only: weights below one in a hundred changed NDCG@10 on amazon-beauty by
# 0.00001 in 0.055, and a basket of hundreds of items would cost milliseconds.
LONGEST_SCORED = 100
SMALLEST_WEIGHT = 0.01

_PAIRS_AT_ONCE = 1 << 22
_LAST_TIME = 2**63 - 1


class Placed(NamedTuple):
    """A log as the kernels read it. `starts` and `ends` (N,) bound the basket of each event, as places in the log."""

    users: Ints
    items: Ints
    starts: Longs
    ends: Longs


class Timeline(NamedTuple):
    """A history as the kernels read it."""

    items: Ints
    types: Ints
    times: Longs


class Pairs(NamedTuple):
    """Changes of counts: `deltas` at (`rows`, `columns`), each (n,)."""

    rows: Ints
    columns: Ints
    deltas: Longs


class TransitionCounts:
    """c(b, a) of everything counted so far, and the score that follows from it."""

    def __init__(self, window: int = 20) -> None:
        self.window = window
        self._table = CountRows()

    @property
    def nbytes(self) -> int:
        """Memory of the counts, in bytes."""
        return self._table.nbytes

    def add_log(self, log: EventLog) -> None:
        """Add the whole histories of users who were not counted before (the same as `change` from an empty history)."""
        users, rows = plain(log.users), log.n_items + 1
        placed = Placed(users, plain(log.items), *_baskets(users, plain(log.times)))
        pairs = _pairs_by_row(placed, self.window, rows)
        bounds = np.concatenate((np.zeros(1, np.int64), np.cumsum(pairs)))
        first = 0
        while first < rows:
            # Some rows at a time, by passing over the log again: the pairs of all would take several times the memory.
            last = int(np.searchsorted(bounds, bounds[first] + _PAIRS_AT_ONCE, side="right")) - 1
            last = min(max(last, first + 1), rows)
            offsets = bounds[first : last + 1] - bounds[first]
            groups = Groups(offsets, np.empty(offsets[-1], np.int32), np.empty(offsets[-1], np.int64))
            _list_pairs(placed, self.window, first, groups)
            self._table.add_grouped(first, groups)
            first = last

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
        self._table.add(*_difference(_timeline(before), _timeline(after), span, self.window))

    def score_into(self, sums: Floats, history: History, *, decay: float, smoothing: float) -> Ints:
        """Add sum_j w_j log(1 + V c(h_j, a) / tau) to `sums` for every item a, in place.

        j counts the events of the history that come after the basket of h_j, so that a basket shares one weight
        w_j = decay ** j. Events after the last `LONGEST_SCORED` and weights below `SMALLEST_WEIGHT` are left out.

        Args:
            sums: (V + 1,) zeros.
            history: what the user did, oldest first.
            decay: 0..1.
            smoothing: tau, above 0.

        Returns:
            the items that the history leads to, each once, in no promised order.
        """
        items, weights = weigh(history, decay)
        scale = (len(sums) - 1) / (smoothing * ONE)
        return self._table.sum_logs(items, weights, scale, sums)

    def associate_into(self, sums: Floats, history: History, *, decay: float, scale: float, rarity: Floats) -> None:
        """Add sum_j w_j log(1 + scale c(h_j, a) rarity(h_j) rarity(a)) to `sums` for every item a, in place.

        With a rarity of 1 / sqrt(events) the count becomes the cosine of how two items occur, so that an item that
        everybody meets follows from nothing in particular.

        Args:
            sums: (V + 1,) zeros.
            history: what the user did, oldest first.
            decay: of w_j, as in `score_into`.
            scale: above 0.
            rarity: (V + 1,) above 0.
        """
        items, weights = weigh(history, decay)
        known = items < len(rarity)
        scales = rarity[items[known]] * np.float32(scale / ONE)
        self._table.sum_scaled_logs(items[known], weights[known], scales, rarity, sums)

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
        start, same = _common_ends(_timeline(before), _timeline(after), start)
    return start, len(before) - same, len(after) - same


def weigh(history: History, decay: float) -> tuple[Ints, Floats]:
    """Return the distinct items of a history that still count, and each one's summed weight; see `score_into`."""
    recent = history.last(LONGEST_SCORED)
    later = len(recent) - np.searchsorted(recent.times, recent.times, side="right")
    weights = np.power(np.float32(decay), later.astype(np.float32))
    kept = weights >= SMALLEST_WEIGHT
    items, where = np.unique(recent.items[kept], return_inverse=True)
    return items.astype(np.int32), np.bincount(where, weights[kept], len(items)).astype(np.float32)


def _timeline(history: History) -> Timeline:
    return Timeline(plain(history.items), plain(history.types), plain(history.times))


@compiled
def _baskets(users: Ints, times: Longs) -> tuple[Longs, Longs]:
    """Return for each event where its basket starts and ends."""
    starts, ends = np.empty(len(users), np.int64), np.empty(len(users), np.int64)
    start = 0
    for place in range(len(users)):
        if place + 1 == len(users) or users[place + 1] != users[place] or times[place + 1] != times[place]:
            for each in range(start, place + 1):
                starts[each], ends[each] = start, place + 1
            start = place + 1
    return starts, ends


@compiled
def _across(twice: Whole) -> Whole:
    """Return the weight of two events whose centres lie twice / 2 apart: round(2**17 / twice), halves upwards."""
    return (4 * ONE + twice) // (2 * twice)


@compiled
def _within(size: Whole, window: int) -> Whole:
    """Return the weight of two events of a basket of `size`: round(3 * 2**16 / (size + 1)), 0 beyond the window."""
    return (6 * ONE + size + 1) // (2 * (size + 1)) if 1 < size < 3 * window else 0


@compiled
def _pairs_by_row(log: Placed, window: int, rows: int) -> Longs:
    """Return how many pairs each item comes first in."""
    pairs = np.zeros(rows, np.int64)
    for i in range(len(log.items)):
        start, end, item = log.starts[i], log.ends[i], log.items[i]
        if _within(end - start, window) > 0:
            for j in range(start, end):
                pairs[item] += log.items[j] != item
        j = end
        while j < len(log.items) and log.users[j] == log.users[i]:
            if log.starts[j] + log.ends[j] - start - end > 2 * window:
                break
            pairs[item] += log.ends[j] - j
            j = log.ends[j]
    return pairs


@compiled
def _list_pairs(log: Placed, window: int, first: int, groups: Groups) -> None:
    """Write the pairs of the rows from `first` on into `groups`, whose offsets say where each row's go."""
    free = groups.offsets.copy()
    last = first + len(groups.offsets) - 1
    for i in range(len(log.items)):
        item = log.items[i]
        if not first <= item < last:
            continue
        place, start, end = free[item - first], log.starts[i], log.ends[i]
        weight = _within(end - start, window)
        if weight > 0:
            for j in range(start, end):
                if log.items[j] != item:
                    groups.columns[place], groups.deltas[place] = log.items[j], weight
                    place += 1
        for j in range(end, len(log.items)):
            twice = log.starts[j] + log.ends[j] - start - end
            if log.users[j] != log.users[i] or twice > 2 * window:
                break
            groups.columns[place], groups.deltas[place] = log.items[j], _across(twice)
            place += 1
        free[item - first] = place


@compiled
def _common_ends(old: Timeline, new: Timeline, start: int) -> tuple[int, int]:
    """Return how many events the two share at the beginning, and how many of the rest at the end."""
    # Locals, as reading an array out of a tuple costs more than the comparison.
    old_items, old_types, old_times = old
    new_items, new_types, new_times = new
    shorter = min(len(old_items), len(new_items))
    while (
        start < shorter
        and old_items[start] == new_items[start]
        and old_times[start] == new_times[start]
        and old_types[start] == new_types[start]
    ):
        start += 1
    i, j = len(old_items) - 1, len(new_items) - 1
    while (
        min(i, j) >= start
        and old_items[i] == new_items[j]
        and old_times[i] == new_times[j]
        and old_types[i] == new_types[j]
    ):
        i, j = i - 1, j - 1
    return start, len(old_items) - 1 - i


@compiled
def _difference(old: Timeline, new: Timeline, span: tuple[int, int, int], window: int) -> Pairs:
    """Return the pairs that `old` has around the span, taken away, and those of `new`, added.

    The span grows to whole baskets, as an event that joins or leaves a basket moves the basket's centre.
    """
    start, old_end, new_end = span
    low, high = np.int64(_LAST_TIME), np.int64(-_LAST_TIME)
    if start < old_end:
        low, high = min(low, old.times[start]), max(high, old.times[old_end - 1])
    if start < new_end:
        low, high = min(low, new.times[start]), max(high, new.times[new_end - 1])
    pairs = Pairs(np.empty(64, np.int32), np.empty(64, np.int32), np.empty(64, np.int64))
    pairs, n = _pairs_around(old, low, high, window, pairs, np.int64(0))
    for place in range(n):
        pairs.deltas[place] = -pairs.deltas[place]
    pairs, n = _pairs_around(new, low, high, window, pairs, n)
    return Pairs(pairs.rows[:n], pairs.columns[:n], pairs.deltas[:n])


@compiled
def _pairs_around(line: Timeline, low: Whole, high: Whole, window: int, pairs: Pairs, n: Whole) -> tuple[Pairs, Whole]:
    """Write from place `n` on each pair that has an event at a time low..high, or one before and one after it.

    Time falls into baskets: for each at `low` or later, as the right one of a pair, all left ones within the window.
    """
    end = _first_after(line.times, high)
    right = _first_at(line.times, low)
    while right < len(line.items):
        right_end = _first_after(line.times, line.times[right])
        size = right_end - right
        if right < end and _within(size, window) > 0:
            pairs = _room(pairs, n + size * size)
            for i in range(right, right_end):
                for j in range(right, right_end):
                    if line.items[i] != line.items[j]:
                        pairs.rows[n], pairs.columns[n] = line.items[i], line.items[j]
                        pairs.deltas[n] = _within(size, window)
                        n += 1
        left_end, found = min(right, end), False
        while left_end > 0:
            left = _first_at(line.times, line.times[left_end - 1])
            twice = right + right_end - left - left_end
            if twice > 2 * window:
                break
            found = True
            pairs = _room(pairs, n + size * (left_end - left))
            for i in range(left, left_end):
                for j in range(right, right_end):
                    pairs.rows[n], pairs.columns[n] = line.items[i], line.items[j]
                    pairs.deltas[n] = _across(twice)
                    n += 1
            left_end = left
        if right >= end and not found:
            break  # a basket further right lies further away still
        right = right_end
    return pairs, n


@compiled
def _room(pairs: Pairs, need: Whole) -> Pairs:
    """Return pairs with at least `need` places that begin with those given."""
    have = len(pairs.rows)
    if need <= have:
        return pairs
    more = max(need, 2 * have)
    larger = Pairs(np.empty(more, np.int32), np.empty(more, np.int32), np.empty(more, np.int64))
    for place in range(have):
        larger.rows[place], larger.columns[place] = pairs.rows[place], pairs.columns[place]
        larger.deltas[place] = pairs.deltas[place]
    return larger


# NumPy's searchsorted does the same, but compiling it takes seconds of a first start.
@compiled
def _first_at(times: Longs, time: Whole) -> int:
    """Return the place of the first event at `time` or later."""
    low, high = 0, len(times)
    while low < high:
        middle = (low + high) // 2
        if times[middle] < time:
            low = middle + 1
        else:
            high = middle
    return low


@compiled
def _first_after(times: Longs, time: Whole) -> int:
    """Return the place of the first event later than `time`."""
    low, high = 0, len(times)
    while low < high:
        middle = (low + high) // 2
        if times[middle] <= time:
            low = middle + 1
        else:
            high = middle
    return low
