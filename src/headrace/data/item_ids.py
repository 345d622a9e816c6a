"""The ids of very many items and their indices 1..V, in little memory.

An id takes 16 bytes beside its text, where a dictionary takes 150. The texts stand end to end in one block. An id is
found by its hash, which the canonical order of events needs anyway, among the sorted ones; ids that came later stand in
a dictionary.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from itertools import chain, islice

import numpy as np

from headrace.core.order import Hashes, id_hash, id_hashes
from headrace.data.log import Ints, Longs

_AT_ONCE = 100_000
_ROOM = 1024


class ItemIds:
    """Distinct ids in order of their indices. One thread appends; others may read at the same time."""

    def __init__(self, ids: Iterable[str] = ()) -> None:
        """Take distinct ids; `ids[i]` gets index i + 1.

        Raises:
            AssertionError: an id stands twice.
        """
        blocks, lengths, hashes, left = [], [np.zeros(1, np.int64)], [np.zeros(1, np.uint64)], iter(ids)
        while some := list(islice(left, _AT_ONCE)):
            encoded = [text.encode() for text in some]
            blocks.append(b"".join(encoded))
            lengths.append(np.fromiter(map(len, encoded), np.int64, len(encoded)))
            hashes.append(id_hashes(some))
        self._block = b"".join(blocks)
        ends = np.cumsum(np.concatenate(lengths))
        self._ends = ends.astype(np.uint32 if len(self._block) < 2**32 else np.int64)
        self._hashes: Hashes = np.concatenate(hashes)
        self._order: Ints = np.argsort(self._hashes[1:], kind="stable").astype(np.int32) + np.int32(1)
        self._later: list[str] = []
        self._later_index: dict[str, int] = {}
        twice = np.flatnonzero(np.diff(self._hashes[self._order]) == 0)
        pairs = zip(self.ids(self._order[twice]), self.ids(self._order[twice + 1]), strict=True)
        assert all(one != other for one, other in pairs), "ids must be distinct"

    def __len__(self) -> int:
        return len(self._ends) - 1 + len(self._later)

    def __iter__(self) -> Iterator[str]:
        return chain((self.id(index) for index in range(1, len(self._ends))), self._later)

    def index(self, text: str) -> int:
        """Return the index of an id, 0 for one that is not there."""
        later = self._later_index.get(text)
        if later is not None:
            return later
        hashes, order, value = self._hashes, self._order, id_hash(text)
        place = bisect_left(order, value, key=lambda index: int(hashes[index]))
        while place < len(order) and hashes[order[place]] == value:
            index = int(order[place])
            if self.id(index) == text:
                return index
            place += 1
        return 0

    def id(self, index: int) -> str:
        """Return the id of an index 1..V."""
        assert index >= 1, "index 0 stands for no item"
        first = len(self._ends) - 1
        if index > first:
            return self._later[index - first - 1]
        return self._block[self._ends[index - 1] : self._ends[index]].decode()

    def ids(self, indices: Ints) -> list[str]:
        """Return the ids of indices 1..V."""
        first = len(self._ends) - 1
        known = np.minimum(indices, first)
        starts, ends = self._ends[known - 1].tolist(), self._ends[known].tolist()
        return [
            self._block[start:end].decode() if index <= first else self._later[index - first - 1]
            for index, start, end in zip(indices.tolist(), starts, ends, strict=True)
        ]

    def append(self, text: str) -> int:
        """Add an id that is not there, and return its index."""
        index = len(self) + 1
        if index == len(self._hashes):
            self._hashes = np.concatenate((self._hashes, np.zeros(_ROOM + index // 8, np.uint64)))
        self._hashes[index] = id_hash(text)
        self._later.append(text)
        self._later_index[text] = index
        return index

    def hashes(self, indices: Ints | Longs) -> Hashes:
        """Return the hashes of ids, `core.order.id_hash`, by their indices."""
        return self._hashes[indices]

    def hash(self, index: int) -> int:
        """Return the hash of one id."""
        return int(self._hashes[index])

    @property
    def nbytes(self) -> int:
        """Memory of those that stood there at first, in bytes."""
        return len(self._block) + self._ends.nbytes + self._hashes.nbytes + self._order.nbytes
