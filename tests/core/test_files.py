"""A reader never sees half a file, and a slip of the keyboard deletes nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from headrace.core.errors import FormatError
from headrace.core.files import replacing, replacing_folder


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")

    def fail() -> None:
        with replacing(path) as temporary:
            temporary.write_text("half")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        fail()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_of_ours_is_replaced_as_a_whole(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    for name in ("first", "second"):
        with replacing_folder(folder, "mark") as temporary:
            (temporary / "mark").write_text(name)
            (temporary / name).write_text(name)
    assert sorted(p.name for p in folder.iterdir()) == ["mark", "second"]


def test_a_folder_of_somebody_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(FormatError, match="name another"), replacing_folder(tmp_path, "mark"):
        pass
    assert (tmp_path / "thesis.txt").exists()


def test_what_a_killed_process_left_is_removed_and_what_a_living_one_writes_is_not(tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    orphan, living = (tmp_path / f".out.{process}.tmp" for process in (ended.pid, os.getppid()))
    for folder in (orphan, living):
        folder.mkdir()
    with replacing_folder(tmp_path / "out", "mark"):
        pass
    assert not orphan.exists()
    assert living.exists()
