"""Make the lists of items by users behind the service, whenever a model comes or many items have changed."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import pairwise

import numpy as np

from headrace.core.errors import StoppedError
from headrace.data.log import Floats, History
from headrace.ranking.item_index import EXACT_UP_TO, ItemIndex
from headrace.serving.arena import Arena, Asked
from headrace.serving.engine import Engine
from headrace.serving.models import LoadedModel
from headrace.serving.store import Store
from headrace.serving.user_rows import rows_of

_USERS = 4352
"""Users whose states the lists are made of, and held against."""
_TOGETHER = 8
"""Users after whom it pauses: 4 ms."""
_SHARE = 0.25
"""Of a core's time, what making lists may take."""


class _Pause:
    """Called between portions of the work, it waits as long as asks for no more than `_SHARE` of a core's time."""

    def __init__(self, stopping: threading.Event) -> None:
        """`stopping` ends the work.

        Raises (when called):
            StoppedError: it is set.
        """
        self._stopping = stopping
        self._began = time.perf_counter()

    def __call__(self) -> None:
        worked = time.perf_counter() - self._began
        if self._stopping.wait(worked * (1 / _SHARE - 1)):
            raise StoppedError("the service is stopping")
        self._began = time.perf_counter()


class Indexer:
    """One thread that makes lists, one after the other."""

    def __init__(self, store: Store, engine: Engine, clock: Callable[[], int]) -> None:
        """`clock` gives microseconds UTC."""
        self._store = store
        self._engine = engine
        self._clock = clock
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="headrace-index")
        self._stopping = threading.Event()
        self._making: Future[ItemIndex | None] | None = None
        self._rows = 0

    def make(self, model: LoadedModel) -> Future[ItemIndex | None]:
        """Make lists for a model, and let the engine look through them from then on; None where it looks at all."""
        self._rows = len(model.vectors)
        self._making = self._worker.submit(self._make, model)
        return self._making

    def look(self, model: LoadedModel) -> None:
        """Make the lists anew where so many items have changed or come that too many are looked at for everybody."""
        index, making = self._engine.answering.indexed, self._making
        # Where lists did not help they are not tried again for each item that comes; the next model tries.
        rows, first = len(model.vectors), self._rows <= EXACT_UP_TO
        late = rows > EXACT_UP_TO and first if index is None else index.late(rows)
        if late and (making is None or making.done()):
            self.make(model)

    def stop(self) -> None:
        """Give up what is being made, and end."""
        self._stopping.set()
        self._worker.shutdown(wait=True, cancel_futures=True)

    def build(self, model: LoadedModel) -> ItemIndex | None:
        """Return lists for a model that does not serve yet; None where it shall look at all items.

        Raises:
            StoppedError: the service is stopping.
        """
        self._rows = len(model.vectors)
        if len(model.vectors) <= EXACT_UP_TO:
            return None
        pause = _Pause(self._stopping)
        return ItemIndex.build(model.vectors.outputs, self._users(model, pause), pause)

    def _make(self, model: LoadedModel) -> ItemIndex | None:
        if len(model.vectors) <= EXACT_UP_TO:
            return None
        try:
            self._engine.run(self._engine.answering.moved).result()
            index = self.build(model)
            self._engine.run(lambda: self._engine.answering.index(model, index)).result()
        except StoppedError:
            return None
        except Exception:  # logged, whatever it was; nobody waits here, and answers go on with all items
            logging.getLogger(__name__).exception("lists of items could not be made: every item is looked at")
            return None
        return index

    def _users(self, model: LoadedModel, pause: _Pause) -> Floats:
        """Return (B, D) the states of users drawn at random, as they would ask now."""
        n_users = self._store.last_user()
        keys = np.random.default_rng(n_users).permutation(n_users)[:_USERS] + 1
        found, now = [np.zeros((0, model.info.shape.width), np.float32)], self._clock()
        room = Arena(model.network, model.stepper, model.vectors, limit=0, precision="half")
        for start in range(0, len(keys), _TOGETHER):
            histories = self._histories(keys[start : start + _TOGETHER].tolist())
            if histories:
                found.append(room.users([Asked(None, history, now) for history in histories]))
            pause()
        return np.concatenate(found)

    def _histories(self, keys: Sequence[int]) -> list[History]:
        rows = rows_of(self._store, keys, self._engine.applied)
        rows = rows[np.lexsort((rows["sequence"], rows["time"], rows["user"]))]
        history = History(
            rows["item"].astype(np.int32),
            rows["type"].astype(np.int32),
            rows["value"].astype(np.float32),
            rows["time"].astype(np.int64),
        )
        bounds = np.flatnonzero(np.diff(rows["user"], prepend=-1, append=-1)).tolist()
        return [history.part(first, last) for first, last in pairwise(bounds)]
