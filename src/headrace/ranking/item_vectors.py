"""Item vectors in the caller's index space, growing as a shop adds items.

Shapes: V items of the caller (row 0 is padding), D width, P width of reduced contents, n items.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from headrace.data.log import Bools, Floats, Ints


class Placed(NamedTuple):
    """What n items are to the network: (n, D) `inputs` and `outputs`, and (n, P) `contents`; see `ItemVectors`."""

    inputs: Floats
    outputs: Floats
    contents: Floats


class ItemVectors:
    """The vectors of the caller's items; made by `Network.adapt`.

    An item that nothing is known of has the input of row 0. Once something is, by events that the model learned from or
    by content, its input stays as it is: what was computed from histories with the item in them remains true.
    """

    def __init__(self, placed: Placed, rows: Ints, types: Ints) -> None:
        """Take arrays as they are.

        Args:
            placed: `inputs` (V + 1, D) what a history reads, row 0 is the vector of an item that nothing is known of;
                `outputs` (V + 1, D) what a list scores: item a for user b scores `users[b] @ outputs[a]`, row 0 is
                zero; `contents` (V + 1, P) what items say, of unit length, zero for one that says nothing.
            rows: (V + 1,) the item's index in the model where the model learned from events of it, else 0.
            types: the model's index of each of the caller's event types, -1 for one that the model lacks.
        """
        self.types = types
        self._inputs, self._outputs, self._contents = placed
        self._rows = rows
        self._placed = (rows > 0) | self._says(placed.inputs)
        self._size = len(placed.inputs)

    def __len__(self) -> int:
        """Return V + 1."""
        return self._size

    @property
    def inputs(self) -> Floats:
        """Return (V + 1, D) what a history reads."""
        return self._inputs[: self._size]

    @property
    def outputs(self) -> Floats:
        """Return (V + 1, D) what a list scores."""
        return self._outputs[: self._size]

    @property
    def contents(self) -> Floats:
        """Return (V + 1, P) what items say, of unit length; zero for one that says nothing."""
        return self._contents[: self._size]

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

    def append(self, placed: Placed) -> None:
        """Add new items behind the last row, from `Network.place`."""
        size = self._size + len(placed.inputs)
        if size > len(self._inputs):
            room = max(size, len(self._inputs) * 3 // 2 + 16)
            self._inputs = _grown(self._inputs, room)
            self._outputs = _grown(self._outputs, room)
            self._contents = _grown(self._contents, room)
            self._rows = np.concatenate([self._rows, np.zeros(room - len(self._rows), np.int32)])
            self._placed = np.concatenate([self._placed, np.zeros(room - len(self._placed), np.bool_)])
        self._inputs[self._size : size] = placed.inputs
        self._outputs[self._size : size] = placed.outputs
        self._contents[self._size : size] = placed.contents
        self._placed[self._size : size] = self._says(placed.inputs)
        self._size = size

    def change(self, items: Ints, placed: Placed) -> Ints:
        """Give distinct items the vectors of their new content, from `Network.place`.

        Outputs and contents change. Inputs change only where nothing was known of the item, and stay then until the
        next swap. Returns the items whose inputs changed.
        """
        self._outputs[items] = placed.outputs
        self._contents[items] = placed.contents
        first = ~self._placed[items]
        self._inputs[items[first]] = placed.inputs[first]
        self._placed[items[first]] = self._says(placed.inputs[first])
        return items[first][self._placed[items[first]]]

    def _says(self, inputs: Floats) -> Bools:
        """Return (n,) whether inputs are others than that of an item which nothing is known of."""
        differs: Bools = (inputs != self._inputs[0]).any(axis=1)
        return differs


def _grown(table: Floats, rows: int) -> Floats:
    larger = np.zeros((rows, table.shape[1]), dtype=table.dtype)
    larger[: len(table)] = table
    return larger
