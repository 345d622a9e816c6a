"""Negatives that a whole batch shares.

Shapes: V items, S negatives.
"""

from __future__ import annotations

import numpy as np

from headrace.data.log import EventLog, Floats, Longs

FULL_CATALOGUE = 4000
"""Up to here every item is a negative (full cross-entropy): as fast as a sample, and exact."""

_POPULAR = 0.5
"""Share of the negatives that are drawn by how often the item occurs; the others are drawn evenly."""


class NegativeSampler:
    """Draws items that the model has events of."""

    def __init__(self, log: EventLog, count: int) -> None:
        counts = np.bincount(log.items, minlength=log.n_items + 1).astype(np.float64)
        self.known: Longs = np.flatnonzero(counts > 0).astype(np.int64)
        self.count = count
        chance = _POPULAR * counts[self.known] / counts.sum() + (1 - _POPULAR) / len(self.known)
        self._cumulative = np.cumsum(chance)
        self._shift = np.log(chance * count).astype(np.float32)

    @property
    def full(self) -> bool:
        """Whether every known item is a negative."""
        return len(self.known) <= max(FULL_CATALOGUE, self.count)

    def draw(self, generator: np.random.Generator) -> tuple[Longs, Floats]:
        """Return (S,) items and the log-Q correction of each, log(S q(item)); see `model/losses.py`."""
        if self.full:
            return self.known, np.zeros(len(self.known), np.float32)
        # One even grid with a random start instead of independent draws: the same chances, less variance.
        grid = (np.arange(self.count) + generator.random(self.count)) / self.count * self._cumulative[-1]
        places = np.minimum(np.searchsorted(self._cumulative, grid, side="right"), len(self.known) - 1)
        return self.known[places], self._shift[places]
