"""What a command shows where no terminal is: whole lines, and progress that does not flood a log."""

from __future__ import annotations

from pathlib import Path

import pytest

from headrace.app.terminal import ProgressLine, say, show_table, warn
from headrace.app.training_progress import TrainingProgress, read_progress, write_progress


def test_a_long_line_stays_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    say("word " * 100)
    warn("[not markup] " * 30)
    told = capsys.readouterr()
    assert told.out == "word " * 100 + "\n"
    assert told.err == "[not markup] " * 30 + "\n"


def test_a_table_shows_cells_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    show_table("Rows", ("step", "rows"), [("[bold]x[/bold]", "1"), (r"a\[b]", "2")], numbers=(1,))
    out = capsys.readouterr().out
    assert "[bold]x[/bold]" in out
    assert r"a\[b]" in out


def test_progress_without_a_terminal_is_a_few_lines(capsys: pytest.CaptureFixture[str]) -> None:
    with ProgressLine("training") as line:
        for step in range(1000):
            line.show(step / 1000, f"step {step}")
        for _ in range(3):  # whoever follows a file looks again until the process has gone
            line.show(1.0, "done")
    assert capsys.readouterr().err.splitlines() == ["training: 0% step 0", "training: 100% done"]


def test_progress_travels_through_its_file(tmp_path: Path) -> None:
    path = tmp_path / "progress.json"
    assert read_progress(path) is None
    progress = TrainingProgress(stage="choosing", share=0.25, step=10, steps=40, loss=3.5, seconds_left=90.0)
    write_progress(path, progress)
    assert read_progress(path) == progress
    assert progress.text() == "choosing, step 10 of 40, loss 3.500, 1.5 min left"
