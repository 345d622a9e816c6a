"""Questions that came too early, before the event which they ask to be counted in, or that are answered too late."""

from __future__ import annotations

import time
from collections.abc import Sequence

from headrace.core.errors import LateError, OverloadedError
from headrace.serving.questions import Waiting

AT_LEAST_S = 2.0
"""How long a question with `at_least` waits for that event."""


class Early:
    """Those that wait; used by one thread."""

    def __init__(self, limit: int) -> None:
        """`limit` is how many may wait."""
        self._limit = limit
        self._waiting: list[Waiting] = []

    def __len__(self) -> int:
        """Return how many wait."""
        return len(self._waiting)

    def sort_out(self, asked: Sequence[Waiting], applied: int) -> list[Waiting]:
        """Return those whose event is counted in, up to sequence `applied`; the others wait for theirs from now on."""
        early = [one for one in asked if one.question.at_least > applied]
        room = self._limit - len(self._waiting)
        self._waiting.extend(early[:room])
        for one in early[room:]:
            one.future.set_exception(
                OverloadedError(f"{len(self._waiting)} questions wait for an event; try again later")
            )
        return [one for one in asked if one.question.at_least <= applied]

    def ready(self, applied: int) -> list[Waiting]:
        """Return those whose event has come, and keep them no longer."""
        ready = [one for one in self._waiting if one.question.at_least <= applied]
        if ready:
            self._waiting = [one for one in self._waiting if one.question.at_least > applied]
        return ready

    def refuse(self, applied: int, now: float) -> None:
        """Tell those that they are late who have waited for too long, at a moment by `perf_counter`."""
        late = [one for one in self._waiting if now - one.since > AT_LEAST_S]
        if late:
            self._waiting = [one for one in self._waiting if now - one.since <= AT_LEAST_S]
        for one in late:
            one.future.set_exception(
                LateError(
                    f"an answer that counts in event {one.question.at_least} was asked for, "
                    f"{applied} is the last one seen after {AT_LEAST_S:g} s; ask again"
                )
            )


def in_time(waiting: Sequence[Waiting], deadline_s: float) -> list[Waiting]:
    """Return those that have not waited longer than that; the others are told that they are late."""
    latest = time.perf_counter() - deadline_s
    for one in waiting:
        if one.since < latest:
            message = f"it waited longer than {1000 * deadline_s:g} ms to be answered; try again later"
            one.future.set_exception(LateError(message))
    return [one for one in waiting if one.since >= latest]
