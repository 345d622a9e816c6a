"""What waits for the engine, in the order of arrival."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import NamedTuple, TypeAlias, TypeVar

from headrace.core.errors import HeadraceError, OverloadedError
from headrace.serving.batch import Commit
from headrace.serving.questions import Waiting

Task: TypeAlias = Callable[[], None]
Result = TypeVar("Result")

_BEHIND = 32
"""Commits that may wait to be counted in; a commit holds what came while the one before was written."""
_PATIENCE_S = 5.0
_REMEMBERED = 0.95
"""Of the time and the number of earlier questions, what counts beside each new batch: some twenty batches in all, so
that one that was held up for a moment leads to no refusals."""


class Taken(NamedTuple):
    """What was taken out together."""

    commits: list[Commit]
    questions: list[Waiting]

    @property
    def users(self) -> list[str]:
        """Whose histories it takes: of all who did something or ask; some more than once."""
        told = [event.user_id for commit in self.commits for event in commit.events]
        return told + [user for one in self.questions if (user := one.question.user_id) is not None]


class Line:
    """Questions, commits and tasks; put in from any thread, taken out by one.

    A question is refused where too many wait, or where it is foreseen to wait too long: those that are let in then
    wait no longer than others do in quiet times.
    """

    def __init__(self, *, limit: int, wait_s: float) -> None:
        """`limit` is the number of questions that may wait, `wait_s` the longest wait that a new one may foresee."""
        self._limit = limit
        self._wait_s = wait_s
        self._line: deque[Waiting | Commit | Task] = deque()
        self._questions = self._commits = 0
        self._took_s = self._answered = 0.0
        self._wake = threading.Condition()
        self._room = threading.Condition()
        self._stopping = False

    def __len__(self) -> int:
        """Return how many wait."""
        return len(self._line)

    @property
    def stopped(self) -> bool:
        """Whether nothing more will come."""
        return self._stopping and not self._line

    def admit(self, asked: Waiting | Task) -> None:
        """Put in what a client asked; a task says by `served` when it is taken out.

        Raises:
            OverloadedError: too many wait, or it would wait too long.
        """
        with self._wake:
            if self._questions >= self._limit:
                raise OverloadedError(
                    f"at most {self._limit} questions may wait, {self._questions} do; try again later"
                )
            ahead_s = self._questions * self._took_s / max(1.0, self._answered)
            if ahead_s > self._wait_s:
                raise OverloadedError(
                    f"a question may wait {1000 * self._wait_s:g} ms at most, {self._questions} before it take "
                    f"{1000 * ahead_s:.0f} ms; try again later"
                )
            self._questions += 1
            self._line.append(asked)
            self._wake.notify()

    def served(self) -> None:
        """Note that a task which a client asked for has been taken out."""
        with self._wake:
            self._questions -= 1

    def tell(self, told: Commit | Task) -> None:
        """Put in what is never refused."""
        if isinstance(told, Commit):
            with self._room:
                self._commits += 1
        with self._wake:
            self._line.append(told)
            self._wake.notify()

    def proceed(self, work: Iterator[None]) -> Future[None]:
        """Put in a long work: what is asked meanwhile stands before its next portion. Done with the last."""
        future: Future[None] = Future()

        def portion() -> None:
            try:
                next(work)
            except StopIteration:
                future.set_result(None)
            except Exception as error:  # passed on to whoever waits
                future.set_exception(error)
            else:
                self.tell(portion)

        self.tell(portion)
        return future

    def counted(self, commits: int) -> None:
        """Note that commits have been counted in."""
        with self._room:
            self._commits -= commits
            self._room.notify()

    def catch_up(self, alive: Callable[[], bool]) -> None:
        """Wait while more than `_BEHIND` commits are not counted in, so that answers never fall far behind events."""
        with self._room:
            self._room.wait_for(lambda: self._commits <= _BEHIND or not alive(), timeout=_PATIENCE_S)

    def took(self, seconds: float, questions: int) -> None:
        """Learn how long questions took together."""
        self._took_s = _REMEMBERED * self._took_s + seconds
        self._answered = _REMEMBERED * self._answered + questions

    def take(self, most: int, timeout: float | None) -> Taken | Task | None:
        """Take what stands before the next task, or that task; None after the timeout or at the end.

        Commits come before the questions that they stand among: who asked earlier may well hear of a later event.
        """
        with self._wake:
            self._wake.wait_for(lambda: self._line or self._stopping, timeout=timeout)
            if not self._line:
                return None
            if not isinstance(self._line[0], Waiting | Commit):
                return self._line.popleft()  # type: ignore[return-value]  # just seen to be none
            taken = Taken([], [])
            while self._line and len(taken.questions) < most and isinstance(one := self._line[0], Waiting | Commit):
                self._line.popleft()
                if isinstance(one, Commit):
                    taken.commits.append(one)
                    continue
                self._questions -= 1
                if one.future.set_running_or_notify_cancel():  # else the client has gone
                    taken.questions.append(one)
            return taken

    def stop(self) -> None:
        """Let what waits be taken, and then end."""
        with self._wake:
            self._stopping = True
            self._wake.notify()


def settle(future: Future[Result], verb: Callable[[], Result]) -> None:
    """Run a verb and pass on its result, or its error, to whoever waits; nobody may wait any more."""
    if not future.set_running_or_notify_cancel():
        return
    try:
        future.set_result(verb())
    except Exception as error:  # passed on to whoever waits
        if not isinstance(error, HeadraceError):
            logging.getLogger(__name__).error("the engine could not do something", exc_info=error)
        future.set_exception(error)
