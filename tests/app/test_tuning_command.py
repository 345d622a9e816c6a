"""`headrace tune`: what it asks of the search, what it refuses, and what it shows of what was found."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from headrace.app.command_line import main
from headrace.app.commands.tuning_command import show_tuning
from headrace.core.formats import MODEL_FORMAT, Blend, Learned, ModelInfo, Shape
from headrace.core.settings import Settings
from headrace.data.synthetic import ring
from headrace.pipeline import tuning
from headrace.pipeline.preparation import prepare
from headrace.pipeline.tuning import Tuned
from headrace.pipeline.tuning_record import Outcome, Tried, TuningRecord


class ReachedSearchError(Exception):
    """Ends a call where the search would begin."""


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[], dict[str, object]]:
    """Stand in a folder with a dataset, let no search run, and tell what it would have been asked for."""
    seen: list[dict[str, object]] = []

    def search(_: object, **asked: object) -> None:
        seen.append(asked)
        raise ReachedSearchError

    monkeypatch.setattr(tuning, "tune", search)
    monkeypatch.setattr(tuning, "resume", search)
    monkeypatch.chdir(tmp_path)
    prepare(ring(5, 10, 5)[0], out="data")
    return seen.pop


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as left:
        main(["tune", "data", *arguments])
    assert left.value.code == 2
    return capsys.readouterr().err


def tried(number: int, state: Outcome, score: float | None) -> Tried:
    parameters = {"width": 64, "learning_rate": 0.00123456}
    return Tried(
        number=number, state=state, score=score, parts={}, checks=[], seconds=61.0, steps=9, parameters=parameters
    )


def tuned_of(trials: list[Tried], *, plotted: bool) -> Tuned:
    learned = Learned(
        protocol="time", stage="refitted", first_cut=None, second_cut=None, until=0, events=1, fingerprint=""
    )
    info = ModelInfo(
        format=MODEL_FORMAT, name="m", version="v1", created="", learned=learned, steps=9, preset="small",
        shape=Shape(width=1, layers=1, heads=1, window=1, content=0, types=[]), seen="exclude",
        blend=Blend(encoder=1, counts=0, popularity=0),
    )  # fmt: skip
    record = TuningRecord(protocol="time", minutes=3, seconds=170, best=2, trials=trials, validation={})
    return Tuned(info, record, plotted)


def test_the_search_is_asked_for_what_the_command_says(begun: Callable[[], dict[str, object]]) -> None:
    Path("headrace.toml").write_text("[training]\nsteps = 9\nseed = 5\n")
    with pytest.raises(ReachedSearchError):
        main(["tune", "data", "--out", "m", "--minutes", "3", "--trials", "7", "--protocol", "all", "--preset", "tiny"])
    asked = begun()
    assert (asked["out"], asked["protocol"], asked["trials"]) == (Path("m"), "all", 7)
    settings = asked["settings"]
    assert isinstance(settings, Settings)
    training = settings.training
    assert (training.minutes, training.steps, training.seed, training.preset) == (3, None, 5, "tiny")


def test_what_is_left_out_is_the_protocol_time_and_a_hundred_recipes(begun: Callable[[], dict[str, object]]) -> None:
    with pytest.raises(ReachedSearchError):
        main(["tune", "data", "--out", "m", "--minutes", "3"])
    asked = begun()
    assert (asked["protocol"], asked["trials"]) == ("time", 100)


def test_resume_goes_on_with_what_the_search_was_asked_for(begun: Callable[[], dict[str, object]]) -> None:
    with pytest.raises(ReachedSearchError):
        main(["tune", "data", "--out", "m", "--resume"])
    assert begun().keys() == {"out", "watcher"}


@pytest.mark.parametrize(
    "option", [["--minutes", "1"], ["--trials", "5"], ["--protocol", "all"], ["--preset", "tiny"]], ids=lambda o: o[0]
)
def test_resume_takes_no_other_choice(option: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert option[0] in refused(capsys, "--out", "m", "--resume", *option)


def test_a_search_needs_its_minutes(capsys: pytest.CaptureFixture[str]) -> None:
    assert "give --minutes N" in refused(capsys, "--out", "m")
    assert "minutes" in refused(capsys, "--out", "m", "--minutes", "-1")


def test_a_search_needs_a_trial_and_a_folder_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    assert "got 0" in refused(capsys, "--out", "m", "--minutes", "1", "--trials", "0")
    assert "--out must name a folder" in refused(capsys, "--out", ".", "--minutes", "1")


@pytest.mark.parametrize("missing", ["torch", "optuna"])
def test_what_is_not_installed_is_named_with_its_extra(
    missing: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("headrace.app.training_choices.find_spec", lambda name: None if name == missing else name)
    with pytest.raises(SystemExit) as left:
        main(["tune", "data", "--out", "m", "--minutes", "1"])
    assert left.value.code == 1
    assert "headrace[train" in capsys.readouterr().err


def test_the_best_recipes_are_shown_first_and_the_others_counted(capsys: pytest.CaptureFixture[str]) -> None:
    trials = [
        tried(0, "complete", 0.125),
        tried(1, "pruned", None),
        tried(2, "complete", 0.25),
        tried(3, "failed", None),
    ]
    show_tuning(Path("models/tuned"), tuned_of(trials, plotted=True))
    out = capsys.readouterr().out
    assert out.index("0.2500") < out.index("0.1250")
    assert "width 64, learning_rate 0.00123" in out
    assert "tried 4 recipes: 2 complete, 1 pruned, 1 failed" in out
    assert "models/tuned/tuning.json" in out
    assert "models/tuned/recipe.toml" in out
    assert "models/tuned/tuning.png" in out
    assert "matplotlib" not in out


def test_a_plot_that_was_not_drawn_is_said_to_be(capsys: pytest.CaptureFixture[str]) -> None:
    show_tuning(Path("m"), tuned_of([tried(0, "complete", 0.125)], plotted=False))
    out = capsys.readouterr().out
    assert "headrace[report]" in out
    assert "tuning.png" not in out
