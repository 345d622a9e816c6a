"""A second thread of the engine: what was handed to it is done in order, while the first goes on."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable

_AHEAD = 1
"""Works that may wait: the first thread is a batch ahead, and does not run away from the second."""


class Stage:
    """Does works in their order; handed to by one thread."""

    def __init__(self, name: str) -> None:
        """`name` is the thread's."""
        self._works: deque[Callable[[], None]] = deque()
        self._busy = self._stopping = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Do what waits, and end."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        self._thread.join()

    @property
    def idle(self) -> bool:
        """Whether all that was handed over is done."""
        return not self._works and not self._busy

    def do(self, work: Callable[[], None]) -> None:
        """Hand over a work; waits while others wait."""
        with self._changed:
            self._changed.wait_for(lambda: len(self._works) < _AHEAD)
            self._works.append(work)
            self._changed.notify_all()

    def settle(self) -> None:
        """Wait until all that was handed over is done."""
        with self._changed:
            self._changed.wait_for(lambda: self.idle)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._busy = False
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._works or self._stopping)
                if not self._works:
                    return
                self._busy = True  # before there is none in the line: `idle` looks without the lock
                work = self._works.popleft()
                self._changed.notify_all()
            try:
                work()
            except Exception:  # works answer for themselves; the thread must outlive one that could not
                logging.getLogger(__name__).exception("the engine could not finish something")
            del work  # it may hold what a user did, until the next one comes
