"""Faults of the machine that every command foresees: a full disk, a path of another kind or that is not ours."""

from __future__ import annotations

import errno
import re

from headrace.core.errors import HeadraceError, SettingsError, StoreError

_FULL = (errno.ENOSPC, errno.EDQUOT)
_PATHS = {
    errno.EROFS: "must be on a disk that may be written, this one is read-only; name another",
    errno.EACCES: "may not be read or written by this user; change its permissions, or name another",
    errno.EPERM: "may not be read or written by this user; change its permissions, or name another",
    errno.EISDIR: "must be a file, it is a folder; name another",
    errno.ENOTDIR: "must lie in a folder, what is above it is a file; name another",
    errno.EEXIST: "must be a folder, it is a file; name another",
    errno.ENAMETOOLONG: "has too long a name; name another",
}


def foreseen_fault(error: Exception) -> HeadraceError | None:
    """Return an error of ours as it is and a fault of the machine as one message that repairs; None for any other.

    The libraries that write for us (safetensors, Polars) raise classes of their own, with the system's number in the
    text: `No space left on device (os error 28)`.
    """
    if isinstance(error, HeadraceError):
        return error
    number = error.errno if isinstance(error, OSError) else None
    if number is None:
        found = re.search(r"\(os error (\d+)\)", str(error))
        number = int(found[1]) if found else None
    if number in _FULL:
        return StoreError(
            "the disk must have room and is full, so the result is not written; make room and give the command again "
            "(a training goes on from its last checkpoint with --resume)"
        )
    if number not in _PATHS:
        return None
    path = (error.filename2 or error.filename) if isinstance(error, OSError) else None
    return SettingsError(f"{path or 'a path'} {_PATHS[number]} ({error})")
