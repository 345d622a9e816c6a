"""Vectors of very many items in a quarter of the memory: 8 bits a number, and one scale for each vector.

Number d of item a is `numbers[a, d] * scales[a]`, the scale being a 127th of the largest size of a number in the
vector; so a number moves by a 254th of the largest at most. What that costs of NDCG@10 stands in docs/log.md.
Shapes: V items (row 0 is padding), D width, B users, n items.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from headrace.core.compiled import fused
from headrace.data.log import Bools, Floats, Ints, Longs

_LARGEST = 127
_AT_ONCE = 4096
"""Rows that are widened at once: a megabyte at a width of 64, which stays in the cache."""


class ByteRows(NamedTuple):
    """(V + 1, D) `numbers` and (V + 1,) `scales`; the kernels read both."""

    numbers: NDArray[np.int8]
    scales: Floats

    @classmethod
    def of(cls, vectors: Floats) -> ByteRows:
        """Narrow vectors (n, D)."""
        scales = np.abs(vectors).max(axis=1, initial=0) / np.float32(_LARGEST)
        with np.errstate(invalid="ignore"):  # what is no number makes a scale that is none
            numbers = np.rint(vectors / np.where(scales > 0, scales, 1)[:, None]).astype(np.int8)
        return cls(numbers, scales.astype(np.float32))

    @classmethod
    def empty(cls, rows: int, width: int) -> ByteRows:
        """Return so many vectors of zeros."""
        return cls(np.zeros((rows, width), np.int8), np.zeros(rows, np.float32))

    @property
    def width(self) -> int:
        """D."""
        return int(self.numbers.shape[1])

    @property
    def nbytes(self) -> int:
        """Memory of the arrays, in bytes."""
        return self.numbers.nbytes + self.scales.nbytes

    def part(self, start: int, end: int) -> ByteRows:
        """Return some of the vectors, one after the other. A view."""
        return ByteRows(self.numbers[start:end], self.scales[start:end])

    def take(self, items: Ints | Longs) -> ByteRows:
        """Return the vectors of some items (n,)."""
        return ByteRows(self.numbers[items], self.scales[items])

    def put(self, items: Ints | Longs, rows: ByteRows) -> None:
        """Write vectors to some items (n,)."""
        self.numbers[items] = rows.numbers
        self.scales[items] = rows.scales

    def grown(self, rows: int) -> ByteRows:
        """Return a copy with room for so many vectors."""
        larger = ByteRows.empty(rows, self.width)
        larger.part(0, len(self.scales)).put(np.arange(len(self.scales)), self)
        return larger

    def differ(self, row: ByteRows) -> Bools:
        """Return (n,) whether each vector is another one than that of `row`, which has one."""
        differs: Bools = (self.numbers != row.numbers).any(axis=1) | (self.scales != row.scales)
        return differs

    def wide(self) -> Floats:
        """Return the vectors (n, D) in full."""
        vectors = np.empty(self.numbers.shape, np.float32)
        _widen(self.numbers, self.scales, vectors)
        return vectors

    def wide_at(self, items: Ints | Longs) -> Floats:
        """Return the vectors of some items (any shape of indices) in full."""
        vectors: Floats = self.numbers[items] * self.scales[items][..., None]
        return vectors

    def scores(self, users: Floats) -> Floats:
        """Return (B, V + 1) the inner products with every vector."""
        found = np.empty((len(users), len(self.scales)), np.float32)
        self.write_scores(users, found)
        return found

    def write_scores(self, users: Floats, found: Floats) -> None:
        """Write the inner products with every vector into the first columns of (B, at least V + 1)."""
        for start in range(0, len(self.scales), _AT_ONCE):
            end = min(start + _AT_ONCE, len(self.scales))
            np.matmul(users, self.part(start, end).wide().T, out=found[:, start:end])

    def cosines(self, vector: Floats) -> Floats:
        """Return (V + 1,) the cosine of each vector to one (D,) that is not all zeros; minus infinity for zeros."""
        found = np.empty(len(self.scales), np.float32)
        _cosines(self.numbers, vector / np.linalg.norm(vector), found)
        return found


@fused
def _cosines(numbers: NDArray[np.int8], vector: Floats, found: Floats) -> None:
    for row in range(len(numbers)):
        product, square = np.float32(0), np.float32(0)
        for d in range(len(vector)):
            number = np.float32(numbers[row, d])
            product += number * vector[d]
            square += number * number
        found[row] = product / np.sqrt(square) if square > 0 else np.float32(-np.inf)


@fused
def _widen(numbers: NDArray[np.int8], scales: Floats, vectors: Floats) -> None:
    for row in range(len(numbers)):
        scale = scales[row]
        for d in range(numbers.shape[1]):
            vectors[row, d] = np.float32(numbers[row, d]) * scale
