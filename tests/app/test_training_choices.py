"""What the minutes and the model to begin with imply for a training."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import headrace
from headrace.app.command_line import main
from headrace.app.training_choices import training_choices
from headrace.core.errors import NotReadyError, SettingsError
from headrace.core.formats import MODEL_FILE, MODEL_FORMAT, Blend, Learned, ModelInfo, Shape, write_document
from headrace.core.settings import Settings, TrainingSettings
from headrace.data.synthetic import ring
from headrace.pipeline import fitting
from headrace.pipeline.preparation import prepare


class ReachedTrainingError(Exception):
    """Ends a call where the training would begin."""


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[], Settings]:
    """Stand in a folder with a dataset, let no training run, and tell the settings that it would have had."""
    seen: list[Settings] = []

    def train(*_: object, settings: Settings, **__: object) -> None:
        seen.append(settings)
        raise ReachedTrainingError

    monkeypatch.setattr(fitting, "train", train)
    monkeypatch.chdir(tmp_path)
    prepare(ring(5, 10, 5)[0], out="data")
    return seen.pop


def model_of(folder: Path, preset: str, window: int = 100) -> Path:
    """Write as much of a model as tells its preset and its sizes, those of `base` but for the window."""
    learned = Learned(
        protocol="all", stage="refitted", first_cut=None, second_cut=None, until=0, events=1, fingerprint=""
    )
    shape = Shape(width=128, layers=2, heads=4, window=window, content=0, types=[])
    info = ModelInfo(
        format=MODEL_FORMAT, name="m", version="1", created="", learned=learned, shape=shape, steps=1, preset=preset,
        seen="exclude", blend=Blend(encoder=1, counts=0, popularity=0),
    )  # fmt: skip
    folder.mkdir()
    write_document(folder / MODEL_FILE, info)
    return folder


def test_minutes_of_the_command_beat_steps_of_the_file(begun: Callable[[], Settings]) -> None:
    Path("headrace.toml").write_text("[training]\nsteps = 9\n")
    with pytest.raises(ReachedTrainingError):
        main(["train", "data", "--out", "model", "--minutes", "2"])
    training = begun().training
    assert (training.minutes, training.steps) == (2, None)
    with pytest.raises(ReachedTrainingError):
        headrace.train("data", "model", minutes=3)
    training = begun().training
    assert (training.minutes, training.steps) == (3, None)


def test_steps_of_the_file_count_where_the_command_names_no_length(begun: Callable[[], Settings]) -> None:
    Path("headrace.toml").write_text("[training]\nsteps = 9\n")
    with pytest.raises(ReachedTrainingError):
        main(["train", "data", "--out", "model"])
    assert begun().training.steps == 9


def test_auto_takes_the_preset_of_the_model_to_begin_with(tmp_path: Path) -> None:
    base, odd = model_of(tmp_path / "base", "base"), model_of(tmp_path / "odd", "none")
    small = Settings(training=TrainingSettings(preset="small"))
    for settings, start, expected in (
        (Settings(), base, "base"),
        (Settings(), odd, "auto"),
        (Settings(), None, "auto"),
        (small, base, "small"),
    ):
        assert training_choices(settings, minutes_asked=False, from_model=start).training.preset == expected


def test_auto_takes_the_sizes_that_a_tuned_model_has_beside_its_preset(tmp_path: Path) -> None:
    usual, tuned = model_of(tmp_path / "usual", "base"), model_of(tmp_path / "tuned", "base", window=50)
    wider = Settings(training=TrainingSettings(window=70))
    for settings, start, expected in (
        (Settings(), usual, TrainingSettings(preset="base")),
        (Settings(), tuned, TrainingSettings(preset="base", window=50)),
        (wider, tuned, TrainingSettings(preset="base", window=70)),
    ):
        assert training_choices(settings, minutes_asked=False, from_model=start).training == expected


def test_python_trains_by_a_protocol_of_the_contract_only(begun: Callable[[], Settings], tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="leave-one-out"):
        headrace.train("data", "model", protocol="leave_one_out")  # type: ignore[arg-type]  # the slip under test


def test_training_without_pytorch_says_what_to_install(
    begun: Callable[[], Settings], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("headrace.app.training_choices.find_spec", lambda _: None)
    with pytest.raises(NotReadyError, match=r"headrace\[train\]"):
        headrace.train("data", "model")
    with pytest.raises(SystemExit) as left:
        main(["train", "data", "--out", "model"])
    assert left.value.code == 1
    assert "headrace[train]" in capsys.readouterr().err
