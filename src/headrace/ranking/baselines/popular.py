"""What is popular: over everything learned from, and over the last seven days of it."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from headrace.data.log import Floats, Ints, Longs
from headrace.ranking.baselines.kernels import best_of_all, histories_of, masks_seen
from headrace.ranking.baselines.method import LIST
from headrace.ranking.questions import Questions, Task

WEEK_US = 7 * 24 * 3_600_000_000


class Popular:
    """Most events over all time. Lists are twice as long as others, so that they can fill those up."""

    name: ClassVar[str] = "popular"
    learns: ClassVar[bool] = True
    reads_time: ClassVar[bool] = False

    def __init__(self, task: Task) -> None:
        self._items = task.log.items
        self._masked = masks_seen(task.seen)
        self._counts: Floats = np.zeros(task.log.n_items + 1, np.float32)
        self.observe(task.first_rows)

    def observe(self, rows: Longs) -> None:
        """Count events."""
        # Exact in float32 up to 16.7 million events of one item; beyond, the last few do not move a rank.
        np.add.at(self._counts, self._items[rows], 1)

    def answer(self, questions: Questions, *, hide_time: bool) -> Ints:
        """See `Method.answer`."""
        out = np.zeros((len(questions), 2 * LIST), np.int32)
        best_of_all(self._counts[None], histories_of(questions), self._masked, out)
        return out


class PopularWeek:
    """Most events in the seven days before now.

    Now is the time of the question, or where that is hidden or later than all that was learned, the newest event
    learned from: frozen counts answer from the last week before the cut, however long ago that is.
    """

    name: ClassVar[str] = "popular-7d"
    learns: ClassVar[bool] = True
    reads_time: ClassVar[bool] = True

    def __init__(self, task: Task) -> None:
        self._log_items, self._log_times = task.log.items, task.log.times
        self._masked = masks_seen(task.seen)
        self._rows = np.empty(len(task.log), np.int64)
        self._times = np.empty(len(task.log), np.int64)
        self._size = 0
        self._window = (0, 0)
        self._counts: Floats = np.zeros(task.log.n_items + 1, np.float32)
        self.observe(task.first_rows)

    def observe(self, rows: Longs) -> None:
        """Append events, which are not earlier than those before."""
        end = self._size + len(rows)
        self._rows[self._size : end] = rows
        self._times[self._size : end] = self._log_times[rows]
        self._size = end

    def answer(self, questions: Questions, *, hide_time: bool) -> Ints:
        """See `Method.answer`."""
        out = np.zeros((len(questions), LIST), np.int32)
        newest = int(self._times[self._size - 1]) + 1
        for first, last in [(0, len(questions))] if hide_time else questions.moments():
            now = newest if hide_time else min(newest, int(questions.times[first]))
            self._move(now)
            part = questions.part(first, last)
            best_of_all(self._counts[None], histories_of(part), self._masked, out[first:last])
        return out

    def _move(self, now: int) -> None:
        """Let the counts be those of the week that ends before `now`."""
        known = self._times[: self._size]
        window = (int(np.searchsorted(known, now - WEEK_US)), int(np.searchsorted(known, now)))
        for old, new, sign in ((self._window[0], window[0], -1), (self._window[1], window[1], 1)):
            moved = self._log_items[self._rows[min(old, new) : max(old, new)]]
            np.add.at(self._counts, moved, sign if new > old else -sign)
        self._window = window
