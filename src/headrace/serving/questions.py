"""What the engine is asked and what it gives back, in ids."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

import msgspec

from headrace.core.types import Recommendation, Seen

NO_MODEL = "counts"
"""The model named in an answer while no Transformer is loaded."""

DEGRADED = "degraded"
"""The model named in an answer that the counts gave alone, as the Transformer would have been late."""


class PastEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One event of a history that comes with the question; `time` in microseconds, None for "just now"."""

    item_id: str
    type: str | None = None
    value: float | None = None
    time: int | None = None


@dataclass(frozen=True)
class Question:
    """One question for a list.

    Args:
        user_id: whose stored history counts; None for a history that comes along.
        history: oldest first; read only without `user_id`.
        k: how many items.
        exclude: ids that must not be on the list.
        event_type: rank by the chance of this type of event.
        seen: whether the list may hold what the user met; None follows the learned habit.
        category: only items of it.
        only: rank exactly these.
        at_least: wait until the answer can count in this sequence number.
    """

    user_id: str | None = None
    history: Sequence[PastEvent] = ()
    k: int = 10
    exclude: Sequence[str] = ()
    event_type: str | None = None
    seen: Seen | None = None
    category: str | None = None
    only: Sequence[str] | None = None
    at_least: int = 0


class Given(msgspec.Struct, frozen=True):
    """An answer.

    `model` is the version that answered; `counts` where none is loaded, `degraded` where one is and would have been
    late.
    `as_of` is the ISO time of the newest event counted in, None before the first one.
    """

    recommendation_id: str
    model: str
    events_seen: int
    as_of: str | None
    items: list[Recommendation]


@dataclass
class Waiting:
    """A question in the queue. `since` by `perf_counter`."""

    question: Question
    future: Future[Given] = field(default_factory=Future)
    since: float = field(default_factory=time.perf_counter)
