"""What the service answers, put to the test: the same `recommend()`, the same counts, updated by the same calls."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise, repeat
from typing import ClassVar

import numpy as np

from headrace.core.formats import Blend
from headrace.core.settings import RankingSettings
from headrace.data.log import Floats, Ints, Longs
from headrace.ranking.baselines.asked_users import AskedUsers
from headrace.ranking.baselines.method import LIST
from headrace.ranking.behaviour import Behaviour, window_for
from headrace.ranking.catalogue import Catalogue
from headrace.ranking.largest import top
from headrace.ranking.questions import Questions, Task, slice_of
from headrace.ranking.recommender import Request, recommend
from headrace.ranking.rules import NotSeen, Rules
from headrace.ranking.scorer import Scorer, default_scorer
from headrace.ranking.sources import CHUNK_FLOATS, Sources, chunk_size

RULES = Rules((NotSeen(),))
"""The rules of an evaluation: every item of the dataset may be listed, whatever its title, and whether or not it is
available today, since no other method knows of that either."""


class Counts:
    """`recommend()` without a model, as a shop is served before its first training."""

    name: ClassVar[str] = "counts"
    learns: ClassVar[bool] = True
    reads_time: ClassVar[bool] = True

    def __init__(self, task: Task, settings: RankingSettings) -> None:
        """Count what may be learned.

        Args:
            task: what may be learned.
            settings: the knobs of the counts.
        """
        self._service = _Service(
            task, Sources(_catalogue(task), Behaviour(window_for(len(task.log), settings)), settings)
        )
        self._scorer = default_scorer(task.seen)

    def observe(self, rows: Longs) -> None:
        """Count events."""
        self._service.observe(rows)

    def answer(self, questions: Questions, *, hide_time: bool) -> Ints:
        """See `Method.answer`."""
        return self._service.answer(questions, self._scorer, hide_time=hide_time)


class Headrace:
    """`recommend()` with a trained model: the default score, the blend."""

    name: ClassVar[str] = "headrace"
    learns: ClassVar[bool] = True
    reads_time: ClassVar[bool] = True

    def __init__(self, task: Task, settings: RankingSettings, asked: AskedUsers, *, blend: Blend) -> None:
        """Count what may be learned; the encoder stays as it is.

        Args:
            task: what may be learned.
            settings: the knobs of the counts.
            asked: the questions as the stage reads them that has learned from just that.
            blend: the weights that were fitted between the cuts.
        """
        behaviour = Behaviour(window_for(len(task.log), settings))
        sources = Sources(_catalogue(task), behaviour, settings, asked.encoder)
        self._service = _Service(task, sources, asked)
        self._scorer = Scorer(blend)

    def observe(self, rows: Longs) -> None:
        """Count events."""
        self._service.observe(rows)

    def answer(self, questions: Questions, *, hide_time: bool) -> Ints:
        """See `Method.answer`."""
        return self._service.answer(questions, self._scorer, hide_time=hide_time)


class EncoderAlone:
    """The score of the Transformer over the whole catalogue, nothing else."""

    name: ClassVar[str] = "encoder"
    learns: ClassVar[bool] = False
    reads_time: ClassVar[bool] = True

    def __init__(self, task: Task, asked: AskedUsers) -> None:
        self._asked = asked
        self._n_items = task.log.n_items
        self._masked = task.seen == "exclude"

    def observe(self, rows: Longs) -> None:
        """Learn nothing: what the user did since is in their history."""

    def answer(self, questions: Questions, *, hide_time: bool) -> Ints:
        """See `Method.answer`."""
        out = np.zeros((len(questions), LIST), np.int32)
        step = max(1, CHUNK_FLOATS // (self._n_items + 1))
        for first in range(0, len(questions), step):
            part = questions.part(first, first + step)
            scores = self._asked.scores(part, hide_time=hide_time).copy()
            for place in range(len(part)):
                if self._masked:
                    scores[place, part.history(place).items] = -np.inf
                best = top(scores[place], LIST)
                out[first + place, : len(best)] = best[np.argsort(-scores[place, best], kind="stable")]
        return out


class _Service:
    """Counts that follow the events, and the question put as the service puts it."""

    def __init__(self, task: Task, sources: Sources, asked: AskedUsers | None = None) -> None:
        self._asked = asked
        self._log = task.log
        self._offsets = task.log.offsets()
        self._seen = task.seen
        self._sources = sources
        sources.behaviour.add_log(task.log.where(np.arange(len(task.log)) < task.learned[task.log.users]))

    def observe(self, rows: Longs) -> None:
        window = 2 * self._sources.behaviour.transitions.window
        bounds = np.flatnonzero(np.diff(self._log.users[rows], prepend=-1, append=-1)).tolist()
        for first, last in pairwise(bounds):
            start, end = int(rows[first]), int(rows[last - 1]) + 1
            context = max(int(self._offsets[self._log.users[start]]), start - window)
            before, after = slice_of(self._log, context, start), slice_of(self._log, context, end)
            self._sources.behaviour.change(before, after, first=start - context)

    def answer(self, questions: Questions, scorer: Scorer, *, hide_time: bool) -> Ints:
        out = np.zeros((len(questions), LIST), np.int32)
        step = chunk_size(self._sources)
        for first in range(0, len(questions), step):
            part = questions.part(first, first + step)
            encoded: Iterable[Floats | None] = (
                repeat(None) if self._asked is None else self._asked.scores(part, hide_time=hide_time)
            )
            requests = [
                Request(part.history(place), LIST, None if hide_time else time, seen=self._seen, encoded=scores)
                for place, (time, scores) in enumerate(zip(part.times.tolist(), encoded, strict=False))
            ]
            answers = recommend(requests, sources=self._sources, rules=RULES, scorer=scorer)
            for row, answer in enumerate(answers, start=first):
                out[row, : len(answer.items)] = answer.items
        return out


def _catalogue(task: Task) -> Catalogue:
    return Catalogue.of_ids(str(item) for item in range(1, task.log.n_items + 1))
