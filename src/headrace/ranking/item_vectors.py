"""Item vectors in the caller's index space, growing as a shop adds items.

Shapes: V items of the caller (row 0 is padding), D width, n new items.
"""

from __future__ import annotations

import numpy as np

from headrace.data.log import Bools, Floats, Ints


class ItemVectors:
    """The vectors of the caller's items; made by `Network.adapt`."""

    def __init__(self, inputs: Floats, outputs: Floats, rows: Ints, types: Ints) -> None:
        """Take arrays as they are.

        Args:
            inputs: (V + 1, D) what a history reads; row 0 is the vector of an item that nothing is known of.
            outputs: (V + 1, D) what a list scores: item a for user b scores `users[b] @ outputs[a]`; row 0 is zero.
            rows: (V + 1,) the item's index in the model where the model learned from events of it, else 0.
            types: the model's index of each of the caller's event types, -1 for one that the model lacks.
        """
        self.types = types
        self._inputs = inputs
        self._outputs = outputs
        self._rows = rows
        self._size = len(inputs)

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
    def rows(self) -> Ints:
        """Return (V + 1,) the item's index in the model, 0 where the model has no events of it."""
        return self._rows[: self._size]

    @property
    def known(self) -> Bools:
        """Return (V + 1,) True where the model has learned from events of this item."""
        return self.rows > 0

    def append(self, inputs: Floats, outputs: Floats) -> None:
        """Add new items behind the last row; take the two (n, D) arrays from `Network.place`."""
        size = self._size + len(inputs)
        if size > len(self._inputs):
            room = max(size, len(self._inputs) * 3 // 2 + 16)
            self._inputs = _grown(self._inputs, room)
            self._outputs = _grown(self._outputs, room)
            self._rows = np.concatenate([self._rows, np.zeros(room - len(self._rows), np.int32)])
        self._inputs[self._size : size] = inputs
        self._outputs[self._size : size] = outputs
        self._size = size

    def replace_output(self, item: int, output: Floats) -> None:
        """Give `item` a new (D,) output vector after its content changed; its input stays until the next swap."""
        self._outputs[item] = output


def _grown(table: Floats, rows: int) -> Floats:
    larger = np.zeros((rows, table.shape[1]), dtype=table.dtype)
    larger[: len(table)] = table
    return larger
