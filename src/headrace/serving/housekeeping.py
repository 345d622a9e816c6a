"""What has to be done now and then beside serving: snapshots, forgetting old answers, finishing erasures."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from sqlalchemy import Connection

from headrace.core.settings import ServingSettings
from headrace.serving.answer_records import prune_by_age, prune_by_bytes
from headrace.serving.engine import Engine
from headrace.serving.erasing import Eraser
from headrace.serving.telemetry import Telemetry
from headrace.serving.writer import Writer

_DAY_US = 86_400_000_000
_LOOK_S = 30.0
"""How often it looks whether something is due."""


class Housekeeping:
    """One thread that sleeps most of the time."""

    def __init__(
        self,
        engine: Engine,
        writer: Writer,
        eraser: Eraser,
        *,
        settings: ServingSettings,
        telemetry: Telemetry,
        clock: Callable[[], int],
    ) -> None:
        """`clock` gives microseconds UTC."""
        self._engine = engine
        self._writer = writer
        self._eraser = eraser
        self._settings = settings
        self._telemetry = telemetry
        self._clock = clock
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="headrace-housekeeping", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End, after what is being done."""
        self._ending.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        every, since = self._settings.snapshot_minutes * 60, 0.0
        while not self._ending.wait(_LOOK_S):
            since += _LOOK_S
            try:
                self._prune()
                if since >= every or self._engine.unsaved:
                    self._engine.save().result()
                    since = 0.0
                self._eraser.finish()
            except Exception:  # counted and logged; the thread must be there for the next round
                self._telemetry.errors.labels("housekeeping").inc()
                logging.getLogger(__name__).exception("housekeeping failed; it will try again")

    def _prune(self) -> None:
        before = self._clock() - round(self._settings.answers_days * _DAY_US)
        self._repeat("age", lambda connection: prune_by_age(connection, before))
        self._repeat("bytes", lambda connection: prune_by_bytes(connection, self._settings.answers_bytes))

    def _repeat(self, reason: str, prune: Callable[[Connection], int]) -> None:
        """Delete a portion after the other; in between the writer has as long for others as a portion took."""
        started, until = time.perf_counter(), time.perf_counter() + _LOOK_S
        while started < until and not self._ending.is_set():
            pruned = self._writer.execute(prune).result()
            if not pruned:
                return
            self._telemetry.answers_pruned.labels(reason).inc(pruned)
            self._ending.wait(time.perf_counter() - started)
            started = time.perf_counter()
