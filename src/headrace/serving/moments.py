"""Times as the service tells them."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def wall_clock() -> int:
    """Return the time now, microseconds UTC."""
    return time.time_ns() // 1000


def iso_time(moment: int) -> str:
    """Return microseconds UTC as ISO 8601 text with a Z."""
    return (_EPOCH + timedelta(microseconds=moment)).isoformat().replace("+00:00", "Z")
