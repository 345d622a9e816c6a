"""Fine-tune a model on what came since, each so many minutes, and offer every version to the service.

Only the loop stands here; what reads the store, trains, offers and waits is handed in.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import polars as pl

from headrace.app.machine_faults import foreseen_fault
from headrace.app.model_versions import ModelVersions
from headrace.app.terminal import say, warn
from headrace.core.errors import HeadraceError, ModelError, StoppedError
from headrace.core.files import private_folder
from headrace.core.formats import MODEL_FILE, MODEL_FORMAT, Learned, ModelInfo, read_document
from headrace.data.dataset import Dataset

Read: TypeAlias = Callable[[Path], Dataset]
"""Writes what the source holds now as a dataset into this folder, or finds it elsewhere."""
Train: TypeAlias = Callable[[Dataset, Path, Path | None], None]
"""Trains on a dataset, into a model folder, from another one or from nothing."""
Offer: TypeAlias = Callable[[Path], str]
"""Hands a model folder to the service and returns what to say; raises a `HeadraceError` where it is not taken."""

_TRAIN = "headrace train DATASET --out MODEL"


class FineTuning:
    """Rounds of reading, training and offering. What it knows between them stands in its folder, so a restart goes on.

    The personal data of a round lives in a hidden folder that only its owner can read, and is gone before the version
    is offered; what a killed process left of it is gone when the next round begins.
    """

    def __init__(
        self, versions: ModelVersions, *, begin_with: Path | None, read: Read, train: Train, offer: Offer
    ) -> None:
        """Say how.

        Args:
            versions: where the models are kept.
            begin_with: the model that the first version begins with; None trains it from nothing.
            read: called with a folder that is deleted at the end of the round; its name becomes the model's.
            train: the next version begins with the one that serves, or with the newest while none was taken.
            offer: called with a version that is not taken yet.
        """
        self._versions = versions
        self._begin_with = begin_with
        self._read = read
        self._train = train
        self._offer = offer
        self._afresh = False

    def run(
        self, every_s: float, wait: Callable[[float], bool], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Begin a round every `every_s` seconds, or at once where one took longer, until stopped.

        Args:
            every_s: seconds from the begin of one round to that of the next.
            wait: waits so many seconds, less if it is told to stop, and returns whether it was.
            clock: seconds.
        """
        while True:
            begun = clock()
            try:
                self.round()
            except StoppedError:
                return
            if wait(max(0.0, every_s - (clock() - begun))):
                return

    def round(self) -> None:
        """Learn from what came since the newest version, if anything did, and offer what the service has not taken.

        What fails is said in one line and left to the next round.

        Raises:
            StoppedError: the training was stopped.
        """
        try:
            with private_folder(self._versions.root / "round") as home:
                self._learn(self._read(home / self._versions.root.name))
        except StoppedError:
            raise
        except Exception as error:  # as in `command_line`: what is not foreseen is raised on
            fault = foreseen_fault(error)
            if fault is None:
                raise
            warn(f"This round trained nothing, the next one tries again: {fault}")
        self._offer_newest()
        self._versions.remove_old()

    def _learn(self, dataset: Dataset) -> None:
        """Train the next version, unless nothing came since the last."""
        last, news = self._versions.newest or self._begin_with, ""
        if last is not None:
            came = unlearned_events(dataset, _learned(last))
            if not came:
                say(f"No event came since {last} was trained.")
                return
            news = f", {came:,} of them new"
        version, start = self._versions.following(), None if self._afresh else self._versions.taken or last
        say(f"Training {version} from {start or 'nothing'} on {dataset.report.kept:,} events{news} ...")
        try:
            self._train(dataset, version, start)
        except ModelError:
            # Its weights do not fit what the store holds now (a catalogue came, say), or the loss ran away.
            self._afresh = start is not None
            raise
        self._afresh = False

    def _offer_newest(self) -> None:
        version = self._versions.newest
        if version is None or version == self._versions.taken:
            return
        try:
            said = self._offer(version)
        except HeadraceError as error:
            warn(f"{version} was not taken, the service goes on as it was: {error}")
            return
        self._versions.take(version)
        say(said)


def unlearned_events(dataset: Dataset, learned: Learned) -> int:
    """Return how many events of a dataset a model has not learned from; at least, where users were erased since.

    Events that are late or dated in the future change the number of all of them, and erased users the latest time, so
    that one of the two shows what came. Users marked as bots do not count.

    Args:
        dataset: what the source holds now.
        learned: what the model says of itself.
    """
    if dataset.report.fingerprint == learned.fingerprint:
        return 0
    learnable = dataset.events().filter(~pl.col("bot"))
    later = pl.col("time") > learned.until
    now, after = learnable.select(pl.len(), later.sum().alias("later")).collect().row(0)
    return int(max(after, now - learned.events, 0))


def _learned(model: Path) -> Learned:
    return read_document(model / MODEL_FILE, ModelInfo, MODEL_FORMAT, _TRAIN).learned
