"""Follow a training on the terminal and in a file, and stop it at Ctrl-C or `kill`, so that it leaves a checkpoint."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import msgspec

from headrace.app.terminal import ProgressLine, warn
from headrace.app.training_progress import TrainingProgress, write_progress
from headrace.training.progress import Progress

_SECONDS_BETWEEN = 0.5
_MOST_LOSSES = 200


class Watch:
    """A `Watcher` that shows the progress at most twice a second and hears of signals through `stop`."""

    def __init__(
        self,
        line: ProgressLine,
        file: Path | None,
        clock: Callable[[], float] = time.monotonic,
        stopping: threading.Event | None = None,
    ) -> None:
        """Follow on `line`, and in `file` if one is given; `stopping` stops this training with others, if given."""
        self._line = line
        self._file = file
        self._clock = clock
        self._last = float("-inf")
        self._stage = ""
        self._losses: list[float] = []
        self._stopping = stopping or threading.Event()

    def report(self, progress: Progress) -> None:
        """Show it, if the last showing is a while ago or another stage has begun."""
        now = self._clock()
        if now - self._last < _SECONDS_BETWEEN and progress.stage == self._stage and progress.share < 1:
            return
        if progress.stage != self._stage:
            self._losses = []
        self._last, self._stage = now, progress.stage
        if progress.loss is not None:
            self._losses.append(progress.loss)
            if len(self._losses) > _MOST_LOSSES:
                self._losses = self._losses[1::2]
        shown = TrainingProgress(**msgspec.structs.asdict(progress), losses=self._losses)
        self._line.show(shown.share, shown.text())
        if self._file is not None:
            write_progress(self._file, shown)

    def stopped(self) -> bool:
        """Return whether `stop` was called."""
        return self._stopping.is_set()

    def stop(self) -> None:
        """Ask the training to leave a checkpoint and end."""
        self._stopping.set()


@contextmanager
def stopping_on_signals(stop: Callable[[], None], saying: str = "Stopping: writing a checkpoint ...") -> Iterator[None]:
    """Within the block, Ctrl-C and SIGTERM call `stop` after `saying` so; a second Ctrl-C ends all at once."""

    def hear(number: int, _: FrameType | None) -> None:
        signal.signal(number, before[signal.Signals(number)])
        warn(saying)
        stop()

    before = {number: signal.signal(number, hear) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
