"""Counts on disk beside the store, so that a restart replays only what came since, and how they are read again."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from headrace.core.files import replacing
from headrace.core.settings import RankingSettings
from headrace.data.item_ids import ItemIds
from headrace.data.log import History
from headrace.ranking.behaviour import Behaviour, window_for
from headrace.serving.batch import chunks
from headrace.serving.repeats import Repeats
from headrace.serving.states import Grown, canonical_log, states_of
from headrace.serving.store import Store
from headrace.serving.telemetry import Telemetry
from headrace.serving.user_rows import rows_of
from headrace.serving.warm_states import Arrays, Files, states_path
from headrace.serving.writer import erasures

SNAPSHOT_FORMAT = 1

_REPLAYED_SHARE = 1 / 30
"""Of all events, those that are replayed user by user at most: one takes 85 us, and 2.8 where all are counted anew."""
_REPLAYED_AT_LEAST = 1000
_REPLAYED_TOGETHER = 1000
"""Users."""


def snapshot_path(store: Store) -> Path:
    """Return where the counts of a store are kept."""
    return store.path.with_name(f"{store.path.name}.counts")


def write_snapshot(path: Path, arrays: Arrays, labels: Mapping[str, str]) -> None:
    """Write named arrays; a reader sees the old file or the new one, after a power cut too."""
    with replacing(path) as temporary:
        save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, temporary, dict(labels))
        handle = os.open(temporary, os.O_RDONLY)
        try:
            os.fchmod(handle, 0o600)
            os.fsync(handle)
        finally:
            os.close(handle)


class Snapshots:
    """Writes snapshots in the background, one at a time; used by one thread.

    `saved` is the sequence number that the last one is true for, -1 without one.
    """

    def __init__(self, store: Store, telemetry: Telemetry, *, saved: int) -> None:
        self.saved = saved
        self._paths = (snapshot_path(store), states_path(store))
        self._telemetry = telemetry
        self._thread: threading.Thread | None = None

    def due(self, sequence: int) -> bool:
        """Return whether one of this sequence number would say more, and none is being written."""
        return self.saved != sequence and (self._thread is None or not self._thread.is_alive())

    def write(self, files: Files, sequence: int) -> None:
        """Begin to write arrays and labels into files, after those before; the arrays must not change any more."""
        self.finish()
        self.saved = sequence
        self._thread = threading.Thread(target=self._write, args=(files,), name="headrace-snapshot", daemon=True)
        self._thread.start()

    def finish(self) -> None:
        """Wait for the one that is being written."""
        if self._thread is not None:
            self._thread.join()

    def discard(self) -> None:
        """Delete what is on disk, as it may hold what a forgotten user did."""
        self.finish()
        for path in self._paths:
            path.unlink(missing_ok=True)
        self.saved = -1

    def _write(self, files: Files) -> None:
        try:
            for path, (arrays, labels) in files.items():
                write_snapshot(path, arrays, labels)
        except Exception:  # a full disk, say: the store is whole without a snapshot, and the next may succeed
            self.saved = -1
            self._telemetry.errors.labels("snapshot").inc()
            logging.getLogger(__name__).exception("the counts could not be written to %s", self._paths[0])


def labels_of(store: Store, *, sequence: int, erased: int, window: int) -> dict[str, str]:
    """Return what must be equal for a snapshot to be used, and the sequence number it is true for.

    `erased` is how many users the counts have forgotten, which may lag behind the store during an erasure.
    """
    return {
        "format": str(SNAPSHOT_FORMAT),
        "store": store.read_meta("store_id") or "",
        "erasures": str(erased),
        "window": str(window),
        "sequence": str(sequence),
    }


@dataclass
class Restored:
    """What was counted of the store's events.

    Args:
        behaviour: the counts.
        repeats: how often people come back.
        newest: the time of the newest event, None without any.
        saved: the sequence number that the snapshot is true for; -1 without one.
    """

    behaviour: Behaviour
    repeats: Repeats
    newest: int | None
    saved: int = -1

    def labels(self) -> dict[str, str]:
        """Return all but the counts as text, for a snapshot."""
        return self.repeats.labels() | {"newest": "" if self.newest is None else str(self.newest)}


def restore(store: Store, ids: ItemIds, settings: RankingSettings) -> Restored:
    """Return the counts of every event in the store: from the snapshot and what came since, else counted anew.

    A snapshot that does not belong to this store as it stands (another store, a user erased since, another window) is
    deleted: it may hold what a forgotten user did.
    """
    log = logging.getLogger(__name__)
    last = store.last_sequence()
    window = window_for(last, settings)
    found = _read(store, last=last, window=window)
    if found is not None:
        missing = store.event_rows(after=found.saved)
        if len(missing) <= max(_REPLAYED_SHARE * last, _REPLAYED_AT_LEAST):
            _replay(store, ids, found, [int(key) for key in np.unique(missing["user"])])
            log.info("counts: snapshot of event %d, %d events replayed", found.saved, len(missing))
            return found
    behaviour = Behaviour(window)
    events = canonical_log(store, ids)
    if len(events):
        behaviour.add_log(events)
        behaviour.transitions.compact()
    log.info("counts: %d events counted anew", len(events))
    return Restored(behaviour, Repeats.of_log(events), int(events.times.max()) if len(events) else None)


def _replay(store: Store, ids: ItemIds, found: Restored, keys: list[int]) -> None:
    """Bring the counts of these users from the snapshot's sequence number to the store's last."""
    last = store.last_sequence()
    for some in chunks(keys, _REPLAYED_TOGETHER):
        grown = []
        for state in states_of(rows_of(store, some, last), ids, store.user_ids(some)):
            counted = state.sequences <= found.saved
            old = state.history
            before = History(old.items[counted], old.types[counted], old.values[counted], old.times[counted])
            grown.append(Grown(before, state.history, int(np.argmin(np.append(counted, False)))))
            found.repeats.change(*grown[-1])
        found.behaviour.follow(grown)
    newer = store.newest_time(after=found.saved)
    if newer is not None:
        found.newest = newer if found.newest is None else max(found.newest, newer)


def _read(store: Store, *, last: int, window: int) -> Restored | None:
    path = snapshot_path(store)
    if not path.exists():
        return None
    try:
        with safe_open(path, framework="numpy") as file:
            labels: Mapping[str, str] = file.metadata() or {}
            sequence = int(labels.get("sequence", "0"))
            wanted = labels_of(store, sequence=sequence, erased=erasures(store), window=window)
            if wanted.items() <= labels.items() and sequence <= last:
                arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # not a mapping
                newest = int(labels["newest"]) if labels["newest"] else None
                return Restored(Behaviour.from_state(arrays), Repeats.of_labels(labels), newest, sequence)
    except (SafetensorError, OSError, ValueError) as error:
        logging.getLogger(__name__).warning("the snapshot %s cannot be read (%s); counting anew", path, error)
    path.unlink(missing_ok=True)
    return None
