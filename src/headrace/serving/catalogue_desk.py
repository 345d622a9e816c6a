"""Items that come in: stored first, then placed by what they say in the model that serves; and the swap of models.

One thread does both, so that an item that changes during a swap is placed in the new model, after the exchange.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path

from headrace.content.item_reading import SAYING_FIELDS
from headrace.core.settings import ServingSettings, Settings
from headrace.core.types import Item
from headrace.ranking.item_index import EXACT_AT_MOST, ItemIndex
from headrace.serving.engine import Engine
from headrace.serving.indexing import Indexer
from headrace.serving.models import LoadedModel, open_model
from headrace.serving.moving import Mover
from headrace.serving.store import Store, StoredItem
from headrace.serving.writer import Writer, record_model

_PATIENCE_S = 5.0
"""How long a PUT waits for its text to be encoded; after it the item is listed without its vector for a while."""
_WAITED_FOR = 32
"""Longer lists of items are encoded behind the answer."""
_TOGETHER = 64
"""Items that are encoded at once."""


class CatalogueDesk:
    """Changes the catalogue and the model; safe from any thread."""

    def __init__(
        self, store: Store, writer: Writer, engine: Engine, clock: Callable[[], int], settings: ServingSettings
    ) -> None:
        """`clock` gives microseconds UTC."""
        self._least_ndcg = settings.least_ndcg
        self._store = store
        self._writer = writer
        self._engine = engine
        self._clock = clock
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="headrace-content")
        self._stopping = threading.Event()
        self._indexer = Indexer(store, engine, clock)
        self._mover = Mover(engine, settings.swap_minutes * 60)
        self._swapping = threading.Lock()
        self._late: list[str] | None = None
        """Items that came since the model that is about to be taken was opened; None where there is none."""
        self.model: LoadedModel | None = None

    def put(self, items: Sequence[Item]) -> list[StoredItem]:
        """Store items and place them in the model; returns them as stored, one for each distinct id."""
        return self._place(self._writer.upsert_items(items).result())

    def patch(self, item_id: str, changes: Mapping[str, object]) -> StoredItem:
        """Change some fields of an item; see `Batch.patch_item`."""
        stored = self._writer.patch_item(item_id, changes).result()
        if not changes.keys().isdisjoint(SAYING_FIELDS):
            self._place([stored])
        return stored

    def delete(self, item_id: str) -> None:
        """Take an item out of the catalogue; see `Batch.delete_item`.

        Its vectors stay for the histories that hold it. Put again it is the same item: with its learned id, and what it
        says then.
        """
        self._writer.delete_item(item_id).result()

    def take(self, folder: Path) -> LoadedModel:
        """Load, check and warm a model, exchange it, and return it; see `open_model` for what is refused."""

        with self._swapping:
            try:
                model = self._worker.submit(self._open, folder).result()
                index = self._indexer.build(model)  # takes seconds: items that come meanwhile do not wait for it
                return self._worker.submit(self._exchange, model, index).result()
            finally:
                self._late = None

    def exchange(self, model: LoadedModel) -> LoadedModel:
        """Exchange the model for one that was opened for this store as it stands, and return it."""
        return self._worker.submit(self._begin_with, model).result()

    def give_up(self) -> None:
        """Take no model any more: one whose texts are being read is refused within a second."""
        self._stopping.set()

    def stop(self) -> None:
        """Give up a swap, finish what else was begun, and end."""
        self.give_up()
        self._indexer.stop()
        self._worker.shutdown(wait=True, cancel_futures=True)
        self._mover.stop()

    def _place(self, stored: list[StoredItem]) -> list[StoredItem]:
        ids = [one.item.item_id for one in stored]
        groups = [ids[start : start + _TOGETHER] for start in range(0, len(ids), _TOGETHER)]
        placed: list[Future[None]] = [self._worker.submit(self._place_some, group) for group in groups]
        if len(ids) <= _WAITED_FOR:
            wait(placed, timeout=_PATIENCE_S)
        return stored

    def _open(self, folder: Path) -> LoadedModel:
        self._late = []
        return _open_for(self._store, folder, self._stopping, self._least_ndcg)

    def _place_some(self, ids: Sequence[str]) -> None:
        model = self.model
        if self._late is not None:
            self._late.extend(ids)
        if model is None:
            return
        try:
            # Read again: of two changes of an item at one time, the later in the store must be the last that is placed.
            stored = [found for item_id in ids if (found := self._store.item(item_id)) is not None]
            self._engine.place(model, stored).result()
            self._indexer.look(model)
        except Exception:  # the items are stored and acknowledged; a worker's error would reach nobody else
            logging.getLogger(__name__).exception("items %r ... could not be placed in the model", ids[:3])

    def _begin_with(self, model: LoadedModel) -> LoadedModel:
        n_items = len(model.vectors) - 1
        taken = self._exchange(model, ItemIndex.none_yet(n_items) if n_items > EXACT_AT_MOST else None)
        self._indexer.make(model)  # a service that starts answers meanwhile
        return taken

    def _exchange(self, model: LoadedModel, index: ItemIndex | None) -> LoadedModel:
        self._engine.take(model, index).result()
        self.model = model
        late, self._late = self._late or [], None
        for start in range(0, len(late), _TOGETHER):
            self._place_some(late[start : start + _TOGETHER])
        self._mover.begin()
        until, now = model.info.learned.until, self._clock()
        self._writer.execute(lambda connection: record_model(connection, model.version, until, now)).result()
        return model


@contextmanager
def opening(store: Store, folder: Path, settings: Settings) -> Iterator[Future[LoadedModel]]:
    """Open a model for a store beside what the block does; given up when the block is left."""
    stopping = threading.Event()
    with ThreadPoolExecutor(1, thread_name_prefix="headrace-opening") as beside:
        try:
            yield beside.submit(_open_for, store, folder, stopping, settings.serving.least_ndcg)
        finally:
            stopping.set()


def _open_for(store: Store, folder: Path, stopping: threading.Event, least_ndcg: float) -> LoadedModel:
    # A folder of its own: a training beside the service writes the other cache at the same time.
    cache = store.path.with_name(f"{store.path.name}.vectors")
    return open_model(folder, store, cache, stopping.is_set, least_ndcg)
