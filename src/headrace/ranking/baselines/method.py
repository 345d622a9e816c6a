"""What every method of the table can do: learn from events, answer questions."""

from __future__ import annotations

from typing import ClassVar, Protocol

from headrace.data.log import Ints, Longs
from headrace.ranking.questions import Questions

LIST = 20
"""Places of a list; metrics are read at 5, 10 and 20."""


class Method(Protocol):
    """A recommender under test. It has learned from `task.first_rows` when it is made, and from nothing later.

    `learns` is False where events after that change none of its answers; `reads_time` is False where hiding the time of
    the request changes none.
    """

    name: ClassVar[str]
    learns: ClassVar[bool]
    reads_time: ClassVar[bool]

    def observe(self, rows: Longs) -> None:
        """Learn from the events at places `rows` of the log: all events of one moment, users one after the other."""
        ...

    def answer(self, questions: Questions, *, hide_time: bool) -> Ints:
        """Return (Q, K) items, best first, K at least `LIST`; 0 behind the end of a list that is shorter.

        A short list is filled up with what is popular, for every method alike.

        Args:
            questions: their targets and everything later are not looked at.
            hide_time: whether the time of the questions is unknown; "now" is then the newest event learned from.
        """
        ...
