"""The engine: one thread that owns counts, histories, catalogue and model, and answers questions in batches.

All that it is told or asked stands in one queue in the order of arrival. The writer tells it of a commit before the
client hears of it, so a question that a client asks after its event was acknowledged always stands behind that event.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import partial
from itertools import groupby
from typing import TypeVar
from uuid import uuid4

import numpy as np
import polars as pl

from headrace.core.errors import HeadraceError, LateError, OverloadedError
from headrace.core.settings import Settings
from headrace.data.log import EMPTY_HISTORY, Floats
from headrace.ranking.catalogue import Catalogue
from headrace.ranking.requests import Answer
from headrace.serving import snapshots
from headrace.serving.answering import Answering, warm_up
from headrace.serving.batch import AnswerRecord, Commit
from headrace.serving.models import LoadedModel
from headrace.serving.moments import iso_time
from headrace.serving.questions import NO_MODEL, Given, Question, Waiting
from headrace.serving.states import Histories, ItemHashes, UserState
from headrace.serving.store import Store, StoredItem
from headrace.serving.telemetry import Telemetry
from headrace.serving.writer import erasures

AT_LEAST_S = 2.0
"""How long a question with `at_least` waits for that event."""

_BEHIND = 32
"""Commits that may wait to be counted in; a commit holds what came while the one before was written."""
_PATIENCE_S = 5.0

Result = TypeVar("Result")
Task = Callable[[], None]


class Engine:
    """Hears of commits from the writer and of questions from any thread; see `Listener` for the writer's side."""

    def __init__(
        self, store: Store, listed: pl.DataFrame, *, settings: Settings, telemetry: Telemetry, clock: Callable[[], int]
    ) -> None:
        """Read the store and get ready; `start` begins to answer.

        Args:
            store: open.
            listed: its items, see `Store.listing`.
            settings: all of them.
            telemetry: where to count.
            clock: microseconds UTC.
        """
        self._store = store
        self._settings = settings
        self._telemetry = telemetry
        self._clock = clock
        catalogue = Catalogue.of_items(listed)
        self._hashes = ItemHashes(catalogue.ids)
        self._histories = Histories(store, self._hashes, settings.serving.user_cache_bytes)
        self._counted = snapshots.restore(store, self._hashes, settings.ranking)
        self.answering = Answering(self._counted.behaviour, catalogue, store.types, settings.ranking)
        self.answering.habit = self._counted.repeats.habit
        self.applied = store.last_sequence()
        self._erased = erasures(store)
        self.record: Callable[[AnswerRecord], None] = lambda _: None
        self._queue: deque[Waiting | Task] = deque()
        self._asked = self._told = 0
        self._early: list[Waiting] = []
        self._wake = threading.Condition()
        self._room = threading.Condition()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="headrace-engine", daemon=True)
        self._held: UserState | None = None
        self._complete = True
        self._snapshots = snapshots.Snapshots(store, telemetry, saved=self._counted.saved)
        telemetry.watch_queue("engine", lambda: len(self._queue))
        telemetry.events_seen.set_function(lambda: self.applied)
        telemetry.user_bytes.set_function(lambda: self._histories.bytes)
        telemetry.state_bytes.set_function(lambda: self.answering.state_bytes)
        telemetry.rebuilt.set_function(lambda: self.answering.rebuilt)

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def stop(self) -> None:
        """Answer all that waits and end."""
        with self._wake:
            self._stopping = True
            self._wake.notify()
        self._thread.join()

    @property
    def alive(self) -> bool:
        """Whether it answers."""
        return self._thread.is_alive()

    def ask(self, question: Question) -> Future[Given]:
        """Put a question; a future that was cancelled is not computed.

        Raises:
            OverloadedError: too many wait.
            LateError (from the future): `at_least` did not come in time.
        """
        waiting = Waiting(question)
        self._admit(waiting)
        return waiting.future

    def read(self, verb: Callable[[], Result]) -> Future[Result]:
        """Read something for a client between questions, in the engine's thread; all it reads belongs together.

        Raises:
            OverloadedError: too many wait.
        """
        future: Future[Result] = Future()

        def task() -> None:
            with self._wake:
                self._asked -= 1
            _settle(future, verb)

        self._admit(task)
        return future

    def run(self, verb: Callable[[], Result]) -> Future[Result]:
        """Do something of the service's own between questions; see `read`, but it is never refused."""
        future: Future[Result] = Future()
        self._tell(lambda: _settle(future, verb))
        return future

    def committed(self, commit: Commit) -> None:
        """Take in what a transaction changed."""
        with self._room:
            self._told += 1
        self._tell(lambda: self._take_in(commit))

    def catch_up(self) -> None:
        """Wait while more than `_BEHIND` commits stand in the queue, so that answers never fall far behind events."""
        with self._room:
            self._room.wait_for(lambda: self._told <= _BEHIND or not self.alive, timeout=_PATIENCE_S)

    def hold(self, user_id: str) -> Future[None]:
        """Take in all that was told, then keep a user's history, which `forgotten` must take out of the counts."""
        return self.run(lambda: self._hold(user_id))

    def forgotten(self, user_id: str) -> Future[None]:
        """Forget a user whose rows are gone; done once no state, count or snapshot knows of them."""
        return self.run(lambda: self._forget(user_id))

    def take(self, model: LoadedModel) -> Future[None]:
        """Exchange the model between two questions."""
        return self.run(partial(self.answering.take, model, model.arena(self._settings.serving)))

    def rate(self, user_id: str, item_ids: Sequence[str]) -> tuple[Floats, Floats, Floats]:
        """Rate items for a user, inside `run`; see `Answering.rate`."""
        return self.answering.rate(self._histories.get(user_id, self.applied), item_ids)

    def warm(self) -> Future[None]:
        """Compile what events and questions need, so that no client waits for it."""
        return self.run(lambda: warm_up(self._settings))

    @property
    def as_of(self) -> str | None:
        """The ISO time of the newest event counted in."""
        return None if self._counted.newest is None else iso_time(self._counted.newest)

    @property
    def events(self) -> int:
        """Events counted in."""
        return self._counted.repeats.events

    @property
    def waiting(self) -> int:
        """What stands in the queue."""
        return len(self._queue)

    @property
    def unsaved(self) -> bool:
        """Whether there is no snapshot: none yet, or a user was forgotten and it went with them."""
        return self._snapshots.saved < 0

    @property
    def user_bytes(self) -> int:
        """Memory of recent users' histories."""
        return self._histories.bytes

    def place(self, model: LoadedModel, stored: Sequence[StoredItem]) -> Future[None]:
        """Give distinct items the vectors of their content; nothing happens if the model has been exchanged since."""
        keys = np.array([one.key for one in stored], np.int32)
        placed = model.place([one.item for one in stored])
        return self.run(lambda: self.answering.place(model, keys, placed))

    def save(self) -> Future[None]:
        """Write a snapshot in the background; the future is done when writing has begun."""
        return self.run(self._save)

    def finish_saving(self) -> None:
        """Wait for the snapshot that is being written."""
        self._snapshots.finish()

    def _admit(self, asked: Waiting | Task) -> None:
        with self._wake:
            if self._asked >= self._settings.serving.queue:
                raise OverloadedError(
                    f"at most {self._settings.serving.queue} questions may wait, {self._asked} do; try again later"
                )
            self._asked += 1
            self._queue.append(asked)
            self._wake.notify()

    def _tell(self, task: Task) -> None:
        with self._wake:
            self._queue.append(task)
            self._wake.notify()

    def _run(self) -> None:
        while True:
            with self._wake:
                self._wake.wait_for(lambda: self._queue or self._stopping, timeout=0.05 if self._early else None)
                taken = self._take()
                done = self._stopping and taken is None
            if done:
                self._refuse_early(float("inf"))
                return
            if callable(taken):
                self._guard(taken)
            elif taken:
                self._answer(taken)
            if self._early:
                self._refuse_early(time.perf_counter())

    def _take(self) -> list[Waiting] | Task | None:
        """Take one thing told, or the questions that stand together."""
        if not self._queue:
            return None
        if callable(self._queue[0]):
            return self._queue.popleft()  # type: ignore[return-value]  # just seen to be a task
        questions: list[Waiting] = []
        while self._queue and len(questions) < self._settings.serving.batch:
            first = self._queue[0]
            if callable(first):
                break
            self._queue.popleft()
            self._asked -= 1
            if first.future.set_running_or_notify_cancel():
                questions.append(first)
        return questions

    def _guard(self, task: Task) -> None:
        try:
            task()
        except Exception:
            self._telemetry.errors.labels("engine").inc()
            logging.getLogger(__name__).exception("the engine could not take something in")

    def _take_in(self, commit: Commit) -> None:
        try:
            self._apply(commit)
        except Exception:  # whatever it was, the counts lack a part of this commit; `_guard` reports it
            self._distrust()
            raise
        finally:
            with self._room:
                self._told -= 1
                self._room.notify()

    def _distrust(self) -> None:
        self._complete = False
        self.answering.distrust()

    def _apply(self, commit: Commit) -> None:
        for key, item_id in commit.mentioned:
            self._hashes.append(item_id)
            self.answering.mention(key, item_id)
        for stored in commit.items:
            self.answering.put_item(stored)
        until, self.applied = self.applied, commit.events[-1].sequence if commit.events else self.applied
        if commit.events and commit.events[0].sequence != until + 1:
            self._distrust()  # a commit before this one was never handed over
        by_user = sorted(commit.events, key=lambda event: event.user_key)
        for key, events in groupby(by_user, key=lambda event: event.user_key):
            before, after, first = self._histories.add(list(events), until)
            self.answering.change(key, before, after, first)
            self._counted.repeats.change(before, after, first)
        if commit.events:
            self.answering.habit = self._counted.repeats.habit
            newest = max(event.time for event in commit.events)
            self._counted.newest = newest if self._counted.newest is None else max(self._counted.newest, newest)
            self._telemetry.count_events(len(commit.events))
            if commit.since is not None:
                self._telemetry.visible.observe(time.perf_counter() - commit.since)
        self._telemetry.events.labels("duplicate").inc(commit.duplicates)
        for model, count in commit.followed.items():
            self._telemetry.followed.labels(model).inc(count)
        if self._early:
            ready = [w for w in self._early if w.question.at_least <= self.applied]
            self._early = [w for w in self._early if w.question.at_least > self.applied]
            self._answer(ready)

    def _answer(self, waiting: list[Waiting]) -> None:
        """Answer those whose event is counted in; the others wait for theirs."""
        early = [w for w in waiting if w.question.at_least > self.applied]
        asked = [w for w in waiting if w.question.at_least <= self.applied] if early else waiting
        room = self._settings.serving.queue - len(self._early)
        self._early.extend(early[:room])
        for one in early[room:]:
            one.future.set_exception(
                OverloadedError(f"{len(self._early)} questions wait for an event; try again later")
            )
        if not asked:
            return
        try:
            self._answer_together(asked)
        except Exception as error:
            left = [w for w in asked if not w.future.done()]
            if len(asked) > 1:  # one of them is to blame: the others get their answer
                for one in left:
                    self._answer([one])
                return
            if not isinstance(error, HeadraceError):
                logging.getLogger(__name__).error("a question failed", exc_info=error)
            for one in left:
                one.future.set_exception(error)

    def _answer_together(self, asked: list[Waiting]) -> None:
        now = self._clock()
        states = [self._state(w.question) for w in asked]
        requests = self.answering.requests([(w.question, s) for w, s in zip(asked, states, strict=True)], now)
        for one, state, answer in zip(asked, states, self.answering.answer(requests), strict=True):
            self._give(one, state, answer, now)

    def _state(self, question: Question) -> UserState | None:
        return None if question.user_id is None else self._histories.get(question.user_id, self.applied)

    def _give(self, waiting: Waiting, state: UserState | None, answer: Answer, now: int) -> None:
        model = self.answering.version or NO_MODEL
        given = Given(uuid4().hex, model, self.applied, self.as_of, self.answering.listed(answer))
        key = None if state is None else state.key
        # Recorded first: the client may send an event that names this answer at once.
        self.record(AnswerRecord(given.recommendation_id, key, self.applied, model, answer.items.tolist(), now))
        self._telemetry.count_answer(model, time.perf_counter() - waiting.since)
        waiting.future.set_result(given)

    def _refuse_early(self, now: float) -> None:
        late = [w for w in self._early if now - w.since > AT_LEAST_S]
        self._early = [w for w in self._early if now - w.since <= AT_LEAST_S]
        for one in late:
            one.future.set_exception(
                LateError(
                    f"an answer that counts in event {one.question.at_least} was asked for, "
                    f"{self.applied} is the last one seen after {AT_LEAST_S:g} s; ask again"
                )
            )

    def _hold(self, user_id: str) -> None:
        self._held = self._histories.get(user_id, self.applied)

    def _forget(self, user_id: str) -> None:
        self._histories.forget(user_id)
        held, self._held = self._held, None
        if held is not None and len(held.history):
            self.answering.forget(held)
            self._counted.repeats.change(held.history, EMPTY_HISTORY, 0)
            if held.history.times[-1] == self._counted.newest:
                self._counted.newest = self._store.newest_time()
        self._erased += 1
        self._snapshots.discard()

    def _save(self) -> None:
        # Incomplete counts are never written: the last snapshot is true, and the next start counts in what came since.
        if not self._complete or not self._snapshots.due(self.applied):
            return
        window = self.answering.behaviour.transitions.window
        labels = snapshots.labels_of(self._store, sequence=self.applied, erased=self._erased, window=window)
        arrays = {name: array.copy() for name, array in self.answering.behaviour.state().items()}
        self._snapshots.write(arrays, labels | self._counted.labels(), self.applied)


def _settle(future: Future[Result], verb: Callable[[], Result]) -> None:
    """Run a verb and pass on its result, or its error, to whoever waits; nobody may wait any more."""
    if not future.set_running_or_notify_cancel():
        return
    try:
        future.set_result(verb())
    except Exception as error:
        if not isinstance(error, HeadraceError):
            logging.getLogger(__name__).error("the engine could not do something", exc_info=error)
        future.set_exception(error)
