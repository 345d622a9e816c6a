"""Times as the service tells them."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def wall_clock() -> int:
    """Return the time now, microseconds UTC."""
    return time.time_ns() // 1000


def iso_time(moment: int) -> str:
    """Return microseconds UTC as ISO 8601 text with a Z."""
    return (_EPOCH + timedelta(microseconds=moment)).isoformat().replace("+00:00", "Z")


def answer_id(moment: int) -> str:
    """Return a new id, 32 hexadecimal digits, nobody can guess it.

    It begins with the time, microseconds UTC: rows of one moment then stand together in the store, which writes whole
    pages (as UUIDs of version 7 do, RFC 9562).
    """
    return f"{moment // 1000:012x}{os.urandom(10).hex()}"
