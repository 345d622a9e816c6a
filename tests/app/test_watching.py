"""Following a training: how often it is shown, and how a signal stops it."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from headrace.app.terminal import ProgressLine
from headrace.app.training_progress import read_progress
from headrace.app.watching import Watch, stopping_on_signals
from headrace.training.progress import Progress


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_the_file_follows_the_training_and_keeps_the_losses_of_its_stage(tmp_path: Path) -> None:
    clock, path = Clock(), tmp_path / "progress.json"
    with ProgressLine("training") as line:
        watch = Watch(line, path, clock)
        watch.report(Progress(stage="reading texts", share=0.1))
        for step in range(1000):
            clock.now += 1
            watch.report(Progress(stage="fitted", share=0.2, step=step, steps=1000, loss=float(step)))
    found = read_progress(path)
    assert found is not None
    assert (found.stage, found.step) == ("fitted", 999)
    assert 100 <= len(found.losses) <= 200
    assert found.losses == sorted(found.losses)
    assert found.losses[-1] == 999


def test_steps_within_half_a_second_are_passed_over(tmp_path: Path) -> None:
    clock, path = Clock(), tmp_path / "progress.json"
    with ProgressLine("training") as line:
        watch = Watch(line, path, clock)
        for step in range(3):
            watch.report(Progress(stage="fitted", share=0.2, step=step))
    found = read_progress(path)
    assert found is not None
    assert found.step == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_the_training_and_the_handlers_come_back(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with ProgressLine("training") as line:
        watch = Watch(line, None)
        with stopping_on_signals(watch.stop):
            assert not watch.stopped()
            signal.raise_signal(number)
            assert watch.stopped()
        assert signal.getsignal(number) is before


def test_a_second_ctrl_c_ends_it_at_once() -> None:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
    try:
        with ProgressLine("training") as line, stopping_on_signals(Watch(line, None).stop):
            signal.raise_signal(signal.SIGINT)
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)
