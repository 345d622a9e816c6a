"""Loops that several methods share: the best of many scores, the distinct items of histories.

Shapes: V items, Q questions, K places.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from headrace.core.compiled import compiled
from headrace.core.types import Seen
from headrace.data.log import Floats, Ints, Longs
from headrace.ranking.questions import Questions


class Histories(NamedTuple):
    """The histories of Q questions as kernels read them; event e of question q is `items[starts[q] <= e < ends[q]]`."""

    items: Ints
    users: Ints
    starts: Longs
    ends: Longs


def histories_of(questions: Questions) -> Histories:
    """Return what kernels may see of the questions: the past only."""
    return Histories(questions.log.items, questions.users, questions.starts, questions.ends)


def masks_seen(seen: Seen) -> bool:
    """Return whether lists leave out what the user has met."""
    return seen == "exclude"


@compiled
def mark_seen(stamps: Ints, mark: int, items: Ints, start: int, end: int) -> None:
    """Write `mark` into `stamps` (V + 1,) at the items of `items[start:end]`."""
    for place in range(start, end):
        stamps[items[place]] = mark


@compiled
def distinct_recent(items: Ints, start: int, end: int, stamps: Ints, mark: int, out: Ints) -> int:
    """Write the distinct items of `items[start:end]` into `out`, most recent first, until it is full; return how many.

    Args:
        items: of the log.
        start: of the history.
        end: of the history.
        stamps: (V + 1,) scratch; holds `mark` at the items found afterwards.
        mark: a number that stands nowhere in `stamps` yet.
        out: (n,) where to write.
    """
    found = 0
    place = end - 1
    while place >= start and found < len(out):
        item = items[place]
        if stamps[item] != mark:
            stamps[item] = mark
            out[found] = item
            found += 1
        place -= 1
    return found


@compiled
def offer(items: Ints, scores: Floats, size: int, item: int, score: np.float32) -> int:
    """Put an item into its place among the best so far, ties to the lower index; return how many there are now.

    Args:
        items: (K,) the best so far, best first.
        scores: (K,) theirs.
        size: how many of the K places are taken.
        item: the item that is offered.
        score: its score.
    """
    full = size == len(items)
    if full and (score < scores[size - 1] or (score == scores[size - 1] and item > items[size - 1])):
        return size
    place = size - 1 if full else size
    while place > 0 and (scores[place - 1] < score or (scores[place - 1] == score and items[place - 1] > item)):
        items[place] = items[place - 1]
        scores[place] = scores[place - 1]
        place -= 1
    items[place] = item
    scores[place] = score
    return size if full else size + 1


@compiled
def best_of_all(scores: Floats, asked: Histories, masked: bool, out: Ints) -> None:
    """Write the best items of each question into `out` (Q, K), best first, and 0 behind the last with a score above 0.

    Args:
        scores: (1, V + 1) the same for all questions, or (Q, V + 1).
        asked: the histories.
        masked: whether to leave out the items of the history.
        out: (Q, K) zeros.
    """
    stamps = np.full(scores.shape[1], -1, np.int32)
    found = np.empty(out.shape[1], np.float32)
    for question in range(len(out)):
        row = scores[question if len(scores) > 1 else 0]
        if masked:
            for place in range(asked.starts[question], asked.ends[question]):
                stamps[asked.items[place]] = question
        size = 0
        for item in range(1, len(row)):
            score = row[item]
            if score <= 0 or (size == len(found) and score <= found[size - 1]) or stamps[item] == question:
                continue
            size = offer(out[question], found, size, item, score)
