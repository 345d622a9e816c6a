"""A model that answers with the states of its users, and questions that are ready for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from headrace.ranking.requests import Request
from headrace.serving.arena import Arena
from headrace.serving.models import LoadedModel
from headrace.serving.questions import Waiting
from headrace.serving.states import UserState


@dataclass(frozen=True, eq=False)
class Side:
    """A model and the states of users under it. While models are exchanged there are two sides."""

    model: LoadedModel
    arena: Arena

    def unread(self, state: UserState | None) -> int:
        """Return how many events a question about a user will have to read."""
        return 0 if state is None else self.arena.unread(state.key, len(state.history))


class Prepared(NamedTuple):
    """Questions with what the encoder says to each, ready to become lists.

    Args:
        waiting: (B,) who asks.
        keys: (B,) of the users, None where the store knows none.
        requests: (B,) what the lists are made of.
        side: the model that answers, with its states; None where the counts do.
        model: its name.
        seen: the last sequence number that is counted in.
        as_of: the time of the newest event, ISO.
        now: when, microseconds UTC.
    """

    waiting: Sequence[Waiting]
    keys: Sequence[int | None]
    requests: Sequence[Request]
    side: Side | None
    model: str
    seen: int
    as_of: str | None
    now: int

    def part(self, place: int) -> Prepared:
        """Return one of them."""
        one = slice(place, place + 1)
        return self._replace(waiting=self.waiting[one], keys=self.keys[one], requests=self.requests[one])
