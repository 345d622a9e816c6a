"""Start the real commands in processes of their own, as a user would, and read where they listen."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

_START_S = 120.0


class Running:
    """A started command: its output so far, and its address once it printed one."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.lines: list[str] = []
        self.url = ""
        self._told = threading.Event()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def wait_for_address(self) -> None:
        assert self._told.wait(_START_S), self.output
        assert self.url, self.output

    @property
    def output(self) -> str:
        return "\n".join(self.lines)

    def stop(self) -> int:
        """End it as `kill` does, and return its exit code."""
        if self.process.poll() is None:
            self.process.terminate()
        code = self.process.wait(60)
        self._reader.join(10)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return code

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip())
            found = re.search(r"http://127\.0\.0\.1:\d+", line)
            if found and not self.url:
                self.url = found.group()
                self._told.set()
        self._told.set()


@contextmanager
def running(arguments: Sequence[str | Path], folder: Path, **environment: str) -> Iterator[Running]:
    """Run `headrace` with `arguments` in `folder` until the block ends."""
    command = [sys.executable, "-u", "-m", "headrace.app.command_line", *map(str, arguments)]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HEADRACE_")}
    process = subprocess.Popen(
        command, cwd=folder, env=kept | environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    started = Running(process)
    try:
        started.wait_for_address()
        yield started
    finally:
        started.stop()
