"""User-based collaborative filtering: what the users with the most similar histories have met.

Where lists may hold what the user has met, the user is their own nearest neighbour, so that a habit can rank first.

Shapes: U users, V items, Q questions.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from headrace.core.compiled import compiled
from headrace.data.log import Ints, Longs
from headrace.ranking.baselines.kernels import Histories, distinct_recent, histories_of, masks_seen, offer
from headrace.ranking.baselines.links import Links, Lists
from headrace.ranking.baselines.method import LIST
from headrace.ranking.questions import Questions, Task

NEIGHBOURS = 100
SHRINK = 10.0
"""Two users with few items in common resemble each other less than the cosine says."""
RECENT_USERS = 10_000
"""Of an item with more users than this, only its latest are compared."""


class UserKnn:
    """An item scores the sum of the similarities of those of the 100 nearest users who met it.

    sim(u, v) = |items of both| / (sqrt(|items of u| |items of v|) + 10).
    """

    name: ClassVar[str] = "user-knn"
    learns: ClassVar[bool] = True
    reads_time: ClassVar[bool] = False

    def __init__(self, task: Task) -> None:
        self._links = Links(task)
        self._masked = masks_seen(task.seen)

    def observe(self, rows: Longs) -> None:
        """Make the pairs of events visible."""
        self._links.observe(rows)

    def answer(self, questions: Questions, *, hide_time: bool) -> Ints:
        """See `Method.answer`."""
        out = np.zeros((len(questions), LIST), np.int32)
        _answer(histories_of(questions), self._links.of_users, self._links.of_items, self._masked, out)
        return out


@compiled
def _answer(asked: Histories, of_users: Lists, of_items: Lists, masked: bool, out: Ints) -> None:
    n_users, n_items = len(of_users.sizes), len(of_items.sizes)
    common, met_users = np.zeros(n_users, np.int32), np.empty(n_users, np.int32)
    sums, met_items = np.zeros(n_items, np.float32), np.empty(n_items, np.int32)
    stamps, own = np.full(n_items, -1, np.int32), np.empty(n_items, np.int32)
    neighbours, near = np.empty(NEIGHBOURS, np.int32), np.empty(NEIGHBOURS, np.float32)
    found = np.empty(out.shape[1], np.float32)
    for question in range(len(out)):
        n_own = distinct_recent(asked.items, asked.starts[question], asked.ends[question], stamps, question, own)
        n_met = 0
        for item in own[:n_own]:
            start = of_items.starts[item]
            end = start + of_items.sizes[item]
            for place in range(max(start, end - RECENT_USERS), end):
                user = of_items.values[place]
                if common[user] == 0:
                    met_users[n_met] = user
                    n_met += 1
                common[user] += 1
        n_near = 0
        for user in met_users[:n_met]:
            if user != asked.users[question]:
                similarity = common[user] / (np.sqrt(n_own * of_users.sizes[user]) + SHRINK)
                n_near = offer(neighbours, near, n_near, user, np.float32(similarity))
            common[user] = 0
        n_met = 0
        if not masked:
            for item in own[:n_own]:
                met_items[n_met] = item
                n_met += 1
                sums[item] = 1
        for place in range(n_near):
            start = of_users.starts[neighbours[place]]
            for item in of_users.values[start : start + of_users.sizes[neighbours[place]]]:
                if masked and stamps[item] == question:
                    continue
                if sums[item] == 0:
                    met_items[n_met] = item
                    n_met += 1
                sums[item] += near[place]
        size = 0
        for item in met_items[:n_met]:
            size = offer(out[question], found, size, item, sums[item])
            sums[item] = 0
