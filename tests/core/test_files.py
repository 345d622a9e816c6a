"""A reader never sees half a file, and a slip of the keyboard deletes nothing."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from headrace.core.errors import FormatError
from headrace.core.files import private_folder, replacing, replacing_folder


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


def test_a_private_folder_is_for_its_owner_and_gone_afterwards_with_what_a_killed_process_left(tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    orphan = tmp_path / f".round.{ended.pid}.tmp"
    orphan.mkdir()

    def fail() -> None:
        with private_folder(tmp_path / "round") as folder:
            assert list(tmp_path.iterdir()) == [folder]
            assert stat.S_IMODE(folder.stat().st_mode) == 0o700
            (folder / "events").write_text("who met what")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        fail()
    assert list(tmp_path.iterdir()) == []
