"""Intervals by resampling users: how far a metric would move had other users of the same kind come.

Users are drawn with replacement and bring all of their targets along, since the targets of one user resemble each
other (the cluster bootstrap; Field and Welsh 2007). Shapes: U users, M figures, R resamples, N targets.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from headrace.data.log import Ints
from headrace.ranking.metrics import Doubles

RESAMPLES = 1000
LEVEL = 0.95
_DRAWS_AT_ONCE = 1 << 22


@dataclass(frozen=True)
class Interval:
    """Estimates with their 95 % intervals, each (M,)."""

    values: Doubles
    low: Doubles
    high: Doubles


def sums_by_user(users: Ints, values: Doubles) -> Doubles:
    """Return (U, M) sums of `values` (N, M) over each of the U distinct users of `users` (N,), by index."""
    order = np.argsort(users, kind="stable")
    starts = np.flatnonzero(np.diff(users[order], prepend=-1))
    return np.asarray(np.add.reduceat(values[order], starts, axis=0))


def mean_intervals(sums: Doubles, counts: Doubles, *, seed: int, resamples: int = RESAMPLES) -> Interval:
    """Return the means over all targets and their intervals.

    The same seed draws the same users, so that figures computed in one call or in two can be compared pair by pair:
    pass the difference of two methods' sums to get the interval of their difference.

    Args:
        sums: (U, M) sums of each figure over each user's targets, U at least 1.
        counts: (U,) targets of each user, at least 1.
        seed: of the draws.
        resamples: R.
    """
    drawn = _resample(np.column_stack((sums, counts)), seed, resamples)
    means = drawn[:, :-1] / drawn[:, -1:]
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(means, (tail, 1 - tail), axis=0)
    return Interval(sums.sum(axis=0) / counts.sum(), low, high)


def _resample(rows: Doubles, seed: int, resamples: int) -> Doubles:
    """Return (R, columns) sums of as many rows as there are, drawn with replacement."""
    rng = np.random.default_rng(seed)
    n = len(rows)
    sums = np.empty((resamples, rows.shape[1]))
    step = max(1, _DRAWS_AT_ONCE // n)
    for start in range(0, resamples, step):
        size = min(step, resamples - start)
        drawn = rng.integers(0, n, (size, n), dtype=np.int32) + np.arange(0, size * n, n)[:, None]
        times = np.bincount(drawn.ravel(), minlength=size * n).reshape(size, n)
        sums[start : start + size] = times.astype(np.float64) @ rows
    return sums
