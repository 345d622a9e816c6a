"""What the page reads of the last minute."""

from __future__ import annotations

import pytest

from headrace.serving.batch import Applied, Commit
from headrace.serving.telemetry import Telemetry


def commit_of(n: int) -> Commit:
    return Commit([Applied(place, 1, "ann", 1, 0, None, 0) for place in range(n)])


def test_rates_hold_every_event_and_answer_however_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headrace.serving.telemetry.time.perf_counter", lambda: 1000.0)
    telemetry = Telemetry()
    for _ in range(12_000):
        telemetry.count_answers("counts", [999.998] * 10)
    telemetry.count_commits([commit_of(600)])
    telemetry.count_commits([commit_of(60)])
    minute = telemetry.last_minute()
    assert (minute.answers_per_s, minute.events_per_s) == (2000, 11)
    assert (minute.p50_ms, minute.p99_ms) == (2, 2)


def test_what_is_older_than_a_minute_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("headrace.serving.telemetry.time.perf_counter", lambda: now)
    telemetry = Telemetry()
    telemetry.count_commits([commit_of(60)])
    telemetry.count_answers("counts", [999.0])
    now = 1070.0
    telemetry.count_commits([commit_of(120)])
    minute = telemetry.last_minute()
    assert (minute.answers_per_s, minute.events_per_s, minute.p50_ms) == (0, 2, None)
