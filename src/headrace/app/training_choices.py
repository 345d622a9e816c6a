"""What one choice for a training implies for another, in the command line and in Python alike."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import msgspec

from headrace.core.errors import NotReadyError
from headrace.core.formats import MODEL_FILE, MODEL_FORMAT, ModelInfo, read_document
from headrace.core.settings import Settings, TrainingSettings
from headrace.training.presets import PRESETS

_TRAIN = "headrace train DATASET --out MODEL"


def require_torch() -> None:
    """Raise a `NotReadyError` where PyTorch is not installed."""
    if find_spec("torch") is None:
        raise NotReadyError("training needs PyTorch, it is not installed; run `pip install 'headrace[train]'`")


def require_optuna() -> None:
    """Raise a `NotReadyError` where Optuna is not installed."""
    if find_spec("optuna") is None:
        raise NotReadyError("tuning needs Optuna, it is not installed; run `pip install 'headrace[train,tune]'`")


def training_choices(settings: Settings, *, minutes_asked: bool, from_model: Path | None) -> Settings:
    """Return the settings that a training follows.

    Args:
        settings: those in force.
        minutes_asked: whether this call names the minutes; they then beat the steps of a file, which would beat them.
        from_model: the model to begin with; `auto` takes its preset and sizes, as weights of others are of no use.

    Raises:
        FormatError: `from_model` is no model folder.
    """
    training = settings.training
    if minutes_asked:
        training = msgspec.structs.replace(training, steps=None)
    if from_model is not None and training.preset == "auto":
        info = read_document(from_model / MODEL_FILE, ModelInfo, MODEL_FORMAT, _TRAIN)
        training = msgspec.structs.replace(training, preset=next((p for p in PRESETS if p == info.preset), "auto"))
        training = _of_sizes(training, info)
    return msgspec.structs.replace(settings, training=training)


def _of_sizes(training: TrainingSettings, info: ModelInfo) -> TrainingSettings:
    """Return the settings with the sizes of a model that differ from those of its preset, as tuning leaves them."""
    if training.preset == "auto":
        return training
    preset = PRESETS[training.preset]
    sizes = {name: getattr(info.shape, name) for name in ("width", "layers", "heads", "window")}
    given = {n: size for n, size in sizes.items() if getattr(training, n) is None and size != getattr(preset, n)}
    return msgspec.structs.replace(training, **given)
