"""Train a model in a process of low priority beside a running service, show how far it is, and hand the model over."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from headrace.app.terminal import ProgressLine, say, warn
from headrace.app.training_progress import TrainingProgress, read_progress
from headrace.core.errors import HeadraceError

_NICENESS = 10
"""The service goes first: at this difference the kernel gives it about nine tenths of a contended core."""
_PATIENCE_S = 30.0
"""Time for a stopped training to write its checkpoint."""


class BackgroundTraining:
    """One training behind a service; `start` returns at once, `stop` leaves a checkpoint for the next start."""

    def __init__(self, arguments: list[str], progress: Path, log: Path, take: Callable[[], str]) -> None:
        """Name the work; nothing runs yet.

        Args:
            arguments: of `headrace train`.
            progress: where the training says how far it is.
            log: where its output goes.
            take: hands the finished model to the service and returns what to say.
        """
        self._arguments = arguments
        self._progress = progress
        self._log = log
        self._take = take
        self._process: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._follow, name="headrace-training", daemon=True)
        self._stopping = threading.Event()

    @property
    def now(self) -> TrainingProgress | None:
        """How far it is; None before it begins and after it ended."""
        running = self._process is not None and self._process.poll() is None
        return read_progress(self._progress) if running else None

    def start(self) -> None:
        """Begin; without PyTorch say so and leave it."""
        if find_spec("torch") is None:
            say("No PyTorch (pip install 'headrace[train]'), so no Transformer is trained; counts go on answering.")
            return
        self._progress.unlink(missing_ok=True)
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "headrace.app.command_line", "train", *self._arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        os.setpriority(os.PRIO_PROCESS, self._process.pid, _NICENESS)
        self._thread.start()

    def stop(self) -> None:
        """End the training, which leaves a checkpoint first; return when it is gone."""
        self._stopping.set()
        if self._process is None:
            return
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(_PATIENCE_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._thread.join(_PATIENCE_S)

    def _follow(self) -> None:
        """Show the progress until the process ends, then hand the model over."""
        process = self._process
        assert process is not None
        with ProgressLine("training") as line:
            while process.poll() is None:
                progress = read_progress(self._progress)
                if progress is not None:
                    line.show(progress.share, progress.text())
                self._stopping.wait(1.0)
        if self._stopping.is_set():
            return
        if process.returncode != 0:
            warn(f"The training ended with exit code {process.returncode}; counts go on answering. From {self._log}:")
            warn("\n".join(self._log.read_text(errors="replace").splitlines()[-5:]))
            return
        try:
            say(self._take())
        except HeadraceError as error:
            warn(f"The service goes on as it was: {error}")
