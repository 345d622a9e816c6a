"""The loops over the slots of `CountRows`, compiled. The layout of the pool is described there."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from headrace.core.compiled import Whole, brief, compiled
from headrace.data.log import Floats, Ints, Longs
from headrace.ranking.head_kernels import HEAD, Heads, follow_count, forget_head, read_head

SMALLEST = 4
"""Slots of the smallest row."""
TOP, FREE, TOO_LARGE = 0, 1, 2
"""Places in `Pool.meta`."""


class Pool(NamedTuple):
    """The arrays of all rows. Shapes: P slots, R rows.

    Args:
        columns: (P,) the column in each slot, 0 where it is empty.
        counts: (P,) its count; in the first slot of a hole, the place of the next hole of that size, or -1.
        start: (R,) the first slot of each row.
        capacity: (R,) its number of slots, 0 for a row without any.
        used: (R,) slots with a column, zero counts among them.
        holes: (40,) the first hole of 2**i slots, or -1.
        meta: (3,) the first slot that was never given out; the slots that lie in holes; 1 when a count was too large.
        heads: of long rows that were read.
    """

    columns: Ints
    counts: Ints | Longs
    start: Longs
    capacity: Longs
    used: Longs
    holes: Longs
    meta: Longs
    heads: Heads


class Groups(NamedTuple):
    """Changes of counts, grouped by row: group g holds places `offsets[g]:offsets[g + 1]` of the other two.

    Args:
        offsets: (G + 1,) from 0 to n.
        columns: (n,) repeats allowed.
        deltas: (n,) what to add.
    """

    offsets: Longs
    columns: Ints
    deltas: Longs


# Scalars are int64 throughout the kernels: each other type would compile a kernel, and those that call it, once more.
@compiled
def _find(columns: Ints, start: Whole, capacity: Whole, column: Whole) -> Whole:
    """Return the slot of a column, or the empty slot where it would go. The row has at least one empty slot."""
    mask = capacity - 1
    place = ((column * 2654435769) >> 15) & mask
    while columns[start + place] != column and columns[start + place] != 0:
        place = (place + 1) & mask
    return start + place


@compiled
def _move(pool: Pool, row: Whole, more: Whole) -> bool:
    """Give a row room for `more` new columns, without its zero counts; False when the pool must grow first."""
    columns, counts = pool.columns, pool.counts
    old_start, old_capacity = pool.start[row], pool.capacity[row]
    live = 0
    for place in range(old_start, old_start + old_capacity):
        if columns[place] != 0 and counts[place] != 0:
            live += 1
    capacity, size_class = SMALLEST, 2
    while (live + more) * 10 > capacity * 7:
        capacity, size_class = capacity * 2, size_class + 1
    start = pool.holes[size_class]
    if start >= 0:
        pool.holes[size_class] = counts[start]
        counts[start] = 0
        pool.meta[FREE] -= capacity
    else:
        start = pool.meta[TOP]
        if start + capacity > len(columns):
            return False
        pool.meta[TOP] += capacity
    for place in range(old_start, old_start + old_capacity):
        column, count = np.int64(columns[place]), counts[place]
        columns[place] = 0
        counts[place] = 0
        if column != 0 and count != 0:
            new = _find(columns, start, capacity, column)
            columns[new] = column
            counts[new] = count
    if old_capacity > 0:
        old_class = 2
        while (1 << old_class) < old_capacity:
            old_class += 1
        counts[old_start] = pool.holes[old_class]
        pool.holes[old_class] = old_start
        pool.meta[FREE] += old_capacity
    pool.start[row], pool.capacity[row], pool.used[row] = start, capacity, live
    return True


@compiled
def _add_one(pool: Pool, row: Whole, column: Whole, delta: Whole) -> bool:
    """Add to one count; False, and nothing done, when the pool must grow or its counts get wider first."""
    capacity = pool.capacity[row]
    place: Whole = -1
    if capacity > 0:
        place = _find(pool.columns, pool.start[row], capacity, column)
    if place < 0 or pool.columns[place] == 0:
        if delta == 0:
            return True
        if (pool.used[row] + 1) * 10 > capacity * 7:
            if not _move(pool, row, np.int64(1)):
                return False
            place = _find(pool.columns, pool.start[row], pool.capacity[row], column)
        pool.columns[place] = column
        pool.used[row] += 1
    total = np.int64(pool.counts[place]) + delta
    if abs(total) > np.iinfo(pool.counts.dtype).max:
        pool.meta[TOO_LARGE] = 1
        return False
    follow_count(pool.heads, row, column, np.int64(pool.counts[place]), total)
    pool.counts[place] = total
    return True


@compiled
def fill(pool: Pool, offsets: Longs, columns: Ints, counts: Ints | Longs) -> None:
    """Write the rows of `pack` into an empty pool that has room for them."""
    top = np.int64(0)
    for row in range(len(offsets) - 1):
        size, capacity = offsets[row + 1] - offsets[row], np.int64(SMALLEST)
        if size == 0:
            continue
        while size * 10 > capacity * 7:
            capacity *= 2
        for place in range(offsets[row], offsets[row + 1]):
            slot = _find(pool.columns, top, capacity, np.int64(columns[place]))
            pool.columns[slot] = columns[place]
            pool.counts[slot] = counts[place]
        pool.start[row], pool.capacity[row], pool.used[row] = top, capacity, size
        top += capacity
    pool.meta[TOP] = top


@compiled
def close_holes(pool: Pool, rows: Longs) -> None:
    """Move the slots of all rows down to where the hole before them begins; `rows` are those with slots, by place."""
    columns, counts = pool.columns, pool.counts
    top = np.int64(0)
    for row in rows:
        start = pool.start[row]
        for place in range(pool.capacity[row] if start > top else 0):
            columns[top + place], counts[top + place] = columns[start + place], counts[start + place]
        pool.start[row] = top
        top += pool.capacity[row]
    for place in range(top, pool.meta[TOP]):
        columns[place], counts[place] = 0, 0
    pool.holes[:] = -1
    pool.meta[TOP], pool.meta[FREE] = top, 0


@brief
def add_few(pool: Pool, rows: Ints, columns: Ints, deltas: Longs, begin: int) -> int:
    """Do as `add`."""
    return add(pool, rows, columns, deltas, begin)


@compiled
def add(pool: Pool, rows: Ints, columns: Ints, deltas: Longs, begin: int) -> int:
    """Add from place `begin` on; return the place at which room is wanting, or the number of places."""
    for place in range(begin, len(rows)):
        if rows[place] >= len(pool.start) or not _add_one(
            pool, np.int64(rows[place]), np.int64(columns[place]), deltas[place]
        ):
            return place
    return len(rows)


@compiled
def add_grouped(pool: Pool, first_row: int, groups: Groups, begin: int, stamps: Longs) -> int:
    """Add from place `begin` on; return the place at which room is wanting, or the number of places."""
    # Locals, as reading an array out of a tuple in each round costs more than the round.
    columns, counts = pool.columns, pool.counts
    new_columns, deltas = groups.columns, groups.deltas
    largest = np.iinfo(counts.dtype).max
    for group in range(len(groups.offsets) - 1):
        row, start, end = first_row + group, max(begin, groups.offsets[group]), groups.offsets[group + 1]
        if start >= end:
            continue
        distinct = np.int64(0)
        for place in range(start, end):
            if stamps[new_columns[place]] != group + 1:
                stamps[new_columns[place]] = group + 1
                distinct += 1
        if (pool.used[row] + distinct) * 10 > pool.capacity[row] * 7 and not _move(pool, row, distinct):
            for place in range(start, end):
                stamps[new_columns[place]] = 0  # the group is tried again
            return int(start)
        forget_head(pool.heads, row)
        row_start, capacity = pool.start[row], pool.capacity[row]
        for place in range(start, end):
            slot = _find(columns, row_start, capacity, np.int64(new_columns[place]))
            if columns[slot] == 0:
                columns[slot] = new_columns[place]
                pool.used[row] += 1
            total = np.int64(counts[slot]) + deltas[place]
            if abs(total) > largest:
                pool.meta[TOO_LARGE] = 1
                return place
            counts[slot] = total
    return len(new_columns)


@compiled
def get(pool: Pool, rows: Ints, columns: Ints) -> Longs:
    """Return the counts (n,) at rows and columns."""
    found = np.zeros(len(rows), np.int64)
    for place in range(len(rows)):
        row = rows[place]
        if row < len(pool.start) and pool.capacity[row] > 0:
            slot = _find(pool.columns, pool.start[row], pool.capacity[row], np.int64(columns[place]))
            if pool.columns[slot] != 0:
                found[place] = pool.counts[slot]
    return found


@compiled
def sum_rows(pool: Pool, rows: Ints, weights: Longs, sums: Longs) -> None:
    """Add the weighted counts of the rows to `sums`, by column."""
    columns, counts = pool.columns, pool.counts
    for place in range(len(rows)):
        row = rows[place]
        if row < len(pool.start):
            for slot in range(pool.start[row], pool.start[row] + pool.capacity[row]):
                if 0 < columns[slot] < len(sums):
                    sums[columns[slot]] += weights[place] * counts[slot]


@compiled
def read_strongest(pool: Pool, row: Whole, size: int, columns: Ints, counts: Floats) -> int:
    """Write the columns below `size` of a row's HEAD largest counts above 0, and those; return how many there are.

    `columns` and `counts` have HEAD + 1 places.
    """
    if row >= len(pool.start):
        return 0
    all_columns, all_counts = pool.columns, pool.counts
    first, last, live = pool.start[row], pool.start[row] + pool.capacity[row], 0
    if pool.used[row] > HEAD:
        found = read_head(pool.heads, row, (all_columns[first:last], all_counts[first:last]), columns, counts)
        for place in range(found):
            columns[live], counts[live] = columns[place], counts[place]
            live += columns[place] < size
        return live
    # Half of the slots are empty, at random, so the loop writes always and steps on where it counts.
    for slot in range(first, last):
        columns[live], counts[live] = all_columns[slot], all_counts[slot]
        live += (all_counts[slot] > 0) & (all_columns[slot] < size)
    return live


@compiled
def log_of(x: np.float32) -> np.float32:
    """Return the log of x >= 1, at most 1e-6 off: the exponent's, and a Chebyshev polynomial for the mantissa's."""
    bits = np.float32(x).view(np.int32)
    t = np.int32((bits & 0x7FFFFF) | 0x3F800000).view(np.float32) - np.float32(1)
    p = np.float32(-0.06559031) + t * np.float32(0.01387448)
    p = np.float32(-0.2345452) + t * (np.float32(0.14829413) + t * p)
    p = np.float32(0.99999857) + t * (np.float32(-0.49985899) + t * (np.float32(0.33097526) + t * p))
    return t * p + np.float32(0.6931472) * np.float32((bits >> 23) - 127)


@compiled
def live(pool: Pool) -> Longs:
    """Return (R,) the counts of each row that are not zero."""
    columns, counts = pool.columns, pool.counts
    sizes = np.zeros(len(pool.start), np.int64)
    for row in range(len(sizes)):
        for slot in range(pool.start[row], pool.start[row] + pool.capacity[row]):
            if columns[slot] != 0 and counts[slot] != 0:
                sizes[row] += 1
    return sizes


@compiled
def pack(pool: Pool, offsets: Longs, columns: Ints, counts: Ints | Longs) -> None:
    """Write the columns and counts of each row, zeros left out, from its offset on."""
    all_columns, all_counts = pool.columns, pool.counts
    for row in range(len(offsets) - 1):
        place = offsets[row]
        for slot in range(pool.start[row], pool.start[row] + pool.capacity[row]):
            if all_columns[slot] != 0 and all_counts[slot] != 0:
                columns[place], counts[place] = all_columns[slot], all_counts[slot]
                place += 1
