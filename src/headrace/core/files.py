"""Write files so that a reader never sees half of one: into a temporary name beside it, then a rename."""

from __future__ import annotations

import glob
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from headrace.core.errors import FormatError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; move it into place if the block ends well, else remove it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def replacing_folder(path: Path, marker: str) -> Iterator[Path]:
    """Yield an empty temporary folder; put it in place of `path` if the block ends well.

    Args:
        path: the folder to write.
        marker: the file that shows a folder to be one of ours; a folder that has things in it but not this file is
            refused, so that a slip of the keyboard deletes nothing.
    """
    if path.exists() and (not path.is_dir() or (any(path.iterdir()) and not (path / marker).exists())):
        raise FormatError(
            f"the output must be a new folder or one that Headrace wrote, {path} is neither; name another"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_orphans(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        yield temporary
        if path.exists():
            old = path.with_name(f".{path.name}.{os.getpid()}.old")
            path.rename(old)
            temporary.rename(path)
            shutil.rmtree(old)
        else:
            temporary.rename(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def private_folder(path: Path) -> Iterator[Path]:
    """Yield an empty hidden folder beside `path` that only its owner can read; it is gone after the block.

    What a killed process left of such a folder is removed first.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_orphans(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(mode=0o700)
    try:
        yield temporary
    finally:
        shutil.rmtree(temporary)


def _remove_orphans(path: Path) -> None:
    """Remove the temporary folders that a killed process left beside `path`."""
    for found in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
        owner = found.name.removesuffix(".tmp").rpartition(".")[2]
        if found.is_dir() and owner.isdigit() and not _runs(int(owner)):
            shutil.rmtree(found, ignore_errors=True)


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        pass
    return True
