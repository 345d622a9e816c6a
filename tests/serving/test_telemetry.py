"""What the page reads of the last minute."""

from __future__ import annotations

import pytest

from headrace.serving.telemetry import Telemetry


def test_rates_hold_every_event_and_answer_however_many() -> None:
    telemetry = Telemetry()
    for _ in range(120_000):
        telemetry.count_answer("counts", 0.002)
    telemetry.count_events(600)
    telemetry.count_events(60)
    minute = telemetry.last_minute()
    assert (minute.answers_per_s, minute.events_per_s) == (2000, 11)
    assert (minute.p50_ms, minute.p99_ms) == (2, 2)


def test_what_is_older_than_a_minute_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("headrace.serving.telemetry.time.perf_counter", lambda: now)
    telemetry = Telemetry()
    telemetry.count_events(60)
    telemetry.count_answer("counts", 1.0)
    now = 1070.0
    telemetry.count_events(120)
    minute = telemetry.last_minute()
    assert (minute.answers_per_s, minute.events_per_s, minute.p50_ms) == (0, 2, None)
