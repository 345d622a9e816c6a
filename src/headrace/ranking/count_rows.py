"""A sparse table of integer counts that grows: each row a small hash of columns, all rows in one pool of arrays.

A row is an open-addressing hash with linear probing (Knuth, The Art of Computer Programming 3, 6.4): a power of two of
slots, at most 70 % of them in use. Column 0 marks an empty slot, so columns start at 1. A count that has come back to
zero keeps its slot until the row is next moved, and is never read. A row that outgrows its slots moves to a hole of
the right size, or to the end of the pool; the hole it leaves is kept in a list by size for the next row that grows.

Counts take 32 bits until one outgrows them, then all take 64: half the memory for all but the largest stores, and
never a wrong count. (The kernels are then compiled for 64 bits, some seconds once on a machine.)
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from headrace.core.compiled import plain
from headrace.data.log import Ints, Longs
from headrace.ranking import count_kernels as kernels
from headrace.ranking.count_kernels import Groups, Pool
from headrace.ranking.head_kernels import HEAD, Heads

__all__ = ["Arrays", "CountRows", "Groups"]

Arrays: TypeAlias = dict[str, NDArray[np.generic]]

_POOL_STEP = 1 << 16
_SPARE_HEADS = 64
"""Heads that always have room when the arrays are handed out; a row that finds none is read the long way."""


_FEW = 1000
"""Counts that are added without giving the interpreter lock away: some 50 us."""


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
            heads=Heads(
                of=np.full(64, -1, np.int32),
                columns=np.zeros((0, HEAD), np.int32),
                counts=np.zeros((0, HEAD), np.int32),
                least=np.zeros(0, np.int32),
                used=np.zeros(1, np.int64),
            ),
        )

    @property
    def pool(self) -> Pool:
        """The arrays, for kernels that read them, with room for the heads of rows; good until the next change.

        Of a long row the kernels read the head, the columns with the largest counts; it is made when it is first read.
        """
        heads = self._pool.heads
        if heads.used[0] + _SPARE_HEADS > len(heads.least):
            size = len(heads.least) + max(2 * _SPARE_HEADS, len(heads.least) // 2)
            heads.columns.resize((size, HEAD), refcheck=False)  # in place, see `_resize`
            heads.counts.resize((size, HEAD), refcheck=False)
            heads.least.resize(size, refcheck=False)
        return self._pool

    @property
    def nbytes(self) -> int:
        """Memory of the arrays, in bytes."""
        *arrays, heads = self._pool
        return sum(array.nbytes for array in (*arrays, *heads))

    def add(self, rows: Ints, columns: Ints, deltas: Longs) -> None:
        """Add `deltas` (n,) to the counts at (`rows`, `columns`), in any order, repeats allowed."""
        done, add = 0, kernels.add_few if len(rows) <= _FEW else kernels.add
        while (done := add(self._pool, rows, columns, deltas, done)) < len(rows):
            self._make_room(int(rows[done]))

    def add_grouped(self, first_row: int, groups: Groups) -> None:
        """Add many counts that are grouped by row: group g to row `first_row + g`. Several times faster than `add`."""
        stamps = np.zeros(int(groups.columns.max(initial=0)) + 1, np.int64)
        done = 0
        self._make_rows(first_row + len(groups.offsets) - 1)
        while (done := kernels.add_grouped(self._pool, first_row, groups, done, stamps)) < len(groups.columns):
            self._make_room(first_row + int(np.searchsorted(groups.offsets, done, side="right")) - 1)

    def compact(self) -> None:
        """Give back the memory that lies in holes and beyond the last row."""
        self._close_holes()
        self._resize(int(self._pool.meta[kernels.TOP]) + _POOL_STEP)

    def get(self, rows: Ints, columns: Ints) -> Longs:
        """Return the counts (n,) at (`rows`, `columns`), 0 where there is none."""
        return kernels.get(self._pool, rows, columns)

    def sum_rows(self, rows: Ints, weights: Longs, size: int) -> Longs:
        """Return (size,): by column, the sum over `rows` of the row's weight times its count.

        Args:
            rows: (n,) rows, repeats allowed.
            weights: (n,) their weights.
            size: columns at or above it are left out.
        """
        sums = np.zeros(size, np.int64)
        kernels.sum_rows(self._pool, rows, weights, sums)
        return sums

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
        offsets, columns = plain(np.asarray(state["offsets"], np.int64)), plain(np.asarray(state["columns"], np.int32))
        counts = state["counts"]
        wide = len(counts) > 0 and int(np.abs(counts).max()) > np.iinfo(np.int32).max
        table = cls(_POOL_STEP + _slots_of(np.diff(offsets)))
        table._make_rows(len(offsets) - 1)
        if wide:
            table._widen()
        cells: Ints | Longs = plain(np.asarray(counts, np.int64)) if wide else plain(np.asarray(counts, np.int32))
        kernels.fill(table._pool, offsets, columns, cells)
        return table

    def _packed(self) -> tuple[Longs, Ints, Ints | Longs]:
        sizes = kernels.live(self._pool)
        offsets = np.concatenate((np.zeros(1, np.int64), np.cumsum(sizes)))
        columns, counts = np.empty(offsets[-1], np.int32), np.empty(offsets[-1], self._pool.counts.dtype)
        kernels.pack(self._pool, offsets, columns, counts)
        return offsets, columns, counts

    def _make_room(self, row: int) -> None:
        """Make what stopped a kernel at `row` possible: wider counts, more rows, or more slots at the pool's end."""
        top, free, too_large = (int(number) for number in self._pool.meta)
        if too_large:
            self._pool.meta[kernels.TOO_LARGE] = 0
            self._widen()
            return
        if row >= len(self._pool.start):
            self._make_rows(row + 1)
            return
        if free > top // 2:
            self._close_holes()
            return
        wanted = int(self._pool.capacity[row]) * 4
        self._resize(len(self._pool.columns) + max(_POOL_STEP, wanted, len(self._pool.columns) // 4))

    def _widen(self) -> None:
        pool = self._pool
        heads = pool.heads._replace(counts=pool.heads.counts.astype(np.int64))
        self._pool = pool._replace(counts=pool.counts.astype(np.int64), heads=heads)

    def _close_holes(self) -> None:
        rows = np.flatnonzero(self._pool.capacity)
        kernels.close_holes(self._pool, rows[np.argsort(self._pool.start[rows])])

    def _resize(self, size: int) -> None:
        assert size < 2**31, "32 bits hold the links between holes"
        # In place: the system moves pages instead of copying them. Nobody keeps a view of these two arrays.
        self._pool.columns.resize(size, refcheck=False)
        self._pool.counts.resize(size, refcheck=False)

    def _make_rows(self, rows: int) -> None:
        have = len(self._pool.start)
        if rows <= have:
            return
        more = max(rows, have * 9 // 8 + 64) - have
        self._pool = self._pool._replace(
            start=np.concatenate((self._pool.start, np.zeros(more, np.int64))),
            capacity=np.concatenate((self._pool.capacity, np.zeros(more, np.int64))),
            used=np.concatenate((self._pool.used, np.zeros(more, np.int64))),
            heads=self._pool.heads._replace(of=np.concatenate((self._pool.heads.of, np.full(more, -1, np.int32)))),
        )


def _slots_of(sizes: Longs) -> int:
    """Return how many slots rows of these sizes take; as `count_kernels` moves them."""
    least = -(-sizes[sizes > 0] * 10 // 7)
    return int(np.maximum(kernels.SMALLEST, np.exp2(np.ceil(np.log2(least)))).sum())
