"""A sparse table of integer counts that grows: each row a small hash of columns, all rows in one pool of arrays.

A row is an open-addressing hash with linear probing (Knuth, The Art of Computer Programming 3, 6.4): a power of two of
slots, at most 70 % of them in use. Column 0 marks an empty slot, so columns start at 1. A count that has come back to
zero keeps its slot until the row is next moved, and is never read. A row that outgrows its slots moves to a hole of
the right size, or to the end of the pool; the hole it leaves is kept in a list by size for the next row that grows.

Counts take 32 bits until one outgrows them, then all take 64: half the memory for all but the largest stores, and
never a wrong count. (The kernels are then compiled for 64 bits, some seconds once on a machine.)
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from headrace.data.log import Floats, Ints, Longs
from headrace.ranking.compiled import Whole, compiled

Arrays: TypeAlias = dict[str, NDArray[np.generic]]

_SMALLEST = 4
_POOL_STEP = 1 << 16
_TOP, _FREE, _TOO_LARGE = 0, 1, 2


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
    """

    columns: Ints
    counts: Ints | Longs
    start: Longs
    capacity: Longs
    used: Longs
    holes: Longs
    meta: Longs


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


class CountRows:
    """Counts by (row, column); rows start at 0, columns at 1. Both grow as needed."""

    def __init__(self, slots: int = _POOL_STEP) -> None:
        self._pool = Pool(
            columns=np.zeros(slots, np.int32),
            counts=np.zeros(slots, np.int32),
            start=np.zeros(64, np.int64),
            capacity=np.zeros(64, np.int64),
            used=np.zeros(64, np.int64),
            holes=np.full(40, -1, np.int64),
            meta=np.zeros(3, np.int64),
        )

    @property
    def nbytes(self) -> int:
        """Memory of the arrays, in bytes."""
        return sum(array.nbytes for array in self._pool)

    def add(self, rows: Ints, columns: Ints, deltas: Longs) -> None:
        """Add `deltas` (n,) to the counts at (`rows`, `columns`), in any order, repeats allowed."""
        done = 0
        while (done := _add(self._pool, rows, columns, deltas, done)) < len(rows):
            self._make_room(int(rows[done]))

    def add_grouped(self, first_row: int, groups: Groups) -> None:
        """Add many counts that are grouped by row: group g to row `first_row + g`. Several times faster than `add`."""
        stamps = np.zeros(int(groups.columns.max(initial=0)) + 1, np.int64)
        done = 0
        self._make_rows(first_row + len(groups.offsets) - 1)
        while (done := _add_grouped(self._pool, first_row, groups, done, stamps)) < len(groups.columns):
            self._make_room(first_row + int(np.searchsorted(groups.offsets, done, side="right")) - 1)

    def get(self, rows: Ints, columns: Ints) -> Longs:
        """Return the counts (n,) at (`rows`, `columns`), 0 where there is none."""
        return _get(self._pool, rows, columns)

    def sum_rows(self, rows: Ints, weights: Longs, size: int) -> Longs:
        """Return (size,): by column, the sum over `rows` of the row's weight times its count.

        Args:
            rows: (n,) rows, repeats allowed.
            weights: (n,) their weights.
            size: columns at or above it are left out.
        """
        sums = np.zeros(size, np.int64)
        _sum_rows(self._pool, rows, weights, sums)
        return sums

    def sum_logs(self, rows: Ints, weights: Floats, scale: float, sums: Floats) -> Ints:
        """Add weight * log(1 + scale * count) of each row to `sums`, in place.

        Args:
            rows: (n,) rows; one that holds nothing is passed over.
            weights: (n,) their weights.
            scale: the factor of a count.
            sums: (size,) by column, zeros to begin with; columns at or above `size` are left out.

        Returns:
            the columns that were touched, each once, in no promised order.
        """
        touched = np.empty(len(sums) + 1, np.int32)  # one place to write on
        return touched[: _sum_logs(self._pool, rows, weights, np.float32(scale), sums, touched)]

    def triples(self) -> tuple[Ints, Ints, Longs]:
        """Return (rows, columns, counts) of all counts but zeros, by row and column: the content, free of its past."""
        offsets, columns, counts = self._packed()
        rows = np.repeat(np.arange(len(offsets) - 1, dtype=np.int32), np.diff(offsets))
        order = np.lexsort((columns, rows))
        return rows[order], columns[order], counts[order].astype(np.int64)

    def state(self) -> Arrays:
        """Return copies of what is counted, by row: `offsets` (R + 1,), `columns` (n,), `counts` (n,)."""
        offsets, columns, counts = self._packed()
        return {"offsets": offsets, "columns": columns, "counts": counts}

    @classmethod
    def from_state(cls, state: Arrays) -> CountRows:
        """Make the table again from `state()`."""
        offsets = np.array(state["offsets"], np.int64)
        table = cls(_POOL_STEP + _slots_of(np.diff(offsets)))
        table.add_grouped(0, Groups(offsets, np.array(state["columns"], np.int32), np.array(state["counts"], np.int64)))
        return table

    def _packed(self) -> tuple[Longs, Ints, Ints | Longs]:
        sizes = _live(self._pool)
        offsets = np.concatenate((np.zeros(1, np.int64), np.cumsum(sizes)))
        columns, counts = np.empty(offsets[-1], np.int32), np.empty(offsets[-1], self._pool.counts.dtype)
        _pack(self._pool, offsets, columns, counts)
        return offsets, columns, counts

    def _make_room(self, row: int) -> None:
        """Make what stopped a kernel at `row` possible: wider counts, more rows, or more slots at the pool's end."""
        top, free, too_large = (int(number) for number in self._pool.meta)
        if too_large:
            self._pool.meta[_TOO_LARGE] = 0
            self._pool = self._pool._replace(counts=self._pool.counts.astype(np.int64))
            return
        if row >= len(self._pool.start):
            self._make_rows(row + 1)
            return
        if free > top // 2:
            fresh = CountRows.from_state(self.state())  # 32 bits again, where they do
            fresh._make_rows(len(self._pool.start))
            self._pool = fresh._pool
            return
        wanted = int(self._pool.capacity[row]) * 4
        self._grow_slots(max(_POOL_STEP, wanted, len(self._pool.columns) // 4))

    def _grow_slots(self, more: int) -> None:
        size = len(self._pool.columns) + more
        assert size < 2**31, "32 bits hold the links between holes"
        # In place: the system moves pages instead of copying them. No view of these two arrays ever leaves this class.
        self._pool.columns.resize(size, refcheck=False)
        self._pool.counts.resize(size, refcheck=False)

    def _make_rows(self, rows: int) -> None:
        have = len(self._pool.start)
        if rows <= have:
            return
        more = max(rows, have + have // 2) - have
        self._pool = self._pool._replace(
            start=np.concatenate((self._pool.start, np.zeros(more, np.int64))),
            capacity=np.concatenate((self._pool.capacity, np.zeros(more, np.int64))),
            used=np.concatenate((self._pool.used, np.zeros(more, np.int64))),
        )


def _slots_of(sizes: Longs) -> int:
    """Return how many slots rows of these sizes take; see `_move`."""
    least = -(-sizes[sizes > 0] * 10 // 7)
    return int(np.maximum(_SMALLEST, np.exp2(np.ceil(np.log2(least)))).sum())


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
    capacity, size_class = _SMALLEST, 2
    while (live + more) * 10 > capacity * 7:
        capacity, size_class = capacity * 2, size_class + 1
    start = pool.holes[size_class]
    if start >= 0:
        pool.holes[size_class] = counts[start]
        counts[start] = 0
        pool.meta[_FREE] -= capacity
    else:
        start = pool.meta[_TOP]
        if start + capacity > len(columns):
            return False
        pool.meta[_TOP] += capacity
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
        pool.meta[_FREE] += old_capacity
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
        pool.meta[_TOO_LARGE] = 1
        return False
    pool.counts[place] = total
    return True


@compiled
def _add(pool: Pool, rows: Ints, columns: Ints, deltas: Longs, begin: int) -> int:
    """Add from place `begin` on; return the place at which room is wanting, or the number of places."""
    for place in range(begin, len(rows)):
        if rows[place] >= len(pool.start) or not _add_one(
            pool, np.int64(rows[place]), np.int64(columns[place]), deltas[place]
        ):
            return place
    return len(rows)


@compiled
def _add_grouped(pool: Pool, first_row: int, groups: Groups, begin: int, stamps: Longs) -> int:
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
        row_start, capacity = pool.start[row], pool.capacity[row]
        for place in range(start, end):
            slot = _find(columns, row_start, capacity, np.int64(new_columns[place]))
            if columns[slot] == 0:
                columns[slot] = new_columns[place]
                pool.used[row] += 1
            total = np.int64(counts[slot]) + deltas[place]
            if abs(total) > largest:
                pool.meta[_TOO_LARGE] = 1
                return place
            counts[slot] = total
    return len(new_columns)


@compiled
def _get(pool: Pool, rows: Ints, columns: Ints) -> Longs:
    found = np.zeros(len(rows), np.int64)
    for place in range(len(rows)):
        row = rows[place]
        if row < len(pool.start) and pool.capacity[row] > 0:
            slot = _find(pool.columns, pool.start[row], pool.capacity[row], np.int64(columns[place]))
            if pool.columns[slot] != 0:
                found[place] = pool.counts[slot]
    return found


@compiled
def _sum_rows(pool: Pool, rows: Ints, weights: Longs, sums: Longs) -> None:
    columns, counts = pool.columns, pool.counts
    for place in range(len(rows)):
        row = rows[place]
        if row < len(pool.start):
            for slot in range(pool.start[row], pool.start[row] + pool.capacity[row]):
                if 0 < columns[slot] < len(sums):
                    sums[columns[slot]] += weights[place] * counts[slot]


@compiled
def _sum_logs(pool: Pool, rows: Ints, weights: Floats, scale: np.float32, sums: Floats, touched: Ints) -> int:
    # Half of the slots are empty, at random, so the loops write always and step on where it counts, and the logs stand
    # in a loop of their own, eight at a time: of 318,000 slots, branches took 2.5 ms, this takes 0.8.
    n, longest = 0, 0
    for row in rows:
        if row < len(pool.start):
            longest = max(longest, pool.capacity[row])
    columns, gains = np.empty(longest + 1, np.int32), np.empty(longest + 1, np.float32)
    all_columns, all_counts = pool.columns, pool.counts
    for place in range(len(rows)):
        row, weight, live = rows[place], weights[place], 0
        if row >= len(pool.start):
            continue
        for slot in range(pool.start[row], pool.start[row] + pool.capacity[row]):
            columns[live], gains[live] = all_columns[slot], all_counts[slot]
            live += (all_counts[slot] > 0) & (all_columns[slot] < len(sums))
        for each in range(live):
            gains[each] = weight * _log(np.float32(1) + scale * gains[each])
        for each in range(live):
            touched[n] = columns[each]
            n += (sums[columns[each]] == 0) & (gains[each] > 0)
            sums[columns[each]] += gains[each]
    return n


@compiled
def _log(x: np.float32) -> np.float32:
    """Return the log of x >= 1, at most 1e-6 off: the exponent's, and a Chebyshev polynomial for the mantissa's."""
    bits = np.float32(x).view(np.int32)
    t = np.int32((bits & 0x7FFFFF) | 0x3F800000).view(np.float32) - np.float32(1)
    p = np.float32(-0.06559031) + t * np.float32(0.01387448)
    p = np.float32(-0.2345452) + t * (np.float32(0.14829413) + t * p)
    p = np.float32(0.99999857) + t * (np.float32(-0.49985899) + t * (np.float32(0.33097526) + t * p))
    return t * p + np.float32(0.6931472) * np.float32((bits >> 23) - 127)


@compiled
def _live(pool: Pool) -> Longs:
    columns, counts = pool.columns, pool.counts
    sizes = np.zeros(len(pool.start), np.int64)
    for row in range(len(sizes)):
        for slot in range(pool.start[row], pool.start[row] + pool.capacity[row]):
            if columns[slot] != 0 and counts[slot] != 0:
                sizes[row] += 1
    return sizes


@compiled
def _pack(pool: Pool, offsets: Longs, columns: Ints, counts: Ints | Longs) -> None:
    all_columns, all_counts = pool.columns, pool.counts
    for row in range(len(offsets) - 1):
        place = offsets[row]
        for slot in range(pool.start[row], pool.start[row] + pool.capacity[row]):
            if all_columns[slot] != 0 and all_counts[slot] != 0:
                columns[place], counts[place] = all_columns[slot], all_counts[slot]
                place += 1
