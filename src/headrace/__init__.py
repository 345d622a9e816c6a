"""Headrace: a self-hosted, real-time recommender built on Transformers.

Four verbs make the whole way, `prepare`, `train`, `evaluate`, `load`; the heavy parts load when a name is first used.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from headrace.app.python import evaluate, load, prepare, train
    from headrace.core.errors import (
        ConflictError,
        DataError,
        FormatError,
        HeadraceError,
        LateError,
        LeakError,
        ModelError,
        NotFoundError,
        NotReadyError,
        OverloadedError,
        SettingsError,
        StoppedError,
        StoreError,
    )
    from headrace.core.types import Event, Item, Recommendation
    from headrace.data.dataset import Dataset
    from headrace.pipeline.assessment import Report
    from headrace.pipeline.model import Model

__version__ = version("headrace")

__all__ = [
    "ConflictError",
    "DataError",
    "Dataset",
    "Event",
    "FormatError",
    "HeadraceError",
    "Item",
    "LateError",
    "LeakError",
    "Model",
    "ModelError",
    "NotFoundError",
    "NotReadyError",
    "OverloadedError",
    "Recommendation",
    "Report",
    "SettingsError",
    "StoppedError",
    "StoreError",
    "__version__",
    "evaluate",
    "load",
    "prepare",
    "train",
]

_HOMES = {
    "Dataset": "headrace.data.dataset",
    "Event": "headrace.core.types",
    "Item": "headrace.core.types",
    "Model": "headrace.pipeline.model",
    "Recommendation": "headrace.core.types",
    "Report": "headrace.pipeline.assessment",
    "evaluate": "headrace.app.python",
    "load": "headrace.app.python",
    "prepare": "headrace.app.python",
    "train": "headrace.app.python",
}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module 'headrace' has no attribute {name!r}")
    return getattr(import_module(_HOMES.get(name, "headrace.core.errors")), name)


def __dir__() -> list[str]:
    return __all__
