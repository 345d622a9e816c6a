"""Ranking and rating metrics, as pure functions of ranks, lists and numbers.

Shapes: N targets, Q questions, K places of a list. A rank counts from 1; 0 stands for "not on the list".
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import NDArray

from headrace.data.log import Bools, Floats, Ints, Longs

Doubles = NDArray[np.float64]

NOT_LISTED = 0
_TARGETS_AT_ONCE = 1 << 18


def ranks_of(lists: Ints, questions: Longs, targets: Ints) -> Ints:
    """Return (N,) the rank of each target on the list of its question, 0 where it is not there.

    Args:
        lists: (Q, K) items, best first, 0 behind the end of a shorter list.
        questions: (N,) the row of `lists` that each target belongs to.
        targets: (N,) items 1..V.
    """
    ranks = np.zeros(len(targets), np.int32)
    for start in range(0, len(targets), _TARGETS_AT_ONCE):
        part = slice(start, start + _TARGETS_AT_ONCE)
        hits = lists[questions[part]] == targets[part, None]
        ranks[part] = np.where(hits.any(axis=1), hits.argmax(axis=1) + 1, NOT_LISTED)
    return ranks


def recalls(ranks: Ints, k: int) -> Doubles:
    """Return (N,) 1 where a target is among the first k, else 0."""
    return _listed(ranks, k).astype(np.float64)


def ndcgs(ranks: Ints, k: int) -> Doubles:
    """Return (N,) 1 / log2(1 + rank) where a target is among the first k, else 0.

    That is the normalised discounted cumulative gain of a question with one relevant item (Järvelin and Kekäläinen
    2002), as its best possible gain is 1.
    """
    return np.where(_listed(ranks, k), 1 / np.log2(1 + np.maximum(ranks, 1)), 0.0)


def mrrs(ranks: Ints, k: int) -> Doubles:
    """Return (N,) 1 / rank where a target is among the first k, else 0."""
    return np.where(_listed(ranks, k), 1 / np.maximum(ranks, 1), 0.0)


def recall(listed: Sequence[object], relevant: Collection[object], k: int) -> float:
    """Return the share of a non-empty set of relevant items that stands among the first k of one list."""
    return sum(item in relevant for item in listed[:k]) / len(relevant)


def ndcg(listed: Sequence[object], relevant: Collection[object], k: int) -> float:
    """Return the gain of a list, sum of 1 / log2(1 + rank) over relevant items in the first k, over the best possible.

    Args:
        listed: distinct items, best first.
        relevant: a non-empty set; all of its items count the same.
        k: how many places count, at least 1.
    """
    gain = sum(1 / np.log2(1 + rank) for rank, item in enumerate(listed[:k], start=1) if item in relevant)
    best = sum(1 / np.log2(1 + rank) for rank in range(1, min(k, len(relevant)) + 1))
    return float(gain / best)


def basket_recalls(ranks: Ints, questions: Longs, n_questions: int, k: int) -> Doubles:
    """Return (Q,) `recall` of each question's whole set of targets.

    Args:
        ranks: (N,) from `ranks_of`; the targets of a question are distinct.
        questions: (N,) the question of each target.
        n_questions: Q; each has a target.
        k: how many places count.
    """
    sizes = np.bincount(questions, minlength=n_questions)
    return np.asarray(np.bincount(questions, recalls(ranks, k), n_questions) / sizes)


def basket_ndcgs(ranks: Ints, questions: Longs, n_questions: int, k: int) -> Doubles:
    """Return (Q,) `ndcg` of each question's whole set of targets; see `basket_recalls`."""
    best = np.concatenate((np.zeros(1), np.cumsum(1 / np.log2(1 + np.arange(1, k + 1)))))
    sizes = np.minimum(np.bincount(questions, minlength=n_questions), k)
    return np.asarray(np.bincount(questions, ndcgs(ranks, k), n_questions) / best[sizes])


def coverage(lists: Ints, k: int, n_items: int) -> float:
    """Return the share of the catalogue that stands among the first k of at least one of the lists (Q, K)."""
    shown = np.unique(lists[:, :k])
    return float(np.count_nonzero(shown)) / max(1, n_items)


def rmse(predicted: Floats, true: Floats) -> float:
    """Return the root of the mean squared error of (N,) predictions, in points of the scale."""
    return float(np.sqrt(np.mean((predicted.astype(np.float64) - true) ** 2)))


def mae(predicted: Floats, true: Floats) -> float:
    """Return the mean absolute error of (N,) predictions, in points of the scale."""
    return float(np.mean(np.abs(predicted.astype(np.float64) - true)))


def _listed(ranks: Ints, k: int) -> Bools:
    return np.asarray((ranks != NOT_LISTED) & (ranks <= k))
