"""What a command shows: tables, lines, and progress that is a bar on a terminal and a few plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn
from rich.table import Table
from rich.text import Text

_PIPE_WIDTH = 140
"""Columns of a table that goes into a file or a pipe, where Rich would take 80 and break lines."""
_SECONDS_BETWEEN_LINES = 10.0


def terminal(*, stderr: bool = False) -> Console:
    """Return a console for stdout, or for stderr."""
    probe = Console(stderr=stderr, highlight=False)
    return probe if probe.is_terminal else Console(stderr=stderr, highlight=False, width=_PIPE_WIDTH)


def say(text: str) -> None:
    """Write one line of plain text to stdout, unbroken."""
    terminal().out(text)


def warn(text: str) -> None:
    """Write one line of plain text to stderr, unbroken."""
    terminal(stderr=True).out(text)


def show_table(
    title: str, columns: Sequence[str], rows: Iterable[Sequence[str]], *, numbers: Sequence[int] = ()
) -> None:
    """Show a table on stdout.

    Args:
        title: the line above.
        columns: the heads.
        rows: the cells as text, not read as markup.
        numbers: the places of the columns that stand to the right.
    """
    table = Table(title=Text(title), title_justify="left", title_style="bold", header_style="bold")
    for place, column in enumerate(columns):
        table.add_column(column, justify="right" if place in numbers else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    write = terminal().print
    write(table)


class ProgressLine:
    """A live bar on a terminal; elsewhere a line every ten seconds, so that a log does not drown. On stderr."""

    def __init__(self, title: str) -> None:
        self._title = title
        self._last = float("-inf")
        self._ended = False
        self._console = terminal(stderr=True)
        self._bar: Progress | None = None
        if self._console.is_terminal:
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(bar_width=30),
                TaskProgressColumn(),
                TextColumn("{task.fields[text]}"),
                console=self._console,
            )
            self._task = self._bar.add_task(title, total=1.0, text="")

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def show(self, share: float, text: str) -> None:
        """Show that `share` (0..1) is done, and a short text about it."""
        if self._bar is not None:
            self._bar.update(self._task, completed=share, text=text)
        elif not self._ended and (time.monotonic() - self._last >= _SECONDS_BETWEEN_LINES or share >= 1):
            self._last, self._ended = time.monotonic(), share >= 1
            self._console.out(f"{self._title}: {share:.0%} {text}")
