"""First-order transitions: what came in the next basket after the items of the last one.

Nothing is counted ahead: the log itself is the index. For each item the places of its events that have a next basket
are kept, and a question walks from them to that basket. Shapes: N events, U users, V items, Q questions.
"""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import numpy as np

from headrace.core.compiled import compiled
from headrace.data.log import EventLog, Ints, Longs
from headrace.ranking.baselines.kernels import Histories, histories_of, mark_seen, masks_seen, offer
from headrace.ranking.baselines.method import LIST
from headrace.ranking.questions import Questions, Task

RECENT_EVENTS = 10_000
"""Of an item met more often than this, only its latest events are looked at."""


class Walk(NamedTuple):
    """The log as a chain of baskets, and how much of it is visible.

    Args:
        items: (N,)
        users: (N,)
        first: (N,) place where the basket of each event starts.
        behind: (N,) place behind its last event.
        begins: (U + 2,) place of each user's first event.
        visible: (U + 1,) place behind each user's last visible event.
        starts: (V + 2,) where the followed events of each item start in `followed`.
        sizes: (V + 1,) how many there are yet.
        followed: (N,) places of events whose next basket is visible, item by item, in the order in which it came.
    """

    items: Ints
    users: Ints
    first: Longs
    behind: Longs
    begins: Longs
    visible: Longs
    starts: Longs
    sizes: Longs
    followed: Longs


class Markov:
    """score(a) = sum over the items b of the last basket of c(b, a) / n(b), c counting a in the basket after b."""

    name: ClassVar[str] = "markov"
    learns: ClassVar[bool] = True
    reads_time: ClassVar[bool] = False

    def __init__(self, task: Task) -> None:
        self._walk = _start(task.log)
        self._masked = masks_seen(task.seen)
        self.observe(task.first_rows)

    def observe(self, rows: Longs) -> None:
        """Make events visible."""
        _observe(rows, self._walk)

    def answer(self, questions: Questions, *, hide_time: bool) -> Ints:
        """See `Method.answer`."""
        out = np.zeros((len(questions), LIST), np.int32)
        _answer(histories_of(questions), self._walk, self._masked, out)
        return out


def _start(log: EventLog) -> Walk:
    fresh = (np.diff(log.users, prepend=-1) != 0) | (np.diff(log.times, prepend=log.times[:1] - 1) != 0)
    firsts = np.flatnonzero(fresh)
    basket = np.cumsum(fresh) - 1
    offsets = log.offsets()
    return Walk(
        log.items,
        log.users,
        firsts[basket],
        np.append(firsts[1:], len(log))[basket],
        offsets,
        offsets[:-1].copy(),
        np.concatenate((np.zeros(1, np.int64), np.cumsum(np.bincount(log.items, minlength=log.n_items + 1)))),
        np.zeros(log.n_items + 1, np.int64),
        np.empty(len(log), np.int64),
    )


@compiled
def _observe(rows: Longs, walk: Walk) -> None:
    for row in rows:
        user = walk.users[row]
        walk.visible[user] = row + 1
        if row == walk.first[row] and row > walk.begins[user]:
            for place in range(walk.first[row - 1], row):
                item = walk.items[place]
                walk.followed[walk.starts[item] + walk.sizes[item]] = place
                walk.sizes[item] += 1


@compiled
def _answer(asked: Histories, walk: Walk, masked: bool, out: Ints) -> None:
    n_items = len(walk.sizes)
    sums, met = np.zeros(n_items, np.float32), np.empty(n_items, np.int32)
    stamps = np.full(n_items, -1, np.int32)
    found = np.empty(out.shape[1], np.float32)
    for question in range(len(out)):
        end = asked.ends[question]
        if end == asked.starts[question]:
            continue
        mark_seen(stamps, question, asked.items, asked.starts[question], end)
        n_met = 0
        for last in range(walk.first[end - 1], end):
            start = walk.starts[walk.items[last]]
            until = start + walk.sizes[walk.items[last]]
            start = max(start, until - RECENT_EVENTS)
            for event in walk.followed[start:until]:
                begin = walk.behind[event]
                for place in range(begin, min(walk.behind[begin], walk.visible[walk.users[event]])):
                    item = walk.items[place]
                    if masked and stamps[item] == question:
                        continue
                    if sums[item] == 0:
                        met[n_met] = item
                        n_met += 1
                    sums[item] += np.float32(1 / (until - start))
        size = 0
        for item in met[:n_met]:
            size = offer(out[question], found, size, item, sums[item])
            sums[item] = 0
