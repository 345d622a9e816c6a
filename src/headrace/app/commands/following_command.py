"""`headrace train --follow`: the pieces of its rounds, from the commands `prepare`, `train` and `swap`."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from headrace.app.commands.options import api_key
from headrace.core.errors import SettingsError, StoppedError
from headrace.core.formats import REPORT_FILE, Protocol
from headrace.core.settings import Settings

if TYPE_CHECKING:
    from headrace.app.fine_tuning import FineTuning
    from headrace.data.dataset import Dataset

_TRAINING_SHARE = 0.5
"""Of the minutes between two rounds; the service has the rest of them, and the cores, for itself."""
_MOST_MINUTES = 10.0
"""Without --minutes; as long as `headrace train` takes."""
_YEAR_MINUTES = 525_600.0


class Following(msgspec.Struct, frozen=True):
    """What `--follow` was asked for.

    Args:
        source: a store, or a dataset that something else renews.
        out: the folder of the versions.
        start: the model that the first version begins with.
        protocol: what each version learns from.
        settings: those in force.
        url: of the service that takes the versions.
    """

    source: str
    out: Path
    start: Path | None
    protocol: Protocol
    settings: Settings
    url: str


def follow_source(asked: Following, minutes: float) -> None:
    """Train and offer a version every so many minutes, until Ctrl-C or SIGTERM.

    Raises:
        SettingsError: the minutes are not above 0, or more than a year.
        FormatError: `out` is itself a model.
    """
    if not 0 < minutes <= _YEAR_MINUTES:
        raise SettingsError(f"--follow must be above 0 and up to {_YEAR_MINUTES:,.0f} minutes, got {minutes}")
    from headrace.app.terminal import say
    from headrace.app.watching import stopping_on_signals

    stopping = threading.Event()
    rounds = fine_tuning(_within(asked, minutes), stopping)
    say(f"A round every {minutes:g} minutes: {asked.source} to {asked.out}, offered to {asked.url} (Ctrl-C stops)")
    with stopping_on_signals(stopping.set, "Stopping ..."):
        rounds.run(minutes * 60, stopping.wait)
    say("Stopped; the same command goes on from here.")


def fine_tuning(asked: Following, stopping: threading.Event) -> FineTuning:
    """Return the rounds; `stopping` gives up the one that is under way.

    Raises:
        FormatError: `out` is itself a model.
    """
    from headrace.app.calling import request_swap
    from headrace.app.fine_tuning import FineTuning
    from headrace.app.model_versions import ModelVersions
    from headrace.app.terminal import ProgressLine
    from headrace.app.training_choices import training_choices
    from headrace.app.watching import Watch
    from headrace.data.dataset import Dataset
    from headrace.pipeline import fitting
    from headrace.pipeline.preparation import prepare

    def read(folder: Path) -> Dataset:
        given = Path(asked.source)
        found = (
            Dataset.open(given)
            if (given / REPORT_FILE).exists()
            else prepare(asked.source, out=folder, settings=asked.settings.data)
        )
        if stopping.is_set():
            raise StoppedError("the round was stopped while it read; the same command begins again")
        return found

    def train(dataset: Dataset, out: Path, start: Path | None) -> None:
        settings = training_choices(asked.settings, minutes_asked=False, from_model=start)
        try:
            with ProgressLine("training") as line:
                watch = Watch(line, None, stopping=stopping)
                fitting.train(
                    dataset, out=out, settings=settings, protocol=asked.protocol, from_model=start, watcher=watch
                )
        finally:
            fitting.discard_checkpoint(out)  # the next round has another dataset, so that nothing can resume it

    def offer(version: Path) -> str:
        return request_swap(asked.url, version, api_key())

    asked.out.mkdir(parents=True, exist_ok=True)
    return FineTuning(ModelVersions(asked.out), begin_with=asked.start, read=read, train=train, offer=offer)


def _within(asked: Following, minutes: float) -> Following:
    """Bound each training by a share of the minutes between two rounds, unless a length was chosen."""
    training = asked.settings.training
    if training.minutes is not None or training.steps is not None:
        return asked
    share = min(minutes * _TRAINING_SHARE, _MOST_MINUTES)
    bounded = msgspec.structs.replace(training, minutes=share)
    return msgspec.structs.replace(asked, settings=msgspec.structs.replace(asked.settings, training=bounded))
