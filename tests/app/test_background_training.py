"""A training behind the service: what happens when it ends, fails, or is stopped. Here the trainer is a script."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from headrace.app import background_training
from headrace.app.background_training import BackgroundTraining
from headrace.app.training_progress import TrainingProgress
from headrace.core.errors import ModelError

Start = Callable[[str, Callable[[], str]], BackgroundTraining]


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Start:
    """Start a training whose process runs `code` in place of `headrace train`."""

    def started(code: str, take: Callable[[], str]) -> BackgroundTraining:
        script = tmp_path / "trainer.sh"
        (tmp_path / "trainer.py").write_text(code)
        script.write_text(f"#!/bin/sh\nexec {sys.executable} {tmp_path / 'trainer.py'}\n")
        script.chmod(0o755)
        monkeypatch.setattr(background_training, "find_spec", lambda _: object())
        monkeypatch.setattr(background_training.sys, "executable", str(script))
        training = BackgroundTraining([], tmp_path / "progress.json", tmp_path / "train.log", take)
        training.start()
        return training

    return started


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_finished_training_is_handed_over(start: Start, capsys: pytest.CaptureFixture[str]) -> None:
    taken: list[int] = []

    def take() -> str:
        taken.append(1)
        return "taken"

    training = start("pass", take)
    wait_for(lambda: bool(taken))
    training.stop()
    assert "taken" in capsys.readouterr().out
    assert training.now is None


def test_a_refused_model_leaves_the_service_as_it_was(start: Start, capsys: pytest.CaptureFixture[str]) -> None:
    taken: list[int] = []

    def take() -> str:
        taken.append(1)
        raise ModelError("not finite")

    training = start("pass", take)
    wait_for(lambda: bool(taken))
    training.stop()
    assert "not finite" in capsys.readouterr().err


def test_a_failed_training_shows_its_last_lines(start: Start, capsys: pytest.CaptureFixture[str]) -> None:
    training = start("raise SystemExit('no memory')", lambda: pytest.fail("taken"))
    told: list[str] = []
    wait_for(lambda: bool(told.append(capsys.readouterr().err)) or "no memory" in "".join(told))
    training.stop()
    assert "counts go on answering" in "".join(told)


def test_a_running_training_tells_how_far_it_is_and_has_low_priority(start: Start, tmp_path: Path) -> None:
    code = (
        "import os, time, msgspec, pathlib\n"
        "while os.getpriority(os.PRIO_PROCESS, 0) < 10:\n    time.sleep(0.01)\n"
        f"part = pathlib.Path({str(tmp_path / 'part')!r})\n"
        'part.write_text(\'{"stage": "fitting", "share": 0.5}\')\n'
        f"part.rename({str(tmp_path / 'progress.json')!r})\n"
        "time.sleep(60)"
    )
    training = start(code, lambda: pytest.fail("taken"))
    wait_for(lambda: training.now is not None)
    assert training.now == TrainingProgress(stage="fitting", share=0.5)
    training.stop()
    assert training.now is None


def test_a_stopped_training_may_leave_its_checkpoint(start: Start, tmp_path: Path) -> None:
    code = (
        "import pathlib, signal, sys, time\n"
        f"folder = pathlib.Path({str(tmp_path)!r})\n"
        "def leave(*_):\n    (folder / 'checkpoint').touch()\n    sys.exit(130)\n"
        "signal.signal(signal.SIGTERM, leave)\n(folder / 'ready').touch()\ntime.sleep(60)"
    )
    training = start(code, lambda: pytest.fail("taken"))
    wait_for((tmp_path / "ready").exists)
    training.stop()
    assert (tmp_path / "checkpoint").exists()


def test_without_pytorch_it_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(background_training, "find_spec", lambda _: None)
    training = BackgroundTraining([], tmp_path / "p", tmp_path / "l", lambda: pytest.fail("taken"))
    training.start()
    training.stop()
    assert "headrace[train]" in capsys.readouterr().out
    assert os.listdir(tmp_path) == []
