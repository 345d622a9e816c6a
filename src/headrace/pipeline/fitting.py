"""Train a model from a dataset: choose between the cuts, learn again with those choices, write the model folder."""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec
import polars as pl

from headrace.core.errors import DataError, FormatError
from headrace.core.files import replacing, replacing_folder
from headrace.core.formats import FITTED_FOLDER, MODEL_FILE, TEXT_FOLDER, ModelInfo, Protocol
from headrace.core.settings import Settings
from headrace.data.dataset import Dataset
from headrace.pipeline.model_folder import write_stage
from headrace.pipeline.stage_fitting import Choices, Fitting, Plan
from headrace.training.progress import Progress, Unwatched, Watcher

UNWATCHED = Unwatched()
_PLAN_FILE = "plan.json"


def train(
    dataset: Dataset,
    *,
    out: Path,
    settings: Settings,
    protocol: Protocol = "time",
    from_model: Path | None = None,
    watcher: Watcher = UNWATCHED,
) -> ModelInfo:
    """Train a model and write its folder.

    Args:
        dataset: what to learn from; users marked as bots are left out.
        out: the folder to write; it appears when all is done. Checkpoints stand in a hidden folder beside it.
        settings: `training.minutes` covers everything, from reading texts to writing; `training.steps` are the steps
            of the fitted stage, the next takes as many epochs as that one's best. Without either, 10 minutes.
        protocol: what to learn from: `time` and `leave-one-out` leave a test, `all` leaves nothing.
        from_model: begin with the weights of this model; items keep the vectors of their ids.
        watcher: hears of the progress and may stop it.

    Raises:
        DataError: too little to learn from, or no times where the protocol needs them.
        FormatError: `out` holds something else.
        ModelError: the loss is not a number.
        StoppedError: the watcher said so; `resume` goes on.
    """
    plan = Plan(
        settings=settings,
        protocol=protocol,
        fingerprint=dataset.report.fingerprint,
        from_model=None if from_model is None else str(from_model),
    )
    discard_checkpoint(out)
    return _run(dataset, out, plan, watcher)


def resume(dataset: Dataset, *, out: Path, watcher: Watcher = UNWATCHED) -> ModelInfo:
    """Go on with a training that was stopped, to the very same numbers; settings and protocol are those it began with.

    Args:
        dataset: the same.
        out: the same.
        watcher: as for `train`.

    Raises:
        FormatError: no checkpoint beside `out`.
        DataError: another dataset.
    """
    path = _workspace(out) / _PLAN_FILE
    if not path.is_file():
        raise FormatError(f"--resume needs the checkpoint of a stopped training, {path.parent} has none; leave it out")
    plan = msgspec.json.decode(path.read_bytes(), type=Plan)
    if plan.fingerprint != dataset.report.fingerprint:
        raise DataError(
            f"--resume needs the dataset that the training began with ({plan.fingerprint}), "
            f"{dataset.path} is another ({dataset.report.fingerprint}); train without --resume"
        )
    return _run(dataset, out, plan, watcher)


def can_resume(out: Path) -> bool:
    """Return whether a stopped training of `out` left a checkpoint."""
    return (_workspace(out) / _PLAN_FILE).is_file()


def discard_checkpoint(out: Path) -> None:
    """Remove what a stopped or failed training of `out` left, if anything."""
    shutil.rmtree(_workspace(out), ignore_errors=True)


def _run(dataset: Dataset, out: Path, plan: Plan, watcher: Watcher) -> ModelInfo:
    workspace = _workspace(out)
    with replacing_folder(out, MODEL_FILE) as folder:
        workspace.mkdir(parents=True, exist_ok=True)
        fitting = Fitting(dataset, plan, workspace, watcher)
        with replacing(workspace / _PLAN_FILE) as temporary:
            temporary.write_bytes(msgspec.json.encode(fitting.plan))
        info = write_model(fitting, fitting.fit_first(), dataset.items(), workspace / TEXT_FOLDER, folder)
        watcher.report(Progress(stage="done", share=1.0))
    shutil.rmtree(workspace)
    return info


def write_model(fitting: Fitting, choices: Choices, items: pl.DataFrame, texts: Path, folder: Path) -> ModelInfo:
    """Learn again with the choices, and write the whole model.

    Args:
        fitting: has fitted its first stage.
        choices: of that stage.
        items: the dataset's.
        texts: the folder of the text encoder, which need not be there.
        folder: where to; empty.
    """
    last = fitting.fit_last(choices)
    info = last.info
    write_stage(last, items, folder)
    del last  # before the other stage is counted: the counts are the largest part of a large model
    (folder / FITTED_FOLDER).mkdir()
    write_stage(fitting.trained(), items, folder / FITTED_FOLDER)
    if texts.is_dir():
        shutil.copytree(texts, folder / TEXT_FOLDER)
    return info


def _workspace(out: Path) -> Path:
    return out.with_name(f".{out.name}.training")
