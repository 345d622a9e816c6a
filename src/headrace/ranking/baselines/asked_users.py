"""The encoder's scores of all questions of an evaluation, computed in batches ahead of the questions.

A network learns nothing from test events, so what it says to a question is the same frozen and live; one question at a
time, as a live table asks, it would take most of the time. Shapes: Q questions, D width, V items, B histories.
"""

from __future__ import annotations

import numpy as np

from headrace.data.log import Floats
from headrace.ranking.questions import Questions
from headrace.ranking.sources import CHUNK_FLOATS, Encoder

_QUESTIONS_AT_ONCE = 1024


class AskedUsers:
    """What the encoder says to questions that come in time order, with the time of the request and without."""

    def __init__(self, questions: Questions, encoder: Encoder) -> None:
        """Compute nothing yet.

        Args:
            questions: all that will be asked.
            encoder: of the stage that is tested, its vectors those of the log's items.
        """
        self.encoder = encoder
        self._questions = questions
        self._order = np.argsort(questions.ends)
        self._users: dict[bool, Floats] = {}
        self._blocks: dict[bool, tuple[int, Floats]] = {}

    def scores(self, questions: Questions, *, hide_time: bool) -> Floats:
        """Return (Q, V + 1) the scores of every item for a run of the questions; minus infinity in column 0."""
        # The place of the first target is a question's own.
        found = np.searchsorted(self._questions.ends, questions.ends[0], sorter=self._order)
        first = int(self._order[found])
        last = first + len(questions)
        start, block = self._blocks.get(hide_time, (0, None))
        if block is None or first < start or last > start + len(block):
            start, block = first, self._score(first, len(questions), hide_time)
            self._blocks[hide_time] = start, block
        return block[first - start : last - start]

    def _score(self, first: int, n: int, hide_time: bool) -> Floats:
        """Return the scores of at least `n` questions from the place `first` on."""
        if hide_time not in self._users:
            self._users[hide_time] = self._encode(hide_time)
        users = self._users[hide_time][first : first + max(n, CHUNK_FLOATS // len(self.encoder.vectors))]
        scores = self.encoder.vectors.outputs.scores(users)
        scores[:, 0] = -np.inf
        return scores

    def _encode(self, hide_time: bool) -> Floats:
        asked, encoder = self._questions, self.encoder
        users = np.empty((len(asked), encoder.vectors.outputs.width), np.float32)
        for first in range(0, len(asked), _QUESTIONS_AT_ONCE):
            part = asked.part(first, first + _QUESTIONS_AT_ONCE)
            histories = [part.history(place) for place in range(len(part))]
            times = [None if hide_time else time for time in part.times.tolist()]
            users[first : first + len(part)] = encoder.network.users(histories, times, encoder.vectors)
        return users
