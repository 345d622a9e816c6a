"""The verbs of `import headrace`: the pipelines under the names and with the defaults that Python users expect."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from headrace.core.errors import SettingsError
from headrace.core.formats import Protocol
from headrace.core.settings import Plain, load_settings
from headrace.data.dataset import Dataset
from headrace.pipeline.model import Model

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl

    from headrace.core.settings import Settings
    from headrace.pipeline.assessment import Report


def prepare(
    events: str | Path | pl.DataFrame | pd.DataFrame,
    items: str | Path | pl.DataFrame | pd.DataFrame | None = None,
    *,
    out: str | Path | None = None,
    columns: dict[str, str] | None = None,
    **settings: Plain,
) -> Dataset:
    """Clean events and a catalogue.

    Args:
        events: a file, a folder, a store's URL or a frame.
        items: the catalogue, likewise.
        out: the folder to write; None takes a temporary one that lasts as long as the process.
        columns: names of the columns for `user`, `item`, `time`, `type` and `value` where they are unusual.
        settings: fields of `[data]`, such as `timezone="Europe/Paris"`.

    Raises:
        DataError: no such file, an empty or unreadable one, or no column for users or items.
    """
    from headrace.pipeline.preparation import prepare as run

    chosen = _settings("data", settings).data
    return run(events, items=items, out=out, settings=chosen, columns=columns or {})


def train(
    data: Dataset | str | Path,
    out: str | Path,
    *,
    protocol: Protocol = "time",
    from_model: str | Path | None = None,
    **settings: Plain,
) -> Model:
    """Train the Transformer and write a model folder; needs the extra `headrace[train]`.

    Args:
        data: a dataset or its folder.
        out: the model folder to write.
        protocol: what to learn from; `all` is the one to serve, `time` and `leave-one-out` can be evaluated.
        from_model: start from the weights of this model folder.
        settings: fields of `[training]`, such as `minutes=10`.

    Raises:
        DataError: the data is too small, or has no times and the protocol needs them.
        ModelError: the loss is not a number; the message says what to try.
        NotReadyError: PyTorch is not installed.
        SettingsError: no such protocol, or no such setting.
    """
    from headrace.app.training_choices import require_torch, training_choices

    require_torch()
    if protocol not in get_args(Protocol):
        raise SettingsError(f"the protocol must be one of {', '.join(get_args(Protocol))}, got {protocol!r}")
    from headrace.pipeline.fitting import train as run

    dataset = data if isinstance(data, Dataset) else Dataset.open(data)
    start = None if from_model is None else Path(from_model)
    given = _settings("training", settings)
    chosen = training_choices(given, minutes_asked="minutes" in settings and "steps" not in settings, from_model=start)
    run(dataset, out=Path(out), settings=chosen, protocol=protocol, from_model=start)
    return load(out)


def evaluate(model: Model | str | Path, data: Dataset | str | Path) -> Report:
    """Rank the full catalogue for the events that the model has not learned from, beside the traditional methods.

    Raises:
        LeakError: the model has learned from the events that it would be scored on.
    """
    from headrace.pipeline.assessment import evaluate as run

    folder = model.path if isinstance(model, Model) else Path(model)
    dataset = data if isinstance(data, Dataset) else Dataset.open(data)
    return run(folder, dataset, settings=_settings("ranking", {}))


def load(path: str | Path) -> Model:
    """Load a model folder; needs no PyTorch.

    Raises:
        FormatError: no such folder, a file missing, or of another format.
    """
    return Model.open(path, settings=_settings("ranking", {}))


def _settings(section: str, values: dict[str, Plain]) -> Settings:
    flags: dict[str, Plain | None] = {f"{section}.{name}": value for name, value in values.items()}
    return load_settings(flags=flags, environment=os.environ)
