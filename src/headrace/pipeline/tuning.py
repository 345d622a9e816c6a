"""Search for the recipe that a dataset wants, train it to the end, and write the model folder."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import msgspec
import optuna

from headrace.core.errors import DataError, FormatError, StoppedError
from headrace.core.files import replacing, replacing_folder
from headrace.core.formats import MODEL_FILE, PLOT_FILE, RECIPE_FILE, TEXT_FOLDER, TUNING_FILE, ModelInfo, Protocol
from headrace.core.settings import Settings
from headrace.data.dataset import Dataset
from headrace.pipeline.fitting import UNWATCHED, write_model
from headrace.pipeline.plots import draw_tuning
from headrace.pipeline.recipe_search import Asked, Search
from headrace.pipeline.recipes import write_recipe
from headrace.pipeline.stage_fitting import Plan
from headrace.pipeline.tuning_record import TuningRecord
from headrace.training.progress import Progress, Watcher

MOST_TRIALS = 100
"""More would fit the noise of the questions between the cuts."""
_ASKED_FILE = "asked.json"


@dataclass(frozen=True)
class Tuned:
    """What a search made: the model that it wrote, what it tried, and whether it drew a plot of that."""

    info: ModelInfo
    record: TuningRecord
    plotted: bool


def tune(
    dataset: Dataset,
    *,
    out: Path,
    settings: Settings,
    protocol: Protocol = "time",
    trials: int = MOST_TRIALS,
    watcher: Watcher = UNWATCHED,
) -> Tuned:
    """Search for a recipe and write the model folder of the best, with `tuning.json`, `recipe.toml` and a plot.

    The first recipe is the one that `train` would take. The best is trained for longer where there is time, and the
    longer training is kept where it is better between the cuts; so the model is there never below the first recipe.

    Args:
        dataset: what to learn from; users marked as bots are left out.
        out: the folder to write; it appears when all is done. The search stands in a hidden folder beside it.
        settings: `training.minutes` covers everything; `training.steps`, where given, are those of every fitted stage.
        protocol: as for `train`.
        trials: at most so many.
        watcher: hears of the progress and may stop it.

    Raises:
        DataError: too little to choose by, or no times where the protocol needs them.
        FormatError: `out` holds something else.
        ModelError: the loss of every recipe is not a number.
        StoppedError: the watcher said so; `resume` goes on.
    """
    asked = Asked(settings=settings, protocol=protocol, fingerprint=dataset.report.fingerprint, trials=trials)
    workspace = _workspace(out)
    shutil.rmtree(workspace, ignore_errors=True)
    return _run(dataset, out, asked, watcher)


def resume(dataset: Dataset, *, out: Path, watcher: Watcher = UNWATCHED) -> Tuned:
    """Go on with a search that was stopped, within what is left of its minutes; the trials done are kept.

    Args:
        dataset: the same.
        out: the same.
        watcher: as for `tune`.

    Raises:
        FormatError: no search beside `out`.
        DataError: another dataset.
    """
    path = _workspace(out) / _ASKED_FILE
    if not path.is_file():
        raise FormatError(f"--resume needs the trials of a stopped search, {path.parent} has none; leave it out")
    asked = msgspec.json.decode(path.read_bytes(), type=Asked)
    if asked.fingerprint != dataset.report.fingerprint:
        raise DataError(
            f"--resume needs the dataset that the search began with ({asked.fingerprint}), {dataset.path} is another "
            f"({dataset.report.fingerprint}); tune without --resume"
        )
    return _run(dataset, out, asked, watcher)


def _run(dataset: Dataset, out: Path, asked: Asked, watcher: Watcher) -> Tuned:
    workspace = _workspace(out)
    with replacing_folder(out, MODEL_FILE) as folder, _quiet_optuna():
        with replacing(workspace / _ASKED_FILE) as temporary:
            temporary.write_bytes(msgspec.json.encode(asked))
        search = Search(dataset, asked, workspace, watcher)
        try:
            search.read()
            search.try_recipes()
            fitting, choices = search.train_winner()
            info = write_model(fitting, choices, dataset.items(), workspace / TEXT_FOLDER, folder)
        except StoppedError:
            raise StoppedError(
                f"the search was stopped; trials that ended and are kept: {len(search.done())}; go on with "
                "`headrace tune DATASET --out MODEL --resume`, both the same"
            ) from None
        finally:
            search.note_time()
        tuned = Tuned(info, search.record(choices), find_spec("matplotlib") is not None)
        _write_findings(tuned, fitting.plan, folder)
        watcher.report(Progress(stage="done", share=1.0))
    shutil.rmtree(workspace)
    return tuned


def _write_findings(tuned: Tuned, plan: Plan, folder: Path) -> None:
    training = msgspec.structs.replace(plan.settings.training, steps=plan.steps, threads=plan.threads)
    command = f"headrace train DATASET --out MODEL --protocol {plan.protocol} --config {RECIPE_FILE}"
    (folder / RECIPE_FILE).write_text(write_recipe(training, command=command), encoding="utf-8")
    (folder / TUNING_FILE).write_bytes(msgspec.json.format(msgspec.json.encode(tuned.record)) + b"\n")
    if tuned.plotted:
        (folder / PLOT_FILE).write_bytes(draw_tuning(tuned.record))


@contextmanager
def _quiet_optuna() -> Iterator[None]:
    """Within the block Optuna logs warnings only; it tells of every study and trial otherwise."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)


def _workspace(out: Path) -> Path:
    return out.with_name(f".{out.name}.tuning")
