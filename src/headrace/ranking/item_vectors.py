"""Item vectors in the caller's index space, growing as a shop adds items.

Shapes: V items of the caller (row 0 is padding), D width, P width of reduced contents, n items.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from headrace.data.log import Bools, Floats, Ints
from headrace.ranking.byte_rows import ByteRows

ROOM = 8
"""One more row for each so many stands ready for new items: memory that is not taken before they come."""
_LEAST_ROOM = 16
_AT_ONCE = 1 << 16
"""Items that are looked at together."""


class Placed(NamedTuple):
    """What n items are to the network: (n, D) `inputs` and `outputs`, and (n, P) `contents`; see `ItemVectors`."""

    inputs: Floats
    outputs: Floats
    contents: Floats


class ItemVectors:
    """The vectors of the caller's items; made by `Network.adapt`.

    An item that nothing is known of has the input of row 0. Once something is, by events that the model learned from or
    by content, its input stays as it is: what was computed from histories with the item in them remains true.

    `inputs` (V + 1, D) are what a history reads, row 0 is the vector of an item that nothing is known of; `outputs`
    (V + 1, D) what a list scores: item a for user b scores `users[b] @ outputs[a]`, row 0 is zero; `contents`
    (V + 1, P) what items say, of unit length, zero for one that says nothing.
    """

    def __init__(self, tables: tuple[ByteRows, ByteRows, ByteRows], rows: Ints, types: Ints) -> None:
        """Take arrays as they are.

        Args:
            tables: inputs, outputs and contents; rows beyond V are room for items to come.
            rows: (V + 1,) the item's index in the model where the model learned from events of it, else 0.
            types: the model's index of each of the caller's event types, -1 for one that the model lacks.
        """
        self.types = types
        self._tables = tables
        self._size = len(rows)
        room = len(tables[0].scales)
        self._rows, self._placed = np.zeros(room, np.int32), np.zeros(room, np.bool_)
        self._rows[: self._size] = rows
        for start in range(0, self._size, _AT_ONCE):
            some = slice(start, min(start + _AT_ONCE, self._size))
            self._placed[some] = (rows[some] > 0) | self._says(tables[0].part(some.start, some.stop))

    @classmethod
    def of(cls, placed: Placed, rows: Ints, types: Ints) -> ItemVectors:
        """Narrow the vectors of few items."""
        inputs, outputs, contents = (ByteRows.of(table) for table in placed)
        return cls((inputs, outputs, contents), rows, types)

    def __len__(self) -> int:
        """Return V + 1."""
        return self._size

    @property
    def inputs(self) -> ByteRows:
        """What a history reads. A view."""
        return self._tables[0].part(0, self._size)

    @property
    def outputs(self) -> ByteRows:
        """What a list scores. A view."""
        return self._tables[1].part(0, self._size)

    @property
    def contents(self) -> ByteRows:
        """What items say. A view."""
        return self._tables[2].part(0, self._size)

    @property
    def rows(self) -> Ints:
        """Return (V + 1,) the item's index in the model, 0 where the model has no events of it."""
        return self._rows[: self._size]

    @property
    def known(self) -> Bools:
        """Return (V + 1,) True where the model has learned from events of this item."""
        return self.rows > 0

    @property
    def placed(self) -> Bools:
        """Return (V + 1,) True where something is known of the item, by events or by content."""
        return self._placed[: self._size]

    @property
    def nbytes(self) -> int:
        """Memory of the arrays, in bytes."""
        return sum(table.nbytes for table in self._tables) + self._rows.nbytes + self._placed.nbytes

    def append(self, placed: Placed) -> None:
        """Add new items behind the last row, from `Network.place`."""
        size = self._size + len(placed.inputs)
        if size > len(self._rows):
            room = size + size // ROOM + _LEAST_ROOM
            inputs, outputs, contents = (table.grown(room) for table in self._tables)
            self._tables = inputs, outputs, contents
            self._rows = np.concatenate([self._rows, np.zeros(room - len(self._rows), np.int32)])
            self._placed = np.concatenate([self._placed, np.zeros(room - len(self._placed), np.bool_)])
        new, narrow = np.arange(self._size, size), [ByteRows.of(table) for table in placed]
        for table, rows in zip(self._tables, narrow, strict=True):
            table.put(new, rows)
        self._placed[new] = self._says(narrow[0])
        self._size = size

    def change(self, items: Ints, placed: Placed) -> Ints:
        """Give distinct items the vectors of their new content, from `Network.place`.

        Outputs and contents change. Inputs change only where nothing was known of the item, and stay then until the
        next swap. Returns the items whose inputs changed.
        """
        inputs, outputs, contents = (ByteRows.of(table) for table in placed)
        self._tables[1].put(items, outputs)
        self._tables[2].put(items, contents)
        first = np.flatnonzero(~self._placed[items])
        self._tables[0].put(items[first], inputs.take(first))
        self._placed[items[first]] = self._says(inputs.take(first))
        return items[first][self._placed[items[first]]]

    def _says(self, inputs: ByteRows) -> Bools:
        """Return (n,) whether inputs are others than that of an item which nothing is known of."""
        return inputs.differ(self._tables[0].part(0, 1))
