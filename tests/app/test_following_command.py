"""`headrace train --follow` as a command, and two of its rounds with real events, training and service."""

from __future__ import annotations

import json
import signal
import threading
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tests.e2e.running import running

from headrace.app.command_line import main
from headrace.app.commands import training_command
from headrace.app.commands.following_command import Following, fine_tuning
from headrace.app.fine_tuning import FineTuning
from headrace.core.formats import MODEL_FILE, MODEL_FORMAT, ModelInfo, read_document
from headrace.core.settings import ContentSettings, Settings, TrainingSettings
from headrace.data.synthetic import ring
from headrace.pipeline import fitting
from headrace.pipeline.preparation import prepare

ITEMS = 12
TRAINING = Settings(
    training=TrainingSettings(preset="tiny", steps=4, batch_events=256, threads=1),
    content=ContentSettings(text_model="none"),
)


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HEADRACE_API_KEY", raising=False)
    return tmp_path


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as left:
        main(["train", "shop.db", "--out", "models/live", *arguments])
    assert isinstance(left.value.code, int)
    return left.value.code


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[Following, float]]:
    """Return what `follow_source` would be asked for."""
    seen: list[tuple[Following, float]] = []
    monkeypatch.setattr(training_command, "follow_source", lambda *given: seen.append(given))

    def ask(*arguments: str) -> tuple[Following, float]:
        assert run(*arguments) == 0
        return seen.pop()

    return ask


def test_versions_learn_from_everything_and_go_to_the_service_of_the_settings(
    asked: Callable[..., tuple[Following, float]],
) -> None:
    Path("headrace.toml").write_text("[serving]\nport = 9001\n[training]\nseed = 5\n")
    following, minutes = asked("--follow", "30")
    assert (following.source, following.out, minutes) == ("shop.db", Path("models/live"), 30)
    assert (following.protocol, following.url, following.settings.training.seed) == ("all", "http://127.0.0.1:9001", 5)


def test_what_the_command_says_is_kept(asked: Callable[..., tuple[Following, float]]) -> None:
    following, _ = asked("--follow", "1", "--protocol", "time", "--minutes", "3", "--url", "http://there")
    assert (following.protocol, following.url, following.settings.training.minutes) == ("time", "http://there", 3)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--follow", "0"], "--follow must be above 0"),
        (["--follow", "nan"], "--follow must be above 0"),
        (["--follow", "5", "--resume"], "--follow"),
        (["--url", "http://there"], "--follow"),
        (["--follow", "5", "--from", "nowhere"], "nowhere"),
    ],
    ids=lambda given: " ".join(given) if isinstance(given, list) else "",
)
def test_a_slip_is_one_message_and_exit_code_2(
    arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*arguments) == 2
    assert told in capsys.readouterr().err
    assert not Path("models").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_between_rounds_ends_it_cleanly(
    number: signal.Signals, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(FineTuning, "round", lambda _: signal.raise_signal(number))
    assert run("--follow", "60") == 0
    assert capsys.readouterr().out.endswith("Stopped; the same command goes on from here.\n")


def test_a_signal_inside_a_training_ends_it_cleanly_and_leaves_nothing_of_the_round(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    prepare(ring(ITEMS, 20, 8)[0], out="data")
    train = fitting.train

    def interrupted(*given: object, **named: object) -> None:
        signal.raise_signal(signal.SIGTERM)
        train(*given, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(fitting, "train", interrupted)
    with pytest.raises(SystemExit) as left:
        main(["train", "data", "--out", "live", "--follow", "60", "--steps", "4", "--preset", "tiny"])
    assert left.value.code == 0
    assert list(Path("live").iterdir()) == []
    assert capsys.readouterr().out.endswith("Stopped; the same command goes on from here.\n")


def test_a_training_takes_half_of_the_minutes_between_two_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    prepare(ring(ITEMS, 20, 8)[0], out="data")
    minutes: list[float | None] = []

    def train(*_: object, settings: Settings, **__: object) -> None:
        minutes.append(settings.training.minutes)
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(fitting, "train", train)
    for every in ("4", "60"):
        with pytest.raises(SystemExit):
            main(["train", "data", "--out", "live", "--follow", every])
    assert minutes == [2, 10]


def call(url: str, body: object = None) -> dict[str, object]:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data=data, headers={"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        found = json.loads(answer.read())
    assert isinstance(found, dict)
    return found


def version_of(folder: Path) -> str:
    return read_document(folder / MODEL_FILE, ModelInfo, MODEL_FORMAT, "").version


def test_a_service_takes_a_version_that_learned_from_what_came_since_the_last(
    own_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.set_num_threads(1)
    starts: list[object] = []
    train = fitting.train

    def noting(*given: object, **named: object) -> ModelInfo:
        starts.append(named["from_model"])
        return train(*given, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(fitting, "train", noting)
    data = prepare(ring(ITEMS, 40, 12)[0], out="data")
    live = own_folder / "models" / "live"
    with running(["serve", "--history", data.path.resolve(), "--port", "0"], own_folder) as shop:
        asked = Following("headrace.db", Path("models/live"), None, "all", TRAINING, shop.url)
        rounds = fine_tuning(asked, threading.Event())

        def answering() -> object:
            return call(f"{shop.url}/v1/users/user1/recommendations?k=3")["model"]

        rounds.round()
        assert answering() == version_of(live / "00001")
        rounds.round()  # nothing came
        events = [{"user_id": "ann", "item_id": f"item{n}"} for n in range(6)]
        assert call(f"{shop.url}/v1/events", events)["accepted"] == 6
        rounds.round()
        assert answering() == version_of(live / "00002")
    assert starts == [None, Path("models/live/00001")]
    assert sorted(path.name for path in live.iterdir()) == ["00001", "00002", "current"]
    learned = read_document(live / "current" / MODEL_FILE, ModelInfo, MODEL_FORMAT, "").learned
    assert (learned.events, learned.protocol) == (40 * 12 + 6, "all")
    told = capsys.readouterr()
    assert "No event came since models/live/00001" in told.out
    assert "486 events, 6 of them new" in told.out
    assert "was not taken" not in told.err
