"""The engine: what owns counts, histories, catalogue and model, and answers questions in batches.

All that it is told or asked stands in one line in the order of arrival. The writer tells it of a commit before the
client hears of it, so a question that a client asks after its event was acknowledged always stands behind that event.

Two threads work one behind the other. The first knows the users: it keeps their histories and the encoder's states.
The second knows the items: it counts, and makes lists. What the first hands over is done in the order in which it was
taken from the line, so that a list counts in the same events as the state of its user. Everything else, an item that
changes, say, or another model, is done by the first thread while the second has nothing to do.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from itertools import groupby
from operator import attrgetter
from typing import NamedTuple, TypeAlias, TypeVar

import numpy as np

from headrace.core.settings import Settings
from headrace.data.log import EMPTY_HISTORY, Floats
from headrace.ranking.item_index import ItemIndex
from headrace.serving import snapshots
from headrace.serving.answering import Answering, warm_up
from headrace.serving.arena import Arena
from headrace.serving.batch import Commit
from headrace.serving.early import Early, in_time
from headrace.serving.line import Line, Taken, settle
from headrace.serving.list_maker import ListMaker, fail
from headrace.serving.listing import catalogue_of
from headrace.serving.models import LoadedModel
from headrace.serving.moments import iso_time
from headrace.serving.questions import DEGRADED, NO_MODEL, Given, Question, Waiting
from headrace.serving.sides import Prepared, Side
from headrace.serving.stage import Stage
from headrace.serving.states import Grown, Histories, UserState
from headrace.serving.store import Store, StoredItem
from headrace.serving.telemetry import Telemetry
from headrace.serving.warm_states import Files, restore_states, states_file
from headrace.serving.writer import erasures

_EVENTS_TOGETHER = 1024
"""New events that are read together: whoever stands in a batch with many that were not in memory does not wait long."""

Result = TypeVar("Result")
_Portion: TypeAlias = list[tuple[Waiting, UserState | None]]


class _Told(NamedTuple):
    """Commits that were taken in, and what they have made of the histories of users."""

    commits: list[Commit]
    grown: list[Grown]


class Engine:
    """Hears of commits from the writer and of questions from any thread; see `Listener` for the writer's side."""

    def __init__(self, store: Store, *, settings: Settings, telemetry: Telemetry, clock: Callable[[], int]) -> None:
        """Read the store and get ready; `start` begins to answer.

        Args:
            store: open.
            settings: all of them.
            telemetry: where to count.
            clock: microseconds UTC.
        """
        self._store = store
        self._settings = settings
        self._telemetry = telemetry
        self._clock = clock
        catalogue = catalogue_of(store)
        self._histories = Histories(store, store.item_ids, settings.serving.user_cache_bytes)
        self._counted = snapshots.restore(store, store.item_ids, settings.ranking)
        self.answering = Answering(self._counted.behaviour, catalogue, store.types, settings.ranking)
        self.answering.habit = self._counted.repeats.habit
        self.applied = store.last_sequence()
        self._erased = erasures(store)
        serving = settings.serving
        self._deadline_s = serving.deadline_ms / 1000
        self._line = Line(limit=serving.queue, wait_s=self._deadline_s / 4)
        self._lists = Stage("headrace-lists")
        self.maker = ListMaker(self.answering, telemetry, self._line.counted)
        self._early = Early(serving.queue)
        self._uncounted = _Told([], [])
        self._thread = threading.Thread(target=self._run, name="headrace-engine", daemon=True)
        self._held: UserState | None = None
        self._snapshots = snapshots.Snapshots(store, telemetry, saved=self._counted.saved)
        telemetry.watch_queue("engine", lambda: len(self._line))
        telemetry.events_seen.set_function(lambda: self.applied)
        telemetry.user_bytes.set_function(lambda: self._histories.bytes)
        telemetry.state_bytes.set_function(lambda: self.answering.state_bytes)
        telemetry.rebuilt.set_function(lambda: self.answering.rebuilt)

    def start(self) -> None:
        """Begin to answer."""
        self._lists.start()
        self._thread.start()

    def stop(self) -> None:
        """Answer all that waits and end."""
        self._line.stop()
        self._thread.join()
        self._lists.stop()

    @property
    def alive(self) -> bool:
        """Whether it answers."""
        return self._thread.is_alive()

    def ask(self, question: Question) -> Future[Given]:
        """Put a question; a future that was cancelled is not computed.

        Raises:
            OverloadedError: too many wait.
            LateError (from the future): it waited past its deadline, or `at_least` did not come in time.
        """
        waiting = Waiting(question)
        self._line.admit(waiting)
        return waiting.future

    def read(self, verb: Callable[[], Result]) -> Future[Result]:
        """Read something for a client between questions, in the engine's thread; all it reads belongs together.

        Raises:
            OverloadedError: too many wait.
        """
        future: Future[Result] = Future()

        def task() -> None:
            self._line.served()
            settle(future, verb)

        self._line.admit(task)
        return future

    def run(self, verb: Callable[[], Result]) -> Future[Result]:
        """Do something of the service's own between questions; see `read`, but it is never refused."""
        future: Future[Result] = Future()
        self._line.tell(lambda: settle(future, verb))
        return future

    def committed(self, commit: Commit) -> None:
        """Take in what a transaction changed."""
        self._line.tell(commit)

    def catch_up(self) -> None:
        """Wait while many commits are not counted in, so that answers never fall far behind events."""
        self._line.catch_up(lambda: self.alive)

    def hold(self, user_id: str) -> Future[None]:
        """Take in all that was told, then keep a user's history, which `forgotten` must take out of the counts."""
        return self.run(lambda: self._hold(user_id))

    def forgotten(self, user_id: str) -> Future[None]:
        """Forget a user whose rows are gone; done once no state, count or snapshot knows of them."""
        return self._line.proceed(self._forget(user_id))

    def take(self, model: LoadedModel, index: ItemIndex | None = None) -> Future[None]:
        """Exchange the model between two questions; with its lists of items by users, where there are any."""
        return self.run(partial(self._take, model, model.arena(self._settings.serving), index))

    def move(self, most: int) -> Future[int]:
        """Read up to so many users anew under the model that serves; gives how many the one before still answers."""
        return self.run(lambda: self._move(most))

    def part(self) -> Future[None]:
        """Free the model before the one that serves, though it may still answer some."""
        return self.run(self.answering.part)

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
        return len(self._line)

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
        placed = model.place([one.item for one in stored], keys)
        return self.run(lambda: self.answering.place(model, keys, placed))

    def save(self, *, last: bool = False) -> Future[None]:
        """Write a snapshot in the background; the future is done when writing has begun.

        The `last` one before the end holds the states of users too: to copy them takes tenths of a second.
        """
        return self.run(partial(self._save, last=last))

    def finish_saving(self) -> None:
        """Wait for the snapshot that is being written."""
        self._snapshots.finish()

    def _run(self) -> None:
        while not self._line.stopped:
            taken = self._line.take(self._settings.serving.batch, timeout=0.05 if self._early else None)
            if callable(taken):
                self._lists.settle()
                taken()
            elif taken is not None:
                self._take_in(taken)
            self._early.refuse(self.applied, time.perf_counter())
        self._lists.settle()
        self._early.refuse(self.applied, float("inf"))

    def _take_in(self, taken: Taken) -> None:
        """Take commits into catalogue and histories, answer questions, and hand both on to the second thread."""
        with suppress(Exception):  # whoever could not be read is read again, and there the error is theirs
            self._histories.fetch(taken.users, self.applied)
        for commit in taken.commits:
            self._uncounted.commits.append(commit)
            try:
                self._apply(commit)
            except Exception:  # whatever it was, the counts lack a part of this commit
                self._telemetry.errors.labels("engine").inc()
                logging.getLogger(__name__).exception("the engine could not take something in")
                self._distrust()
        self._answer(self._early.ready(self.applied), alone=False)
        if taken.questions:
            # A model that is late is left out, and the counts answer alone, until the line is short again.
            late = time.perf_counter() - taken.questions[0].since > self._deadline_s / 4
            self._answer(in_time(taken.questions, self._deadline_s), alone=late and self.answering.model is not None)
        if self._uncounted.commits:
            self._hand_on(None)

    def _hand_on(self, batch: Prepared | None) -> None:
        """Let the second thread count what was taken in, and make lists of a batch."""
        told, self._uncounted = self._uncounted, _Told([], [])

        def work() -> None:
            if told.commits:
                self.maker.count(*told)
            if batch is not None:
                self.maker.make(batch)

        if self._lists.idle and not len(self._line):
            work()  # nothing else waits: it is faster to do it here
        else:
            self._lists.do(work)

    def _apply(self, commit: Commit) -> None:
        if commit.mentioned or commit.items:
            self._lists.settle()
        for key, item_id in commit.mentioned:
            self.answering.mention(key, item_id)
        for stored in commit.items:
            self.answering.put_item(stored)
        until, self.applied = self.applied, commit.events[-1].sequence if commit.events else self.applied
        if commit.events and commit.events[0].sequence != until + 1:
            self._distrust()  # a commit before this one was never handed over
        for key, events in groupby(sorted(commit.events, key=_user_key), key=_user_key):
            one = self._histories.add(list(events), until)
            self.answering.changed(key, one)
            self._counted.repeats.change(*one)
            self._uncounted.grown.append(one)
        if commit.events:
            self.answering.habit = self._counted.repeats.habit
            newest = max(event.time for event in commit.events)
            self._counted.newest = newest if self._counted.newest is None else max(self._counted.newest, newest)

    def _distrust(self) -> None:
        self._lists.settle()
        self.maker.complete = False
        self.answering.distrust()

    def _answer(self, waiting: list[Waiting], *, alone: bool) -> None:
        """Answer those whose event is counted in; the others wait for theirs."""
        asked = self._early.sort_out(waiting, self.applied)
        if not asked:
            return
        began = time.perf_counter()
        for some, side in self._portions(asked, alone=alone):
            self._prepare(some, side)
        self._line.took(time.perf_counter() - began, len(asked))

    def _portions(self, asked: list[Waiting], *, alone: bool) -> Iterator[tuple[_Portion, Side | None]]:
        """Yield questions with the states of their users, by the model that answers them.

        Those are together who have few enough new events to read.
        """
        portions: dict[Side | None, _Portion] = {}
        events = 0
        for one in asked:
            try:
                user_id = one.question.user_id
                state = None if user_id is None else self._histories.get(user_id, self.applied)
            except Exception as error:  # it is that question's, and the others get their answers
                fail(one, error)
                continue
            side = None if alone else self.answering.side_of(state)
            unread = 0 if side is None else side.unread(state)
            if portions and events + unread > _EVENTS_TOGETHER:
                yield from ((portion, of) for of, portion in portions.items())
                portions, events = {}, 0
            portions.setdefault(side, []).append((one, state))
            events += unread
        yield from ((portion, of) for of, portion in portions.items())

    def _prepare(self, some: _Portion, side: Side | None) -> None:
        """Turn questions into requests, and hand them on."""
        now = self._clock()
        try:
            requests = self.answering.requests([(waiting.question, state) for waiting, state in some], now, side)
        except Exception as error:
            if len(some) == 1:
                fail(some[0][0], error)
                return
            for one in some:  # one of them is to blame: the others get their answer
                self._prepare([one], side)
            return
        alone = NO_MODEL if self.answering.side is None else DEGRADED
        model = alone if side is None else side.model.version
        keys = [None if state is None else state.key for _, state in some]
        waiting = [waiting for waiting, _ in some]
        self._hand_on(Prepared(waiting, keys, requests, side, model, self.applied, self.as_of, now))

    def _move(self, most: int) -> int:
        leaving = self.answering.leaving
        if leaving is None:
            return 0
        keys = leaving.arena.recent(most)
        found = (self._histories.get(user_id, self.applied) for user_id in self._store.user_ids(keys).values())
        return self.answering.move(keys, [state for state in found if state is not None])

    def _take(self, model: LoadedModel, arena: Arena, index: ItemIndex | None) -> None:
        if self.answering.model is None:
            restore_states(arena, model, self._store, self._settings.serving)
        self.answering.take(model, arena, index)

    def _hold(self, user_id: str) -> None:
        self._held = self._histories.get(user_id, self.applied)

    def _forget(self, user_id: str) -> Iterator[None]:
        self._histories.forget(user_id)
        held, self._held = self._held, None
        if held is not None and len(held.history):
            yield from self.answering.forget(held)
            self._counted.repeats.change(held.history, EMPTY_HISTORY, 0)
            if held.history.times[-1] == self._counted.newest:
                self._counted.newest = self._store.newest_time()
        self._erased += 1
        self._snapshots.discard()

    def _save(self, *, last: bool) -> None:
        # Incomplete counts are never written: the last snapshot is true, and the next start counts in what came since.
        files: Files = {}
        if self.maker.complete and self._snapshots.due(self.applied):
            window = self.answering.behaviour.transitions.window
            labels = snapshots.labels_of(self._store, sequence=self.applied, erased=self._erased, window=window)
            arrays = self.answering.behaviour.state()
            files[snapshots.snapshot_path(self._store)] = arrays, labels | self._counted.labels()
        if last and (side := self.answering.side) is not None:
            kept = self._settings.serving
            files |= states_file(side, self._store, kept, sequence=self.applied, erased=self._erased)
        if files:
            self._snapshots.write(files, self.applied)


_user_key = attrgetter("user_key")
