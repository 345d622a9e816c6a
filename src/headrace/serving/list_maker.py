"""What the second thread of the engine does: it counts, and makes lists."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext

from headrace.core.errors import HeadraceError
from headrace.serving.answer_records import AnswerRecord
from headrace.serving.answering import Answering
from headrace.serving.batch import Commit
from headrace.serving.moments import answer_id
from headrace.serving.questions import Given, Waiting
from headrace.serving.sides import Prepared
from headrace.serving.states import Grown
from headrace.serving.telemetry import Telemetry


class ListMaker:
    """Used by one thread at a time."""

    def __init__(self, answering: Answering, telemetry: Telemetry, counted: Callable[[int], None]) -> None:
        """`counted` hears how many commits were counted."""
        self._answering = answering
        self._telemetry = telemetry
        self._counted = counted
        self.record: Callable[[AnswerRecord], None] = lambda _: None
        """Hears of each answer, before whoever asked does."""
        self.together: Callable[[], AbstractContextManager[None]] = nullcontext
        """Inside it the answers of a batch are given."""
        self.complete = True
        """Whether all that was handed over is in the counts."""

    def count(self, commits: Sequence[Commit], grown: Sequence[Grown]) -> None:
        """Count what commits brought, which has become the histories of users."""
        try:
            self._answering.count(grown)
            self._telemetry.count_commits(commits)
        except Exception:  # whatever it was, the counts lack a part of these commits
            self.complete = False
            self._telemetry.errors.labels("engine").inc()
            logging.getLogger(__name__).exception("the engine could not count something in")
        finally:
            self._counted(len(commits))

    def make(self, batch: Prepared) -> None:
        """Turn requests into lists, and give them to who asked."""
        try:
            self._make(batch)
        except Exception as error:  # passed on to whoever is to blame
            if len(batch.waiting) == 1:
                fail(batch.waiting[0], error)
                return
            for place in range(len(batch.waiting)):  # one of them is to blame: the others get their answer
                self.make(batch.part(place))

    def _make(self, batch: Prepared) -> None:
        answers = self._answering.answer(batch.requests, batch.side)
        given = [
            Given(answer_id(batch.now), batch.model, batch.seen, batch.as_of, self._answering.listed(answer))
            for answer in answers
        ]
        for one, answer, key in zip(given, answers, batch.keys, strict=True):
            # Recorded first: the client may send an event that names this answer at once.
            items = answer.items.tolist()
            self.record(AnswerRecord(one.recommendation_id, key, batch.seen, batch.model, items, batch.now))
        self._telemetry.count_answers(batch.model, [waiting.since for waiting in batch.waiting])
        with self.together():
            for waiting, one in zip(batch.waiting, given, strict=True):
                waiting.future.set_result(one)


def fail(waiting: Waiting, error: Exception) -> None:
    """Tell who asked that there will be no answer."""
    if not isinstance(error, HeadraceError):
        logging.getLogger(__name__).error("a question failed", exc_info=error)
    waiting.future.set_exception(error)
