"""The compiled loops of the transition counts: which pairs a log has, and which change with a history.

A basket, the events of one moment, is bounded by places. Weights are as `ranking/transitions.py` says, in fixed point.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from headrace.core.compiled import Whole, brief, compiled
from headrace.data.log import Bools, Ints, Longs
from headrace.ranking.count_rows import Groups

ONE = 1 << 16
"""The fixed-point form of a count of 1."""

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


@compiled
def baskets(users: Ints, times: Longs) -> tuple[Longs, Longs]:
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
def pairs_by_row(log: Placed, window: int, rows: int) -> Longs:
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
def list_pairs(log: Placed, window: int, first: int, groups: Groups) -> None:
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
def common_ends(old: Timeline, new: Timeline, start: int) -> tuple[int, int]:
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
def difference(old: Timeline, new: Timeline, span: tuple[int, int, int], window: int) -> Pairs:
    """Return the pairs that `old` has around the span, taken away, and those of `new`, added."""
    pairs, n = _differences(old, new, span, window, _empty(), np.int64(0))
    return Pairs(pairs.rows[:n], pairs.columns[:n], pairs.deltas[:n])


@brief
def appended(log: Timeline, users: Ints, new: Bools, window: int) -> Pairs:
    """Return the pairs that the events add which `new` (N,) marks, the last ones of their users."""
    n: Whole = np.int64(0)
    pairs, begin = _empty(), 0
    while begin < len(users):
        end = begin
        while end < len(users) and users[end] == users[begin]:
            end += 1
        start = end
        while start > begin and new[start - 1]:
            start -= 1
        old = Timeline(log.items[begin:start], log.types[begin:start], log.times[begin:start])
        whole = Timeline(log.items[begin:end], log.types[begin:end], log.times[begin:end])
        span = (start - begin, start - begin, end - begin)
        pairs, n = _differences(old, whole, span, window, pairs, n)
        begin = end
    return Pairs(pairs.rows[:n], pairs.columns[:n], pairs.deltas[:n])


@compiled
def _empty() -> Pairs:
    return Pairs(np.empty(64, np.int32), np.empty(64, np.int32), np.empty(64, np.int64))


@compiled
def _differences(
    old: Timeline, new: Timeline, span: tuple[int, int, int], window: int, pairs: Pairs, n: Whole
) -> tuple[Pairs, Whole]:
    """Write the pairs of `difference` from place `n` on.

    The span grows to whole baskets, as an event that joins or leaves a basket moves the basket's centre.
    """
    start, old_end, new_end = span
    low, high = np.int64(_LAST_TIME), np.int64(-_LAST_TIME)
    if start < old_end:
        low, high = min(low, old.times[start]), max(high, old.times[old_end - 1])
    if start < new_end:
        low, high = min(low, new.times[start]), max(high, new.times[new_end - 1])
    first = n
    pairs, n = _pairs_around(old, low, high, window, pairs, n)
    for place in range(first, n):
        pairs.deltas[place] = -pairs.deltas[place]
    return _pairs_around(new, low, high, window, pairs, n)


@compiled
def _pairs_around(line: Timeline, low: Whole, high: Whole, window: int, pairs: Pairs, n: Whole) -> tuple[Pairs, Whole]:
    """Write from place `n` on each pair that has an event at a time low..high, or one before and one after it.

    Time falls into baskets: for each at `low` or later, as the right one of a pair, all left ones within the window.
    """
    end = _first_after(line.times, high)
    right = first_at(line.times, low)
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
            left = first_at(line.times, line.times[left_end - 1])
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
@brief
def first_at(times: Ints | Longs, time: Whole) -> int:
    """Return the place of the first event at `time` or later, or of the first of other ascending numbers."""
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
