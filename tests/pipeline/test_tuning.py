"""A search for a recipe: what is tried first, what wins, what is given up, what a stop keeps, what is never asked."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
import optuna
import polars as pl
import pytest
import torch
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from safetensors.numpy import load_file

from headrace.core.errors import DataError, FormatError, ModelError, StoppedError
from headrace.core.settings import ContentSettings, Settings, TrainingSettings, load_settings
from headrace.data.dataset import Dataset
from headrace.data.splits import cuts
from headrace.data.synthetic import ring, tribes
from headrace.pipeline import recipe_search, tuning
from headrace.pipeline.fitting import train
from headrace.pipeline.preparation import prepare
from headrace.pipeline.stage_fitting import Choices, Fitting
from headrace.pipeline.tuning import Tuned, resume, tune
from headrace.pipeline.tuning_record import Tried, TuningRecord
from headrace.ranking.network import Network
from headrace.training.presets import PRESETS
from headrace.training.progress import Progress

TRIALS = 5
CHECKS = 8
SETTINGS = Settings(
    training=TrainingSettings(preset="tiny", steps=16, minutes=60, batch_events=512, threads=1),
    content=ContentSettings(text_model="none"),
)
TIMED = msgspec.structs.replace(SETTINGS, training=msgspec.structs.replace(SETTINGS.training, steps=None))
START = {
    "width": 32, "layers": 1, "heads": 2, "window": 50, "batch_events": 512, "learning_rate": 4e-3, "dropout": 0.1,
    "id_dropout": 0.1, "unknown_time": 0.2,
}  # fmt: skip
BAD = START | {"width": 16, "batch_events": 256, "learning_rate": 1e-3, "dropout": 0.5, "id_dropout": 0.5}


FIT_FIRST = Fitting.fit_first


class Recorder:
    """Remembers the progress, and stops at a step of a trial, or of a stage after the search."""

    def __init__(self, stage: str = "", step: int = 0) -> None:
        self.seen: list[Progress] = []
        self._stop = (stage, step)

    def report(self, progress: Progress) -> None:
        self.seen.append(progress)

    def stopped(self) -> bool:
        stage, step = self._stop
        return bool(self.seen and stage and self.seen[-1].stage.startswith(stage) and self.seen[-1].step == step)

    def stages(self) -> set[str]:
        return {progress.stage.partition(" (")[0] for progress in self.seen}


class Heard(logging.Handler):
    """Keeps what is logged."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


class Searched(NamedTuple):
    tuned: Tuned
    folder: Path
    seen: list[Progress]


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return prepare(tribes(40, 60, 12)[0], out=tmp_path_factory.mktemp("tribes") / "data")


@pytest.fixture(scope="module")
def whole(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Searched:
    out, recorder = tmp_path_factory.mktemp("whole") / "model", Recorder()
    tuned = tune(dataset, out=out, settings=SETTINGS, trials=TRIALS, watcher=recorder)
    return Searched(tuned, out, recorder.seen)


def without_time(trials: list[Tried]) -> list[Tried]:
    return [msgspec.structs.replace(trial, seconds=0.0) for trial in trials]


def study_beside(out: Path) -> optuna.Study:
    path = out.with_name(f".{out.name}.tuning") / "study.jsonl"
    return optuna.load_study(study_name="recipes", storage=JournalStorage(JournalFileBackend(str(path))))


def same_weights(one: Path, other: Path) -> bool:
    found, expected = (load_file(folder / "weights.safetensors") for folder in (one, other))
    return found.keys() == expected.keys() and all(np.array_equal(found[key], expected[key]) for key in expected)


def test_the_first_trial_is_what_train_does(dataset: Dataset, whole: Searched, tmp_path: Path) -> None:
    first = whole.tuned.record.trials[0]
    assert first.parameters == START
    assert (first.state, first.steps, len(first.checks)) == ("complete", 16, CHECKS)
    train(dataset, out=tmp_path / "model", settings=SETTINGS)
    metrics = msgspec.json.decode((tmp_path / "model" / "metrics.json").read_bytes())
    assert first.score == metrics["validation"]["headrace"]


def test_the_best_of_all_trials_is_written(whole: Searched) -> None:
    record = whole.tuned.record
    scores = {trial.number: trial.score for trial in record.trials if trial.score is not None}
    assert len(record.trials) == TRIALS
    assert len(set(scores.values())) > 1
    assert scores[record.best] == max(scores.values())
    info = Network.load(whole.folder).info
    best = record.trials[record.best].parameters
    assert (info.shape.width, info.shape.layers, info.shape.heads, info.shape.window) == tuple(
        best[name] for name in ("width", "layers", "heads", "window")
    )
    metrics = msgspec.json.decode((whole.folder / "fitted" / "metrics.json").read_bytes())
    assert metrics["validation"] == record.validation
    assert record.validation["headrace"] == scores[record.best]


def test_the_folder_tells_of_every_trial(whole: Searched) -> None:
    record = msgspec.json.decode((whole.folder / "tuning.json").read_bytes(), type=TuningRecord)
    assert record == whole.tuned.record
    assert [trial.number for trial in record.trials] == list(range(TRIALS))
    assert len({str(trial.parameters) for trial in record.trials}) == TRIALS
    assert all(trial.seconds > 0 and trial.parameters.keys() == START.keys() for trial in record.trials)
    assert whole.tuned.plotted
    assert (whole.folder / "tuning.png").read_bytes().startswith(b"\x89PNG")
    assert [path.name for path in whole.folder.parent.iterdir()] == ["model"]


def test_the_progress_only_grows(whole: Searched) -> None:
    shares = [progress.share for progress in whole.seen]
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    assert any(progress.stage.startswith("trial 3 (best so far 0.") for progress in whole.seen)


def test_the_recipe_repeats_the_model(dataset: Dataset, whole: Searched, tmp_path: Path) -> None:
    chosen = load_settings(whole.folder / "recipe.toml")
    settings = msgspec.structs.replace(chosen, content=SETTINGS.content)
    train(dataset, out=tmp_path / "model", settings=settings)
    assert same_weights(tmp_path / "model", whole.folder)


def test_a_stopped_search_goes_on_to_the_very_same_trials(dataset: Dataset, whole: Searched, tmp_path: Path) -> None:
    out, stop = tmp_path / "model", Recorder("trial 2", 5)
    with pytest.raises(StoppedError, match=r"kept: 2; .*headrace tune .* --resume"):
        tune(dataset, out=out, settings=SETTINGS, trials=TRIALS, watcher=stop)
    assert not out.exists()
    again = Recorder()
    tuned = resume(dataset, out=out, watcher=again)
    assert again.seen[0].stage.startswith("trial 2")
    assert again.seen[0].step == 6
    assert not {"trial 0", "trial 1"} & again.stages()
    assert without_time(tuned.record.trials) == without_time(whole.tuned.record.trials)
    assert same_weights(out, whole.folder)


def test_a_search_stopped_at_its_last_training_goes_on_there(dataset: Dataset, tmp_path: Path) -> None:
    out = tmp_path / "model"
    with pytest.raises(StoppedError, match="kept: 1;"):
        tune(dataset, out=out, settings=SETTINGS, trials=1, watcher=Recorder("refitted", 3))
    again = Recorder()
    tuned = resume(dataset, out=out, watcher=again)
    assert again.stages() == {"refitted", "writing", "done"}
    assert len(tuned.record.trials) == 1


def test_a_line_cut_off_in_the_file_of_the_trials_loses_that_line_only(dataset: Dataset, tmp_path: Path) -> None:
    out = tmp_path / "model"
    with pytest.raises(StoppedError):
        tune(dataset, out=out, settings=SETTINGS, trials=2, watcher=Recorder("trial 1", 3))
    with (tmp_path / ".model.tuning" / "study.jsonl").open("ab") as file:
        file.write(b'{"op_code": 8, "trial_i')
    tuned = resume(dataset, out=out)
    assert [trial.state for trial in tuned.record.trials] == ["complete", "complete"]


def test_a_bad_trial_is_given_up_early(dataset: Dataset, tmp_path: Path) -> None:
    out = tmp_path / "model"
    with pytest.raises(StoppedError):
        tune(dataset, out=out, settings=SETTINGS, trials=TRIALS, watcher=Recorder("trial 3", 1))
    study_beside(out).enqueue_trial(BAD)
    tuned = resume(dataset, out=out)
    bad = tuned.record.trials[4]
    assert bad.parameters == BAD
    assert (bad.state, bad.score) == ("pruned", None)
    assert 3 <= len(bad.checks) < CHECKS
    assert tuned.record.best != 4


def test_what_happens_after_the_second_cut_changes_no_trial(dataset: Dataset, whole: Searched, tmp_path: Path) -> None:
    events = dataset.events().collect()
    _, second = cuts(dataset.log())
    test = pl.col("time") >= second
    swapped = pl.concat([events.filter(~test), events.filter(test).with_columns(pl.col("item_id").reverse())])
    moved = (swapped["item_id"] != pl.concat([events.filter(~test), events.filter(test)])["item_id"]).sum()
    assert moved > 30
    other = prepare(swapped.select("user_id", "item_id", "time"), out=tmp_path / "data")
    assert other.item_vocabulary().ids == dataset.item_vocabulary().ids
    tuned = tune(other, out=tmp_path / "model", settings=SETTINGS, trials=TRIALS)
    assert without_time(tuned.record.trials) == without_time(whole.tuned.record.trials)
    assert same_weights(tmp_path / "model", whole.folder)


@pytest.mark.parametrize(("worth", "steps"), [(2.0, 40), (0.0, 16), (None, 16)])
def test_a_longer_training_of_the_best_is_kept_where_it_is_better(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, worth: float | None, steps: int
) -> None:
    def score(choices: Choices) -> float:
        if choices.curve[-1].step != 40:
            return 1.0
        assert worth is not None
        return worth

    def fit_first(fitting: Fitting) -> Choices:
        if worth is None and fitting.plan.steps == 40:
            raise ModelError("the loss must stay a number")
        return FIT_FIRST(fitting)

    monkeypatch.setattr(Fitting, "_steps_in", lambda _, seconds, __: 40 if seconds > 1000 else 16)
    monkeypatch.setattr(Fitting, "fit_first", fit_first)
    monkeypatch.setattr(recipe_search, "_score", score)
    tuned = tune(dataset, out=tmp_path / "model", settings=TIMED, trials=1)
    assert tuned.record.trials[0].steps == 16
    assert tuned.info.steps == steps
    assert f"steps = {steps}\n" in (tmp_path / "model" / "recipe.toml").read_text()


def test_a_search_without_time_tries_the_first_recipe_and_says_nothing(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tuning, "find_spec", lambda _: None)
    heard = Heard()
    logging.getLogger("optuna").addHandler(heard)
    training = msgspec.structs.replace(TIMED.training, minutes=0.001)
    settings = msgspec.structs.replace(TIMED, training=training)
    try:
        tuned = tune(dataset, out=tmp_path / "model", settings=settings)
        assert heard.messages == []
        assert capfd.readouterr() == ("", "")
        optuna.create_study()
        assert len(heard.messages) == 1  # what others log is left as it was
    finally:
        logging.getLogger("optuna").removeHandler(heard)
    assert [trial.parameters for trial in tuned.record.trials] == [START]
    assert not tuned.plotted
    assert not (tmp_path / "model" / "tuning.png").exists()


def only_the_first_trains(fitting: Fitting) -> Choices:
    """Stand for `fit_first` where every loss but the first recipe's is no number."""
    if fitting.preset.dropout != PRESETS["tiny"].dropout:
        raise ModelError("the loss must stay a number")
    return FIT_FIRST(fitting)


def test_a_recipe_that_fails_ends_no_search(dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Fitting, "fit_first", only_the_first_trains)
    tuned = tune(dataset, out=tmp_path / "model", settings=SETTINGS, trials=3)
    assert [trial.state for trial in tuned.record.trials] == ["complete", "failed", "failed"]
    assert tuned.record.best == 0


def test_where_every_recipe_fails_the_error_is_the_training_s_own(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: Fitting) -> Choices:
        raise ModelError("the loss must stay a number")

    monkeypatch.setattr(Fitting, "fit_first", fail)
    with pytest.raises(ModelError, match="must stay a number"):
        tune(dataset, out=tmp_path / "model", settings=SETTINGS, trials=2)
    assert not (tmp_path / "model").exists()


def test_too_little_between_the_cuts_is_refused_with_what_to_do(tmp_path: Path) -> None:
    small = prepare(ring(5, 6, 4)[0], out=tmp_path / "data")
    with pytest.raises(DataError, match=r"at least 20 .*headrace train"):
        tune(small, out=tmp_path / "model", settings=SETTINGS, trials=1)


def test_only_the_same_dataset_goes_on(dataset: Dataset, tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="--resume needs the trials of a stopped search"):
        resume(dataset, out=tmp_path / "model")
    with pytest.raises(StoppedError):
        tune(dataset, out=tmp_path / "model", settings=SETTINGS, watcher=Recorder("trial 0", 2))
    other = prepare(ring(5, 10, 5)[0], out=tmp_path / "other")
    with pytest.raises(DataError, match="dataset that the search began with"):
        resume(other, out=tmp_path / "model")


def test_an_output_that_is_not_ours_stays_untouched(dataset: Dataset, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(FormatError, match="must be a new folder"):
        tune(dataset, out=tmp_path, settings=SETTINGS)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_training_and_serving_never_load_optuna() -> None:
    code = (
        "import sys, headrace.app.command_line, headrace.pipeline.fitting, headrace.serving.service\n"
        "assert 'torch' in sys.modules\n"
        "sys.exit('optuna' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
