"""The only writer of the store: one thread, one commit per group of waiting requests, acknowledged after it returns."""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

import msgspec
from sqlalchemy import Connection, delete, func, select
from sqlalchemy.exc import DBAPIError, OperationalError

from headrace.core.errors import HeadraceError, NotFoundError, OverloadedError, StoreError
from headrace.core.types import Event, Item
from headrace.serving.answer_records import AnswerRecord, write_answers
from headrace.serving.batch import Batch, Commit, Counters, Written, write_meta
from headrace.serving.schema import answers, events, models, users
from headrace.serving.store import Store, StoredItem
from headrace.serving.telemetry import Telemetry

_GROUP_EVENTS = 10_000
"""Events that one commit holds at most, so that a small request does not wait for a hundred large ones."""
_EVENTS_PER_PLACE = 50
"""A place in the queue stands for this many events, so that lists cannot fill the memory."""
_ANSWERS_WAITING = 100_000
"""Answers that may wait to be recorded; beyond it the record is lost, never the answer."""
_APART_S = 0.004
"""Commits begin this far apart at least: under load those that come meanwhile share one, which costs 0.8 ms. Whoever
comes after a pause does not wait."""
_IDLE_S = 0.25
"""An answer is recorded after this long, or sooner: with many others, or with an event that names an answer."""
_ANSWERS_TOGETHER = 100
"""So many answers do not wait any longer. One at a time, each would write some pages of its own to the disk."""
_ANSWERS_AT_ONCE = 1000
"""Answers that a commit without events records at most."""

Result = TypeVar("Result")
Verb = Callable[[Batch], Result]


class Listener(Protocol):
    """Who hears of each commit, in order and before the request is acknowledged: the engine."""

    def committed(self, commit: Commit) -> None:
        """Take in what a transaction changed; must not block."""

    def catch_up(self) -> None:
        """Block the writer while the listener is far behind, so that the queue fills and clients are told to wait."""

    def hold(self, user_id: str) -> Future[None]:
        """Take in all that was told so far, then keep the history of a user whose rows are about to go."""

    def forgotten(self, user_id: str) -> Future[None]:
        """Forget a user whose rows are gone; done once no state, count or snapshot knows of them."""


@dataclass(frozen=True)
class Erased:
    """The rows of a user are gone. `first` is the time of their first event; `forgotten` is done when the engine is."""

    first: int
    forgotten: Future[None]


@dataclass
class Job(Generic[Result]):
    """One request that waits: what it does to the transaction, and who waits for the result."""

    verb: Verb[Result]
    events: Sequence[Event] = ()
    future: Future[Result] = field(default_factory=Future)
    since: float = field(default_factory=time.perf_counter)


@dataclass
class _Erasure:
    user_id: str
    future: Future[Erased] = field(default_factory=Future)


class Writer:
    """Takes requests from any thread; `start` and `stop` it once."""

    def __init__(
        self, store: Store, listener: Listener, *, queue: int, telemetry: Telemetry, clock: Callable[[], int]
    ) -> None:
        """`queue` is the number of requests that may wait; `clock` gives microseconds UTC."""
        self._store = store
        self._listener = listener
        self._telemetry = telemetry
        self._limit = queue
        self._clock = clock
        self._jobs: deque[Job[object] | _Erasure] = deque()
        self._waiting_events = 0
        self._answers: deque[AnswerRecord] = deque()
        self._recorded = time.perf_counter()
        self._erased_keys: set[int] = set()
        self.together: Callable[[], AbstractContextManager[None]] = nullcontext
        """Inside it the requests of a commit are acknowledged."""
        self._wake = threading.Condition()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="headrace-writer", daemon=True)
        with store.engine.connect() as connection:
            self._counters = Counters.read(connection, store)

    @property
    def waiting(self) -> int:
        """Requests in the queue."""
        return len(self._jobs)

    @property
    def alive(self) -> bool:
        """Whether it writes."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def stop(self) -> None:
        """Write all that waits and end."""
        with self._wake:
            self._stopping = True
            self._wake.notify()
        self._thread.join()

    def add_events(self, given: Sequence[Event]) -> Future[Written]:
        """Store a list of events; the future is done when they are durable.

        Raises:
            OverloadedError: too many requests wait.
        """
        return self._submit(Job(lambda batch: batch.add_events(given), given))

    def upsert_items(self, given: Sequence[Item]) -> Future[list[StoredItem]]:
        """Put items into the catalogue; see `Batch.upsert_items`."""
        return self._submit(Job(lambda batch: batch.upsert_items(given)))

    def patch_item(self, item_id: str, changes: Mapping[str, object]) -> Future[StoredItem]:
        """Change some fields of an item; see `Batch.patch_item`."""
        return self._submit(Job(lambda batch: batch.patch_item(item_id, changes)))

    def delete_item(self, item_id: str) -> Future[StoredItem]:
        """Take an item out of the catalogue; see `Batch.delete_item`."""
        return self._submit(Job(lambda batch: batch.delete_item(item_id)))

    def execute(self, verb: Callable[[Connection], Result]) -> Future[Result]:
        """Run a statement of housekeeping in the next transaction."""
        return self._submit(Job(lambda batch: verb(batch.connection)))

    def record(self, answer: AnswerRecord) -> None:
        """Record an answer in the background; nobody waits for it."""
        if len(self._answers) >= _ANSWERS_WAITING:
            self._telemetry.answers_lost.inc()
        else:
            self._answers.append(answer)

    def forget(self, user_id: str) -> Future[Erased]:
        """Erase the rows of a user; the future is done when they are gone from the tables.

        Raises:
            OverloadedError: too many requests wait.
            NotFoundError (from the future): the store knows no such user.
        """
        erasure = _Erasure(user_id)
        with self._wake:
            self._admit(0)
            self._jobs.append(erasure)
            self._wake.notify()
        return erasure.future

    def _submit(self, job: Job[Result]) -> Future[Result]:
        with self._wake:
            self._admit(len(job.events))
            self._waiting_events += len(job.events)
            self._jobs.append(job)  # type: ignore[arg-type]  # a job of one result among jobs of any
            self._wake.notify()
        return job.future

    def _admit(self, events: int) -> None:
        """Refuse what would wait for ever, or for too long."""
        if self._stopping:
            raise StoreError("the service is stopping; send the request again to the next one")
        full = self._waiting_events + events > self._limit * _EVENTS_PER_PLACE and self._waiting_events
        if len(self._jobs) >= self._limit or full:
            raise OverloadedError(
                f"at most {self._limit} requests may wait to be stored, {len(self._jobs)} do; try again later"
            )

    def _run(self) -> None:
        began = -_APART_S
        while True:
            with self._wake:
                self._wake.wait_for(lambda: self._jobs or self._stopping, timeout=_IDLE_S)
            time.sleep(max(0.0, began + _APART_S - time.perf_counter()))
            began = time.perf_counter()
            with self._wake:
                group = self._take_group()
                done = self._stopping and not group
            if isinstance(group, _Erasure):
                self._settle(group)
            elif group or self._answers:
                self._write(group)
            if done and not self._answers:
                return

    def _take_group(self) -> list[Job[object]] | _Erasure:
        """Take the requests that one commit will hold; an erasure stands alone."""
        group: list[Job[object]] = []
        held = 0
        while self._jobs:
            job = self._jobs[0]
            if isinstance(job, _Erasure):
                if group:
                    break
                self._jobs.popleft()
                return job
            if group and held + len(job.events) > _GROUP_EVENTS:
                break
            self._jobs.popleft()
            held += len(job.events)
            if job.future.set_running_or_notify_cancel():  # else the client has gone, and nothing was promised
                group.append(job)
        self._waiting_events -= held
        return group

    def _write(self, group: list[Job[object]]) -> None:
        given = self._take_answers(group)
        outcomes: list[tuple[Job[object], object]] = []
        try:
            with self._store.engine.begin() as connection:
                batch = Batch(connection, self._store, self._counters, self._clock())
                write_answers(connection, given)
                batch.prefetch(event for job in group for event in job.events)
                outcomes = [(job, _outcome(job, batch)) for job in group]
                batch.flush()
        except Exception as error:  # passed on to whoever waits; the only writer must outlive one bad group
            self._telemetry.answers_lost.inc(len(given))
            failure = _store_failure(error, self._store)
            if len(group) > 1 and not isinstance(failure, StoreError):  # one is to blame: the others are stored
                for job in group:
                    self._write([job])
                return
            outcomes = [(job, failure) for job in group]
        else:
            self._hand_over(batch.publish(), group)
        with self.together():
            for job, outcome in outcomes:
                if isinstance(outcome, Exception):
                    job.future.set_exception(outcome)
                else:
                    job.future.set_result(outcome)
        self._listener.catch_up()

    def _hand_over(self, commit: Commit, group: list[Job[object]]) -> None:
        """Tell the listener of what is durable already; whatever happens here, the requests have succeeded."""
        commit.since = group[0].since if group else None
        try:
            self._listener.committed(commit)
        except Exception:  # an error as the answer would make a client send again what is stored
            self._telemetry.errors.labels("hand-over").inc()
            logging.getLogger(__name__).exception("a commit is stored, but answers count it in only after a restart")

    def _take_answers(self, group: Sequence[Job[object]]) -> list[AnswerRecord]:
        """Take the answers to record now: all that an event of the group may name, or those that waited long enough."""
        now = time.perf_counter()
        named = any(event.recommendation_id is not None for job in group for event in job.events)
        few = len(self._answers) < _ANSWERS_TOGETHER and now - self._recorded < _IDLE_S
        if group and few and not named:
            return []
        self._recorded = now
        most = len(self._answers) if named else _ANSWERS_TOGETHER if group else _ANSWERS_AT_ONCE
        taken = [self._answers.popleft() for _ in range(min(len(self._answers), most))]
        return [a for a in taken if a.user_key is None or a.user_key not in self._erased_keys]

    def _settle(self, erasure: _Erasure) -> None:
        try:
            erasure.future.set_result(self._erase(erasure.user_id))
        except Exception as error:  # likewise
            erasure.future.set_exception(_store_failure(error, self._store))

    def _erase(self, user_id: str) -> Erased:
        # The engine must have the user's whole history: once the rows are gone, it could not take it out of the counts.
        self._listener.hold(user_id).result()
        while self._answers:
            self._write([])
        with self._store.engine.begin() as connection:
            key = connection.execute(select(users.c.key).where(users.c.user_id == user_id)).scalar()
            if key is None:
                raise NotFoundError(f"no user has the id {user_id!r}; nothing was erased")
            first = connection.execute(select(func.min(events.c.time)).where(events.c.user_key == key)).scalar()
            connection.execute(delete(answers).where(answers.c.user_key == key))
            connection.execute(delete(events).where(events.c.user_key == key))
            connection.execute(delete(users).where(users.c.key == key))
            # Numbers are never given twice, though the rows that held the largest may be gone.
            write_meta(connection, "last_sequence", str(self._counters.sequence))
            write_meta(connection, "last_user", str(self._counters.user_key))
            # A snapshot of before knows fewer erasures and is refused at the next start, whatever happens now.
            write_meta(connection, "erasures", str(erasures(self._store) + 1))
        self._erased_keys.add(key)
        return Erased(int(first or 0), self._listener.forgotten(user_id))


def erasures(store: Store) -> int:
    """Return how many users have been erased so far."""
    return int(store.read_meta("erasures") or 0)


def record_model(connection: Connection, version: str, until: int, taken: int) -> None:
    """Remember that a model served, and until which event time it has learned."""
    connection.execute(delete(models).where(models.c.version == version))
    connection.execute(models.insert(), {"version": version, "until": until, "taken": taken})


def _outcome(job: Job[object], batch: Batch) -> object:
    """Run one request; its own fault is its own result and leaves the others alone."""
    try:
        return job.verb(batch)
    except HeadraceError as error:
        return error
    except msgspec.ValidationError as error:
        return error


def _store_failure(error: Exception, store: Store) -> Exception:
    if isinstance(error, OperationalError | sqlite3.OperationalError | OSError):
        reason = error.orig if isinstance(error, DBAPIError) else error
        return StoreError(f"the store {store.path} could not be written ({reason}); nothing of this request was kept")
    if not isinstance(error, HeadraceError):
        logging.getLogger(__name__).error("a transaction failed", exc_info=error)
    return error
