"""The learned id vectors of a model folder, read where they are needed: few items change between two swaps.

Shapes: V items of the model (row 0 is padding), D width, n items.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from safetensors import safe_open

from headrace.data.log import Floats, Ints


class LearnedIds:
    """What an item's id adds to its vectors, above what "no id" adds. Safe to share between threads."""

    def __init__(self, path: Path) -> None:
        """Open `weights.safetensors`; it is mapped, so replacing the folder later does not disturb.

        Raises:
            OSError, SafetensorError: the file is missing, damaged, or holds no ids.
        """
        weights = safe_open(path, framework="np")
        # The library leaves these two without types.
        self._no_id: Floats = weights.get_tensor("model.items.no_id")  # type: ignore[no-untyped-call]
        self._ids = weights.get_slice("ids")  # type: ignore[no-untyped-call]

    def __call__(self, rows: Ints) -> Floats:
        """Return (n, D) for items by their row in the model, zeros for row 0."""
        added = np.zeros((len(rows), len(self._no_id)), np.float32)
        for place, row in enumerate(rows.tolist()):
            if row:
                added[place] = self._ids[row : row + 1][0] - self._no_id
        return added
