"""The service without HTTP: one method for each route; `open` makes it, `close` ends it cleanly.

Methods that return a future never block; the others read or write the store and belong into a thread.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager, nullcontext
from importlib.metadata import version
from pathlib import Path

import msgspec
import numpy as np

from headrace.core.errors import DataError, ModelError, NotFoundError, NotReadyError
from headrace.core.settings import Settings
from headrace.core.types import Event, Item, Recommendation, Scale
from headrace.data.row_rules import Fault, check_events, check_id, check_item
from headrace.serving.batch import Written, chunks, merge_item
from headrace.serving.catalogue_desk import CatalogueDesk, opening
from headrace.serving.engine import Engine
from headrace.serving.erasing import Eraser
from headrace.serving.faults import RowFaultsError
from headrace.serving.housekeeping import Housekeeping
from headrace.serving.importing import import_catalogue, import_dataset
from headrace.serving.models import LoadedModel, model_status
from headrace.serving.moments import wall_clock
from headrace.serving.questions import Given, Question
from headrace.serving.replies import Erasure, Rating
from headrace.serving.searching import find_items, items_of
from headrace.serving.status import ExampleUser, Latency, Status
from headrace.serving.store import Store, StoredEvent
from headrace.serving.telemetry import Telemetry
from headrace.serving.writer import Writer

MAX_LIST = 10_000
"""Events, items or ids that one request may hold."""

_EVENTS_AT_ONCE = 1000
"""Events of a user that are read at once, some 200 kB as JSON."""
_QUERY_LETTERS = 1000
_QUERY_WORDS = 8
"""Words of a search that are looked at."""
_HOUR_US = 3_600_000_000
_SCAN_S = 60.0
"""How long the answer of a scan over all events is good for the page."""


class Service:
    """A running service."""

    def __init__(self, store: Store, *, settings: Settings, clock: Callable[[], int]) -> None:
        """See `Service.open`."""
        self.settings = settings
        self.store = store
        self.telemetry = Telemetry()
        self._clock = clock
        self.engine = Engine(store, settings=settings, telemetry=self.telemetry, clock=clock)
        self.writer = Writer(store, self.engine, queue=settings.serving.queue, telemetry=self.telemetry, clock=clock)
        self._eraser = Eraser(store, self.writer)
        self.engine.maker.record = self.writer.record
        self.desk = CatalogueDesk(store, self.writer, self.engine, clock, settings.serving)
        self.telemetry.watch_queue("writer", lambda: self.writer.waiting)
        self._stored_scale = msgspec.json.decode(store.read_meta("scale") or "null", type=Scale | None)
        self._opened = time.monotonic()
        self._examples: list[ExampleUser] = []
        self._usual_type: str | None = None
        self._scanned = float("-inf")
        self._closing = threading.Event()
        self._keeper = Housekeeping(
            self.engine, self.writer, self._eraser, settings=settings.serving, telemetry=self.telemetry, clock=clock
        )

    @classmethod
    def open(
        cls,
        settings: Settings,
        model: Path | None = None,
        history: Path | None = None,
        clock: Callable[[], int] = wall_clock,
    ) -> Service:
        """Open the store, import a dataset, load a model, and begin to serve.

        Args:
            settings: all of them; `serving.store` says where the store is.
            model: a model folder; None answers from transition counts. A store without items takes the model's.
            history: a dataset to import, once.
            clock: the time now, microseconds UTC.

        Raises:
            SettingsError, FormatError, StoreError: see `Store.open`.
            FormatError, ModelError: the dataset or the model cannot be taken.
        """
        store, service = Store.open(settings.serving.store), None
        try:
            if history is not None:
                import_dataset(store, history, now=clock())
            if model is not None:
                import_catalogue(store, model, now=clock())
            # A model is read while the events are counted: each takes seconds, on a core of its own.
            with nullcontext() if model is None else opening(store, model, settings) as opened:
                service = cls(store, settings=settings, clock=clock)
                service._begin(opened)
        except BaseException:
            (service or store).close()
            raise
        return service

    def settle_with(self, together: Callable[[], AbstractContextManager[None]]) -> None:
        """Let futures that are settled at the same time be settled inside `together`."""
        self.engine.maker.together = self.writer.together = together

    def close(self) -> None:
        """Store and answer what waits, write a snapshot, and end; a second call does nothing."""
        if self._closing.is_set():
            return
        self._closing.set()
        self._keeper.stop()
        self.writer.stop()
        self.desk.stop()
        self.engine.save(last=True).result()
        self.engine.stop()
        self.engine.finish_saving()
        self.store.close()

    @property
    def ready(self) -> bool:
        """Whether events are stored and questions answered."""
        return self.engine.alive and self.writer.alive and not self._closing.is_set()

    @property
    def model_version(self) -> str | None:
        """The version of the model that serves, None without one."""
        return None if self.desk.model is None else self.desk.model.version

    @property
    def scale(self) -> Scale | None:
        """The rating scale that values are held against."""
        model = self.desk.model
        return self._stored_scale if model is None or model.info.scale is None else model.info.scale

    def check_events(
        self, events: Sequence[Event], places: Sequence[int] | None = None, unreadable: Sequence[Fault] = ()
    ) -> None:
        """Hold events against the row rules.

        Args:
            events: those that could be read.
            places: where each stood in its list; None for one after the other.
            unreadable: the faults of those that could not.

        Raises:
            RowFaultsError: some rule is broken; it lists the first faults.
            DataError: the list is empty or too long.
        """
        sent = len(events) + len({fault.index for fault in unreadable})
        _check_length(sent, "events")
        latest = round(self.settings.data.max_future_hours * _HOUR_US)
        found = check_events(events, now=self._clock(), scale=self.scale, max_future_us=latest)
        if places is not None:
            found = [msgspec.structs.replace(fault, index=places[fault.index]) for fault in found]
        faults = sorted([*found, *unreadable], key=lambda fault: fault.index)
        if faults:
            self.telemetry.events.labels("refused").inc(sent)
            raise RowFaultsError(faults)

    def add_events(self, events: Sequence[Event]) -> Future[Written]:
        """Store events that passed `check_events`, all or none; done when they are durable.

        Raises:
            OverloadedError: too many requests wait.
            ConflictError, StoreError (from the future): nothing was stored.
        """
        return self.writer.add_events(events)

    def recommend(self, question: Question) -> Future[Given]:
        """Answer a question with a list; with `only`, rank exactly those.

        Raises:
            DataError: k or an id is out of range.
            OverloadedError: too many questions wait.
            LateError (from the future): `at_least` did not come in time.
        """
        for name, ids in (("exclude", question.exclude), ("item_ids", question.only or ())):
            if len(ids) > MAX_LIST:
                raise DataError(f"{name} must hold at most {MAX_LIST} ids, got {len(ids)}")
        self._check_k(question.k, ranked=len(question.only or ()))
        if len(question.history) > MAX_LIST:
            raise DataError(f"a history must hold at most {MAX_LIST} events, got {len(question.history)}")
        if question.user_id is not None:
            _check_user(question.user_id)
        return self.engine.ask(question)

    def ratings(self, user_id: str, item_ids: Sequence[str]) -> Future[list[Rating]]:
        """Predict how a user would rate items; an unknown item gets what the user gives on average.

        Raises:
            NotReadyError: no model with a rating head is loaded.
        """
        _check_user(user_id)
        _check_length(len(item_ids), "item_ids")
        model = self.desk.model
        if model is None or model.ratings is None:
            raise NotReadyError("a rating needs a model that learned from ratings; train on ratings and swap it in")
        return self.engine.read(lambda: self._rate(user_id, item_ids))

    def similar(self, item_id: str, k: int) -> Future[list[Recommendation]]:
        """List items like an item.

        Raises:
            DataError: k is out of range.
            NotFoundError (from the future): no such item.
        """
        self._check_k(k)
        return self.engine.read(lambda: self.engine.answering.similar(self.item(item_id).item_id, k))

    def put_items(self, items: Sequence[Item]) -> int:
        """Put items into the catalogue, all or none, each replacing what was there; returns how many.

        Raises:
            RowFaultsError: some rule is broken.
            OverloadedError, StoreError: nothing was stored.
        """
        _check_length(len(items), "items")
        faults = [msgspec.structs.replace(f, index=place) for place, item in enumerate(items) for f in check_item(item)]
        if faults:
            raise RowFaultsError(faults)
        return len(self.desk.put(items))

    def patch_item(self, item_id: str, changes: Mapping[str, object]) -> Item:
        """Change some fields of an item and return it whole; see `merge_item`.

        Raises:
            NotFoundError: no such item.
            RowFaultsError: the item would break a rule.
        """
        faults = check_item(merge_item(Item(item_id=item_id), changes))
        if faults:
            raise RowFaultsError(faults)
        return self.desk.patch(item_id, changes).item

    def item(self, item_id: str) -> Item:
        """Return an item; one known from events only has no fields.

        Raises:
            NotFoundError: no such item.
        """
        found = self.store.item(item_id)
        if found is None:
            raise NotFoundError(f"no item has the id {item_id!r}")
        return found.item

    def delete_item(self, item_id: str) -> None:
        """Take an item out of the catalogue and off all lists; events keep pointing at it.

        Raises:
            NotFoundError: no such item.
        """
        self.desk.delete(item_id)

    def search(self, query: str, limit: int) -> list[Item]:
        """Return available items whose title, text or categories hold every word.

        Items whose titles have the words as words come first, then those whose titles have them as beginnings; among
        these, and without words, what is popular now.

        Raises:
            DataError: the query is too long.
            OverloadedError: too many requests wait.
        """
        if len(query) > _QUERY_LETTERS:
            raise DataError(f"query must have at most {_QUERY_LETTERS} letters, got {len(query)}")
        keys, tiers = find_items(self.store, query.split()[:_QUERY_WORDS])
        popular = self.engine.read(lambda: self.engine.answering.popular(keys, self._clock())).result()
        best = keys[np.lexsort((keys, -popular, tiers))][:limit]
        return items_of(self.store, best.tolist())

    def user_events(self, user_id: str, limit: int | None = None) -> Iterator[list[StoredEvent]]:
        """Return a user's events, oldest first, some at a time; with `limit` only so many, the newest.

        Raises:
            NotFoundError: no such user.
        """
        numbers = self.store.event_numbers(user_id)
        if not len(numbers):
            raise NotFoundError(f"no user has the id {user_id!r}")
        shown = numbers if limit is None else numbers[-limit:]
        return (self.store.events(some) for some in chunks(shown.tolist(), _EVENTS_AT_ONCE))

    def example_users(self, limit: int) -> list[ExampleUser]:
        """Return the users with the most events, for the page's chooser; counted anew every minute at most."""
        self._scan()
        return self._examples[:limit]

    def status(self) -> Status:
        """Return what the service does now."""
        self._scan()
        minute = self.telemetry.last_minute()
        model = self.desk.model
        return Status(
            version=version("headrace"),
            uptime_s=round(time.monotonic() - self._opened, 1),
            ready=self.ready,
            events_per_second=minute.events_per_s,
            answers_per_second=minute.answers_per_s,
            latency_ms=Latency(minute.p50_ms, minute.p99_ms),
            model=model_status(model),
            events=self.engine.events,
            events_seen=self.engine.applied,
            as_of=self.engine.as_of,
            items=len(self.engine.answering.catalogue),
            users=self.store.count("users"),
            seen=self.engine.answering.seen,
            event_type=self._usual_type,
            event_types=list(self.store.types),
            waiting=self.writer.waiting + self.engine.waiting,
            user_cache_bytes=self.engine.user_bytes,
        )

    def forget(self, user_id: str) -> Erasure:
        """Erase a user from log, state and counts.

        Raises:
            NotFoundError: no such user.
            StoreError: the store could not be written, or a reader keeps its log; erase again.
        """
        return self._eraser.forget(user_id)

    def swap(self, path: str) -> str:
        """Take a model from below the configured folder and return its version.

        Raises:
            ModelError: not below that folder, or refused; the model that serves stays.
            FormatError: not a model folder, or of another format.
        """
        root = Path(self.settings.serving.models).resolve()
        try:
            folder = (root / path).resolve()
            found = folder.is_relative_to(root) and folder != root and folder.is_dir()
        except (OSError, ValueError):  # too long, or with a zero byte
            found = False
        if not found:
            raise ModelError(
                f"a model must be a folder below {root}, {path[:200]!r} is none; move it there, or set serving.models"
            )
        return self.take(folder)

    def take(self, folder: Path) -> str:
        """Load, check and warm a model of any folder, exchange it between two requests, and return its version.

        Raises:
            ModelError, FormatError: refused; the model that serves stays.
        """
        return self.desk.take(folder).version

    def _scan(self) -> None:
        """Read what takes a pass over all events, half a second for 1.5 million, once a minute at most."""
        now = time.monotonic()
        if now - self._scanned > _SCAN_S:
            self._scanned = now
            self._examples = [ExampleUser(user_id, n) for user_id, n in self.store.busiest_users(100)]
            self._usual_type = self.store.usual_type()

    def _rate(self, user_id: str, item_ids: Sequence[str]) -> list[Rating]:
        found = self.engine.rate(user_id, item_ids)
        rows = zip(item_ids, *(numbers.tolist() for numbers in found), strict=True)
        return [Rating(item_id, rating, low, high) for item_id, rating, low, high in rows]

    def _begin(self, opened: Future[LoadedModel] | None) -> None:
        self.engine.start()
        self.writer.start()
        self._keeper.start()
        if opened is not None:
            self.desk.exchange(opened.result())
        self.engine.warm().result()
        if self.engine.unsaved:
            self.engine.save().result()

    def _check_k(self, k: int, *, ranked: int = 0) -> None:
        """Refuse lists that are too long; all that came along to be ranked may come back."""
        longest = max(self.settings.serving.max_k, ranked)
        if not 1 <= k <= longest:
            raise DataError(f"k must be from 1 to {longest}, got {k}")


def _check_user(user_id: str) -> None:
    message = check_id(user_id)
    if message is not None:
        raise DataError(f"user_id: {message}, got {user_id[:40]!r}")


def _check_length(length: int, what: str) -> None:
    if not 1 <= length <= MAX_LIST:
        raise DataError(f"a request holds 1 to {MAX_LIST} {what}, got {length}; send several requests")
