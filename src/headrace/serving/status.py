"""What a service does now, as its page and its operators see it."""

from __future__ import annotations

import msgspec

Row = dict[str, str | int | float | None]


class ModelStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The model that serves. `events` is what it learned from; `metrics` are the rows of its last assessment."""

    name: str
    version: str
    protocol: str | None = None
    created: str | None = None
    events: int | None = None
    metrics: list[Row] = []


class Latency(msgspec.Struct, frozen=True):
    """Percentiles over the last minute, milliseconds inside the service; None without an answer."""

    p50: float | None
    p99: float | None


class ExampleUser(msgspec.Struct, frozen=True):
    """A user for the page's chooser."""

    user_id: str
    events: int


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """Rates are of the last minute; `seen` is the habit in force, `event_type` the most usual type, if any."""

    version: str
    uptime_s: float
    ready: bool
    events_per_second: float
    answers_per_second: float
    latency_ms: Latency
    model: ModelStatus
    events: int
    events_seen: int
    as_of: str | None
    items: int
    users: int
    seen: str
    event_type: str | None
    event_types: list[str]
    waiting: int
    user_cache_bytes: int
    example_users: list[ExampleUser] = []
