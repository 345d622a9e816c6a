"""What several commands share: their options, the settings in force, and reading a history."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from headrace.core.errors import SettingsError
from headrace.core.formats import Protocol
from headrace.core.settings import Plain, Settings, load_settings

if TYPE_CHECKING:
    from headrace.data.dataset import Dataset

ConfigOption: TypeAlias = Annotated[
    Path | None,
    typer.Option("--config", metavar="FILE", help="The settings file; headrace.toml of this folder if it is there."),
]
ProtocolOption: TypeAlias = Annotated[
    Protocol | None,
    typer.Option(help="What to learn from: all before the last tenth (time), all but each user's last, or all."),
]
HistoryOption: TypeAlias = Annotated[
    Path | None, typer.Option("--history", metavar="DATASET", help="Read the users' events from this dataset.")
]
StoreOption: TypeAlias = Annotated[
    str | None, typer.Option("--store", metavar="URL", help="Read the users' events from a service's store.")
]

API_KEY = "HEADRACE_API_KEY"
"""The environment variable of the secret that clients must send; it is no setting, so that no file holds it."""


def settings_of(config: Path | None, flags: Mapping[str, Plain | None] = {}) -> Settings:
    """Return the settings in force: flags over environment over file over defaults."""
    return load_settings(config, flags=flags, environment=os.environ)


def api_key() -> str | None:
    """Return the key of the environment, None where it is absent or empty."""
    return os.environ.get(API_KEY) or None


def service_url(given: str | None, config: Path | None) -> str:
    """Return the address of the service: the one given, or where the settings let it listen."""
    if given is not None:
        return given
    from headrace.app.listening import address_at

    serving = settings_of(config).serving
    return address_at(serving.host, serving.port)


def history_of(history: Path | None, store: str | None, settings: Settings) -> Dataset:
    """Open the dataset, or read the store into one that lives as long as the process.

    Raises:
        SettingsError: neither is given, or both.
    """
    from headrace.data.dataset import Dataset
    from headrace.pipeline.preparation import prepare

    if history is not None and store is None:
        return Dataset.open(history)
    if store is not None and history is None:
        return prepare(store, settings=settings.data)
    given = "none" if history is None else "both"
    raise SettingsError(f"one of --history DATASET and --store URL is needed to know the users, {given} came")
