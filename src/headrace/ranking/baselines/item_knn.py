"""Item-based collaborative filtering: the items that the same users met as those of the history.

Where lists may hold what the user has met, an item is its own nearest neighbour, so that a habit can rank first.

Shapes: U users, V items, Q questions, R rows of neighbours kept.
"""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import numpy as np

from headrace.core.compiled import compiled
from headrace.data.log import Floats, Ints, Longs
from headrace.ranking.baselines.kernels import Histories, distinct_recent, histories_of, mark_seen, masks_seen, offer
from headrace.ranking.baselines.links import Links, Lists
from headrace.ranking.baselines.method import LIST
from headrace.ranking.questions import Questions, Task

NEIGHBOURS = 200
SHRINK = 10.0
RECENT_ITEMS = 50
"""Distinct items of a history that are looked at, the latest."""
RECENT_USERS = 5000
"""Of an item with more users than this, only its latest are looked at."""
STALE_SHARE = 0.01
"""The neighbours of an item are computed anew once the pairs that they follow from have grown by more than this."""


class Neighbours(NamedTuple):
    """The nearest items of those items that were asked about.

    Args:
        row_of: (V + 1,) the row of an item, -1 where none was computed.
        items: (R, NEIGHBOURS) nearest first, 0 behind the last.
        scores: (R, NEIGHBOURS) their similarities.
        pairs: (V + 1,) how many pairs the row of an item follows from: the items of all of its users.
        pairs_then: (V + 1,) the same when the row was computed.
    """

    row_of: Ints
    items: Ints
    scores: Floats
    pairs: Longs
    pairs_then: Longs


class ItemKnn:
    """An item scores the sum of its similarity to the last 50 items of a history.

    sim(a, b) = |users of both| / (sqrt(|users of a| |users of b|) + 10), for the 200 items nearest to each.
    """

    name: ClassVar[str] = "item-knn"
    learns: ClassVar[bool] = True
    reads_time: ClassVar[bool] = False

    def __init__(self, task: Task) -> None:
        n_items = task.log.n_items
        self._log = task.log
        self._links = Links(task)
        self._masked = masks_seen(task.seen)
        self._near = Neighbours(
            np.full(n_items + 1, -1, np.int32),
            np.zeros((0, NEIGHBOURS), np.int32),
            np.zeros((0, NEIGHBOURS), np.float32),
            np.zeros(n_items + 1, np.int64),
            np.zeros(n_items + 1, np.int64),
        )
        _count_pairs(self._near.pairs, self._links.of_users, self._links.of_items)

    def observe(self, rows: Longs) -> None:
        """Make the pairs of events visible."""
        fresh = self._links.observe(rows)
        _add_pairs(self._near.pairs, self._links.of_users, self._log.users[fresh], self._log.items[fresh])

    def answer(self, questions: Questions, *, hide_time: bool) -> Ints:
        """See `Method.answer`."""
        asked = histories_of(questions)
        self._refresh(_stale(asked, self._near))
        out = np.zeros((len(questions), LIST), np.int32)
        _answer(asked, self._near, self._masked, out)
        return out

    def _refresh(self, items: Ints) -> None:
        near = self._near
        new = items[near.row_of[items] < 0]
        used = int(near.row_of.max()) + 1
        if used + len(new) > len(near.items):
            room = max(used + len(new), 2 * len(near.items), 64)
            grown_items = np.zeros((room, NEIGHBOURS), np.int32)
            grown_scores = np.zeros((room, NEIGHBOURS), np.float32)
            grown_items[:used], grown_scores[:used] = near.items[:used], near.scores[:used]
            near = self._near = near._replace(items=grown_items, scores=grown_scores)
        near.row_of[new] = np.arange(used, used + len(new))
        _compute(items, near, self._links.of_users, self._links.of_items, not self._masked)


@compiled
def _count_pairs(pairs: Longs, of_users: Lists, of_items: Lists) -> None:
    for item in range(len(pairs)):
        start = of_items.starts[item]
        for user in of_items.values[start : start + of_items.sizes[item]]:
            pairs[item] += of_users.sizes[user]


@compiled
def _add_pairs(pairs: Longs, of_users: Lists, users: Ints, items: Ints) -> None:
    """Count what new pairs, visible already, add to the rows of the items of their users."""
    for event in range(len(users)):
        start = of_users.starts[users[event]]
        size = of_users.sizes[users[event]]
        for item in of_users.values[start : start + size]:
            pairs[item] += 1
        pairs[items[event]] += size - 1


@compiled
def _stale(asked: Histories, near: Neighbours) -> Ints:
    """Return the items of the histories whose neighbours must be computed, each once."""
    stamps, recent = np.full(len(near.row_of), -1, np.int32), np.empty(RECENT_ITEMS, np.int32)
    wanted = np.zeros(len(near.row_of), np.bool_)
    for question in range(len(asked.starts)):
        size = distinct_recent(asked.items, asked.starts[question], asked.ends[question], stamps, question, recent)
        for item in recent[:size]:
            if near.row_of[item] < 0 or near.pairs[item] > near.pairs_then[item] * (1 + STALE_SHARE):
                wanted[item] = True
    return np.flatnonzero(wanted).astype(np.int32)


@compiled
def _compute(items: Ints, near: Neighbours, of_users: Lists, of_items: Lists, itself: bool) -> None:
    """Compute the rows of `items` from what is visible now; `itself` puts an item into its own row."""
    common, met = np.zeros(len(near.row_of), np.int32), np.empty(len(near.row_of), np.int32)
    for item in items:
        n_met = 0
        end = of_items.starts[item] + of_items.sizes[item]
        for user in of_items.values[max(of_items.starts[item], end - RECENT_USERS) : end]:
            start = of_users.starts[user]
            for other in of_users.values[start : start + of_users.sizes[user]]:
                if common[other] == 0:
                    met[n_met] = other
                    n_met += 1
                common[other] += 1
        row = near.row_of[item]
        size = 0
        for other in met[:n_met]:
            if other != item or itself:
                both = np.sqrt(np.float64(of_items.sizes[item]) * of_items.sizes[other])
                similarity = np.float32(common[other] / (both + SHRINK))
                size = offer(near.items[row], near.scores[row], size, other, similarity)
            common[other] = 0
        near.items[row, size:] = 0
        near.pairs_then[item] = near.pairs[item]


@compiled
def _answer(asked: Histories, near: Neighbours, masked: bool, out: Ints) -> None:
    n_items = len(near.row_of)
    sums, met = np.zeros(n_items, np.float32), np.empty(n_items, np.int32)
    stamps, recent = np.full(n_items, -1, np.int32), np.empty(RECENT_ITEMS, np.int32)
    found = np.empty(out.shape[1], np.float32)
    for question in range(len(out)):
        n_recent = distinct_recent(asked.items, asked.starts[question], asked.ends[question], stamps, question, recent)
        mark_seen(stamps, question, asked.items, asked.starts[question], asked.ends[question])
        n_met = 0
        for item in recent[:n_recent]:
            row = near.row_of[item]
            for place in range(near.items.shape[1]):
                other = near.items[row, place]
                if other == 0:
                    break
                if masked and stamps[other] == question:
                    continue
                if sums[other] == 0:
                    met[n_met] = other
                    n_met += 1
                sums[other] += near.scores[row, place]
        size = 0
        for item in met[:n_met]:
            size = offer(out[question], found, size, item, sums[item])
            sums[item] = 0
