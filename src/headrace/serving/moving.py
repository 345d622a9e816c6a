"""After a swap: users move to the new model one after the other, those asked about last first.

To read everybody anew at once would keep both cores busy for minutes, and to read each at their next question would
make all of them wait.
"""

from __future__ import annotations

import logging
import threading
import time

from headrace.serving.engine import Engine

_TOGETHER = 2
"""Users who are read anew at once: 1 ms."""
_SHARE = 0.25
"""Of a core's time, what moving may take at most."""


class Mover:
    """One thread, as long as there is somebody to move."""

    def __init__(self, engine: Engine, patience_s: float) -> None:
        """`patience_s` is how long the old model is kept; who has not moved by then is read at their next question."""
        self._engine = engine
        self._patience_s = patience_s
        self._ending = threading.Event()
        self._thread: threading.Thread | None = None

    def begin(self) -> None:
        """Move everybody who has a state under the model before; an earlier move is over."""
        self.stop()
        self._ending.clear()
        self._thread = threading.Thread(target=self._run, name="headrace-moving", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Move nobody any more."""
        self._ending.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        began, pause = time.monotonic(), 0.0
        while not self._ending.wait(pause):
            if time.monotonic() - began > self._patience_s:
                self._engine.part().result()
                return
            started = time.perf_counter()
            try:
                left = self._engine.move(_TOGETHER).result()
            except Exception:  # logged, whatever it was: everybody is read at their next question
                logging.getLogger(__name__).exception("users could not be moved to the new model one by one")
                self._engine.part().result()
                return
            if not left:
                return
            pause = (time.perf_counter() - started) * (1 / _SHARE - 1)
