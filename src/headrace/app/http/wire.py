"""What travels over HTTP: bodies as clients send them, and the answers that have no type below."""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from headrace.core.errors import DataError
from headrace.core.types import Event, Item, Scalar, Seen
from headrace.data.row_rules import Fault
from headrace.data.times import parse_time
from headrace.serving.faults import RowFaultsError
from headrace.serving.questions import PastEvent, Question
from headrace.serving.replies import Rating

Id: TypeAlias = str | int
"""An id; a JSON integer becomes its decimal text."""
Time: TypeAlias = str | int | float
"""ISO 8601 text, or a number whose unit (s, ms, us) is read off its size."""

_TIME_RULE = "time must be ISO 8601 text or a number of seconds, milliseconds or microseconds since 1970"


class EventBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One event. Without `type` it is a `rating` if it has a value, else an `interaction`; without `time` it is now.

    An empty `type`, `event_id` or `recommendation_id` is none.
    """

    user_id: Id
    item_id: Id
    type: str | None = None
    value: float | None = None
    time: Time | None = None
    event_id: Id | None = None
    recommendation_id: str | None = None
    context: dict[str, Scalar] | None = None


class ItemBody(msgspec.Struct, frozen=True, kw_only=True):
    """One item; any other field is kept as an attribute."""

    item_id: Id | None = None
    title: str | None = None
    text: str | None = None
    categories: list[str] = []
    price: float | None = None
    available: bool = True
    image: str | None = None
    audio: str | None = None
    attributes: dict[str, Scalar] = {}


class ListedItemBody(ItemBody, frozen=True, kw_only=True):
    """One item of a list; any other field is kept as an attribute."""

    item_id: Id


class PastEventBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One event of a history that comes with the question."""

    item_id: Id
    type: str | None = None
    value: float | None = None
    time: Time | None = None


class AskBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A question: either `user_id` or `history` (item ids or events, oldest first). `context` is not used yet."""

    user_id: Id | None = None
    history: list[Id | PastEventBody] | None = None
    k: int = 10
    exclude: list[Id] = []
    event_type: str | None = None
    seen: Seen | None = None
    category: str | None = None
    scenario: str | None = None
    at_least: int = 0
    context: dict[str, Scalar] | None = None


class RankBody(AskBody, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A question that ranks the given items alone; unknown ones are left out. `k` defaults to all of them."""

    item_ids: list[Id]
    k: int | None = None  # type: ignore[assignment]  # here None stands for "as many as were given"


class RatingsBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Which ratings to predict."""

    user_id: Id
    item_ids: list[Id]


class ModelBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A model folder, relative to the service's models folder."""

    path: str


class Ratings(msgspec.Struct, frozen=True):
    """Predicted ratings, in the order asked for."""

    ratings: list[Rating]


class Items(msgspec.Struct, frozen=True):
    """A list of items."""

    items: list[Item]


class Stored(msgspec.Struct, frozen=True):
    """How many entries were stored."""

    stored: int


class Taken(msgspec.Struct, frozen=True):
    """The version of the model that serves from now on."""

    model: str


class Health(msgspec.Struct, frozen=True):
    """`live`, `ready` or `starting`."""

    status: str


def event_of(body: EventBody, index: int) -> Event:
    """Turn a body into an event; an empty `event_id` or `recommendation_id` is none.

    Raises:
        RowFaultsError: the time cannot be read.
    """
    return Event(
        user_id=str(body.user_id),
        item_id=str(body.item_id),
        type=body.type,
        value=body.value,
        time=_microseconds(body.time, index),
        event_id=None if body.event_id in (None, "") else str(body.event_id),
        recommendation_id=body.recommendation_id or None,
        context=body.context,
    )


def question_of(body: AskBody) -> Question:
    """Turn a body into a question.

    Raises:
        DataError: not exactly one of `user_id` and `history`.
    """
    if (body.user_id is None) == (body.history is None):
        raise DataError("a question has either user_id or history; send one of the two")
    check_scenario(body.scenario)
    return Question(
        user_id=None if body.user_id is None else str(body.user_id),
        history=[_past(entry, index) for index, entry in enumerate(body.history or ())],
        k=body.k,
        exclude=[str(item) for item in body.exclude],
        event_type=body.event_type,
        seen=body.seen,
        category=body.category,
        at_least=body.at_least,
    )


def ranking_of(body: RankBody) -> Question:
    """Turn a body into a question that ranks the given items; see `question_of`."""
    ids = [str(item) for item in body.item_ids]
    if not ids:
        raise DataError("item_ids must hold at least one id, got none")
    asked = question_of(msgspec.structs.replace(body, k=len(ids) if body.k is None else body.k))
    return Question(
        user_id=asked.user_id,
        history=asked.history,
        k=asked.k,
        exclude=asked.exclude,
        event_type=asked.event_type,
        seen=asked.seen or "include",
        category=asked.category,
        only=ids,
        at_least=asked.at_least,
    )


def check_scenario(name: str | None) -> None:
    """Refuse a scenario, as none can be configured yet."""
    if name is not None:
        raise DataError(f"a scenario must be one that is configured, got {name!r} and none is; leave `scenario` out")


def _past(entry: Id | PastEventBody, index: int) -> PastEvent:
    if isinstance(entry, PastEventBody):
        time = _microseconds(entry.time, index)
        return PastEvent(item_id=str(entry.item_id), type=entry.type, value=entry.value, time=time)
    return PastEvent(item_id=str(entry))


def _microseconds(time: Time | None, index: int) -> int | None:
    if time is None:
        return None
    found = parse_time(time)
    if found is None or abs(found) >= 2**62:
        raise RowFaultsError([Fault(index, "time", "time-format", _TIME_RULE)])
    return found
