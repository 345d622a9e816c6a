"""What the service counts of itself: the Prometheus metrics, and the last minute for the page."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence

import msgspec
import numpy as np
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import generate_latest

from headrace.serving.batch import Commit

_LATENCIES = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
_WINDOW_S = 60
_LATENCIES_KEPT = 100_000
"""Answers of the last minute whose latency is kept; more than 1,667 a second push the older ones out."""


class Minute(msgspec.Struct, frozen=True):
    """The last 60 seconds. Latencies are of answers inside the service, from question to answer; None without any."""

    events_per_s: float
    answers_per_s: float
    p50_ms: float | None
    p99_ms: float | None


class _PerSecond:
    """How many there were in each second of the last minute; added to by one thread, read by any."""

    def __init__(self) -> None:
        self._counts: deque[tuple[int, int]] = deque(maxlen=_WINDOW_S)

    def add(self, n: int) -> None:
        """Count n now."""
        second = int(time.perf_counter())
        if self._counts and self._counts[-1][0] == second:
            self._counts[-1] = (second, self._counts[-1][1] + n)
        else:
            self._counts.append((second, n))

    def last_minute(self) -> int:
        """Return the sum over the last minute."""
        oldest = time.perf_counter() - _WINDOW_S
        return sum(n for second, n in list(self._counts) if second >= oldest)


class Telemetry:
    """The metrics of one service, in a registry of its own. Safe from any thread."""

    def __init__(self) -> None:
        registry = self.registry = CollectorRegistry()
        self.events = Counter(
            "headrace_events", "Events by outcome: accepted, duplicate, refused.", ["outcome"], registry=registry
        )
        self.answers = Counter("headrace_answers", "Answers given, per model.", ["model"], registry=registry)
        self.followed = Counter(
            "headrace_answers_followed", "Answers followed by an event, per model.", ["model"], registry=registry
        )
        self.errors = Counter(
            "headrace_errors", "Requests that failed, by the name of the error.", ["error"], registry=registry
        )
        self.visible = Histogram(
            "headrace_event_visible_seconds",
            "Time from an event's arrival until answers count it in.",
            buckets=_LATENCIES,
            registry=registry,
        )
        self.answer_seconds = Histogram(
            "headrace_answer_seconds",
            "Time from a question until its answer, without HTTP.",
            buckets=_LATENCIES,
            registry=registry,
        )
        self.request_seconds = Histogram(
            "headrace_request_seconds",
            "Time of an HTTP request, by route.",
            ["route"],
            buckets=_LATENCIES,
            registry=registry,
        )
        self.answers_lost = Counter(
            "headrace_answer_records_lost", "Answers whose record was dropped as too many waited.", registry=registry
        )
        self.answers_pruned = Counter(
            "headrace_answer_records_pruned",
            "Records of answers deleted, by reason: age (`serving.answers_days`), bytes (`serving.answers_bytes`).",
            ["reason"],
            registry=registry,
        )
        self.queue = Gauge("headrace_queue_length", "Requests that wait, by queue.", ["queue"], registry=registry)
        self.events_seen = Gauge("headrace_events_seen", "Sequence of the last event in the counts.", registry=registry)
        self.user_bytes = Gauge("headrace_user_cache_bytes", "Memory of recent users' histories.", registry=registry)
        self.state_bytes = Gauge("headrace_state_bytes", "Memory of recent users' encoder states.", registry=registry)
        self.rebuilt = Gauge(
            "headrace_states_rebuilt", "States computed from a history since the model came.", registry=registry
        )
        self._events = _PerSecond()
        self._answers = _PerSecond()
        self._latencies: deque[tuple[float, float]] = deque(maxlen=_LATENCIES_KEPT)

    def watch_queue(self, name: str, length: Callable[[], int]) -> None:
        """Show the length of a queue."""
        self.queue.labels(name).set_function(length)

    def count_commits(self, commits: Sequence[Commit]) -> None:
        """Note commits whose events are counted in now."""
        now, events = time.perf_counter(), sum(len(commit.events) for commit in commits)
        self.events.labels("accepted").inc(events)
        self._events.add(events)
        for commit in commits:
            if commit.events and commit.since is not None:
                self.visible.observe(now - commit.since)
            self.events.labels("duplicate").inc(commit.duplicates)
            for model, count in commit.followed.items():
                self.followed.labels(model).inc(count)

    def count_answers(self, model: str, asked: Sequence[float]) -> None:
        """Note answers that were given now, and when each was asked for, by `perf_counter`."""
        now = time.perf_counter()
        self.answers.labels(model).inc(len(asked))
        self._answers.add(len(asked))
        for moment in asked:
            self.answer_seconds.observe(now - moment)
            self._latencies.append((now, now - moment))

    def last_minute(self) -> Minute:
        """Return what happened in the last 60 seconds."""
        oldest = time.perf_counter() - _WINDOW_S
        latencies = [seconds for moment, seconds in list(self._latencies) if moment >= oldest]
        p50, p99 = np.percentile(latencies, (50, 99)) * 1000 if latencies else (None, None)
        return Minute(
            events_per_s=self._events.last_minute() / _WINDOW_S,
            answers_per_s=self._answers.last_minute() / _WINDOW_S,
            p50_ms=None if p50 is None else round(float(p50), 3),
            p99_ms=None if p99 is None else round(float(p99), 3),
        )

    def exposition(self) -> bytes:
        """Return the metrics in Prometheus' text format."""
        return generate_latest(self.registry)
