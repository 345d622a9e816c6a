"""What a command says of a full disk and of paths that cannot be written, whichever library came upon it."""

from __future__ import annotations

import errno
import os

import polars as pl
import pytest
from safetensors import SafetensorError

from headrace.app.command_line import main
from headrace.app.machine_faults import foreseen_fault

FULL = [
    OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
    OSError(errno.EDQUOT, os.strerror(errno.EDQUOT), "model"),
    OSError("No space left on device (os error 28)"),
    SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"),
    pl.exceptions.ComputeError("parquet: underlying IO error: No space left on device (os error 28)"),
]


@pytest.mark.parametrize("error", FULL, ids=repr)
def test_a_full_disk_is_one_message_with_what_to_do(
    error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("headrace.app.commands.configuring.explain_settings", fail)
    with pytest.raises(SystemExit) as left:
        main(["config"])
    assert left.value.code == 1
    err = capsys.readouterr().err
    assert "make room" in err
    assert "--resume" in err


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.EISDIR, errno.ENOTDIR, errno.EEXIST])
def test_a_path_that_cannot_be_written_is_named(number: int) -> None:
    told = foreseen_fault(OSError(number, os.strerror(number), ".model.tmp", None, "model"))
    assert told is not None
    assert told.exit_code == 2
    assert str(told).startswith("model ")


@pytest.mark.parametrize(
    "error", [ZeroDivisionError(), OSError(errno.EBADF, "bad"), ValueError("os error 28")], ids=repr
)
def test_any_other_error_is_left_alone(error: Exception) -> None:
    assert foreseen_fault(error) is None


def test_what_nobody_foresaw_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("headrace.app.commands.configuring.explain_settings", fail)
    with pytest.raises(ZeroDivisionError):
        main(["config"])
