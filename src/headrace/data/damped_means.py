"""Ratings as damped means: overall mean + item offset + user offset, in closed form (Koren 2009, baseline estimates).

Shapes: N events, P pairs of a user and an item, F features, V items (row 0 is padding). Ratings are on the unit scale.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from headrace.data.log import Bools, Floats, Ints, Longs

_COUNT_SCALE = 5.0
"""Brings log(1 + number of ratings) near 1."""


@dataclass(frozen=True)
class ItemSums:
    """The mean of all ratings, and for each item (V + 1,) the sum of (rating - mean) and the number of ratings."""

    mean: float
    sums: Floats
    counts: Floats

    @classmethod
    def of(cls, items: Ints, ratings: Floats, n_items: int) -> ItemSums:
        """Count ratings; `items` and `ratings` (n,)."""
        mean = float(ratings.mean()) if len(ratings) else 0.5
        sums = np.bincount(items, weights=ratings - mean, minlength=n_items + 1)
        counts = np.bincount(items, minlength=n_items + 1)
        return cls(mean, sums.astype(np.float32), counts.astype(np.float32))

    def offsets(self, damping: float) -> Floats:
        """Return (V + 1,) item offsets: each item is given `damping` ratings of average beside its own."""
        return np.asarray(self.sums / (self.counts + np.float32(damping)), np.float32)


def user_offsets(
    deviations: Floats, rated: Bools, before: Longs, starts: Longs, damping: float
) -> tuple[Floats, Floats]:
    """Return each event's user offset from that user's strictly earlier ratings, and how many those are, (N,) each.

    Args:
        deviations: (N,) rating - mean - item offset; anything where `rated` is False.
        rated: (N,) whether the event is a rating.
        before: (N,) one past the last strictly earlier event of the same user.
        starts: (N,) the first event of the user.
        damping: ratings of average that every user is given.
    """
    sums = np.concatenate([[0.0], np.cumsum(np.where(rated, deviations, 0.0), dtype=np.float64)])
    counts = np.concatenate([[0], np.cumsum(rated)])
    n = (counts[before] - counts[starts]).astype(np.float32)
    return ((sums[before] - sums[starts]) / (n + damping)).astype(np.float32), n


def rating_features(user_offset: Floats, item_offset: Floats, user_count: Floats, item_count: Floats) -> Floats:
    """Return (P, F) what the learned residual reads beside the vectors; all arguments are (P,)."""
    counts = [np.log1p(count) / _COUNT_SCALE for count in (user_count, item_count)]
    return np.stack([user_offset, item_offset, *counts], axis=1).astype(np.float32)
