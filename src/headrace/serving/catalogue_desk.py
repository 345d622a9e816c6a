"""Items that come in: stored first, then encoded, one at a time, by the model that serves; and the swap of models.

One thread does both, so that an item that changes during a swap is placed in the new model, after the exchange.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path

from headrace.core.types import Item
from headrace.serving.engine import Engine
from headrace.serving.models import LoadedModel, open_model
from headrace.serving.store import Store, StoredItem
from headrace.serving.writer import Writer, record_model

_PATIENCE_S = 5.0
"""How long a PUT waits for its text to be encoded; after it the item is listed without its vector for a while."""
_WAITED_FOR = 32
"""Longer lists of items are encoded behind the answer."""


class CatalogueDesk:
    """Changes the catalogue and the model; safe from any thread."""

    def __init__(self, store: Store, writer: Writer, engine: Engine, clock: Callable[[], int]) -> None:
        self._store = store
        self._writer = writer
        self._engine = engine
        self._clock = clock
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="headrace-content")
        self.model: LoadedModel | None = None

    def put(self, items: Sequence[Item]) -> list[StoredItem]:
        """Store items and place them in the model; returns them as stored, one for each distinct id."""
        return self._place(self._writer.upsert_items(items).result())

    def patch(self, item_id: str, changes: Mapping[str, object]) -> StoredItem:
        """Change some fields of an item; see `Batch.patch_item`."""
        return self._place([self._writer.patch_item(item_id, changes).result()])[0]

    def delete(self, item_id: str) -> None:
        """Take an item out of the catalogue; see `Batch.delete_item`."""
        self._writer.delete_item(item_id).result()

    def take(self, folder: Path) -> LoadedModel:
        """Load, check and warm a model, exchange it, and return it; see `open_model` for what is refused."""
        return self._worker.submit(self._take, folder).result()

    def stop(self) -> None:
        """Finish what was begun and end."""
        self._worker.shutdown(wait=True, cancel_futures=True)

    def _place(self, stored: list[StoredItem]) -> list[StoredItem]:
        told = [one for one in stored if one.item.content_text()]
        placed: list[Future[None]] = [self._worker.submit(self._place_one, one) for one in told]
        if len(placed) <= _WAITED_FOR:
            wait(placed, timeout=_PATIENCE_S)
        return stored

    def _place_one(self, stored: StoredItem) -> None:
        model = self.model
        if model is None or model.encoder is None or model.has_learned(stored.key):
            return
        try:
            self._engine.place(model, stored.key, stored.item).result()
        except Exception:  # the item is stored and acknowledged; a worker's error would reach nobody else
            logging.getLogger(__name__).exception("item %r could not be placed in the model", stored.item.item_id)

    def _take(self, folder: Path) -> LoadedModel:
        items = self._store.all_items()
        # A folder of its own: a training beside the service writes the other cache at the same time.
        cache = self._store.path.with_name(f"{self._store.path.name}.vectors")
        model = open_model(folder, [one.item for one in items], list(self._store.types), cache)
        self._engine.take(model).result()
        self.model = model
        until, now = model.info.learned.until, self._clock()
        self._writer.execute(lambda connection: record_model(connection, model.version, until, now)).result()
        return model
