"""The states of recent users on disk, so that a restart does not read everybody anew.

As with the counts, the file is never the only home of anything: one that does not belong to the store as it stands, or
to the model, is deleted. Users who did something after the event that it is true for are left out.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from headrace.core.settings import ServingSettings
from headrace.serving.arena import Arena
from headrace.serving.models import LoadedModel
from headrace.serving.sides import Side
from headrace.serving.store import Store
from headrace.serving.writer import erasures

STATES_FORMAT = 1

_LATE_AT_MOST = 100_000
"""Events after the one that the states are true for; beyond it they are not worth looking through."""

Arrays: TypeAlias = Mapping[str, NDArray[np.generic]]
Files: TypeAlias = dict[Path, tuple[Arrays, Mapping[str, str]]]
"""What is to be written where: named arrays, and labels."""


def states_path(store: Store) -> Path:
    """Return where the states of a store's users are kept."""
    return store.path.with_name(f"{store.path.name}.states")


def states_file(side: Side, store: Store, settings: ServingSettings, *, sequence: int, erased: int) -> Files:
    """Return the file for the states of the users asked about last: copies, and labels that must be equal to use them.

    Args:
        side: where they are, and of which model.
        store: whose users they are.
        settings: how much of them is kept, and in which precision they are.
        sequence: the last event that the histories hold.
        erased: how many users were forgotten, which may lag behind the store during an erasure.
    """
    labels = _labels(side.model, store, settings, items=len(side.model.vectors), erased=erased)
    return {states_path(store): (side.arena.saved(settings.saved_state_bytes), labels | {"sequence": str(sequence)})}


def restore_states(arena: Arena, model: LoadedModel, store: Store, settings: ServingSettings) -> int:
    """Fill an empty arena from the file, and return of how many users."""
    path, log = states_path(store), logging.getLogger(__name__)
    if not path.exists():
        return 0
    try:
        with safe_open(path, framework="numpy") as file:
            labels: Mapping[str, str] = file.metadata() or {}
            sequence, items = int(labels.get("sequence", "-1")), int(labels.get("items", "0"))
            wanted = _labels(model, store, settings, items=min(items, len(model.vectors)), erased=erasures(store))
            if wanted.items() <= labels.items() and 0 <= sequence <= store.last_sequence():
                later = store.event_rows(after=sequence)["user"]
                if len(later) <= _LATE_AT_MOST:
                    arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # not a mapping
                    taken = arena.restore(arrays, set(later.tolist()))
                    log.info("states: %d users of event %d", taken, sequence)
                    return taken
    except (SafetensorError, OSError, ValueError, KeyError, IndexError) as error:
        log.warning("the states %s cannot be read (%s); users are read anew", path, error)
        arena.clear()
    path.unlink(missing_ok=True)
    return 0


def _labels(model: LoadedModel, store: Store, settings: ServingSettings, *, items: int, erased: int) -> dict[str, str]:
    return {
        "format": str(STATES_FORMAT),
        "store": store.read_meta("store_id") or "",
        "erasures": str(erased),
        "model": model.version,
        "precision": settings.state_precision,
        "items": str(items),
        # An item gets its input vector once, with its first text: what was read of it before is wrong from then on.
        "placed": str(int(model.vectors.placed[:items].sum())),
    }
