"""The types that users see: events, items, recommendations, and the ways an answer can come about."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

import msgspec

Scalar: TypeAlias = str | int | float | bool | None
"""What a context or an attribute may hold."""

Reason: TypeAlias = Literal["next", "together", "similar", "again", "popular", "new"]
"""Why an item is on a list, by the part that added most to its score.

`next`: the Transformer expects it next. `together`: people who met these items went on to it. `similar`: its content
resembles what the user met. `again`: the user met it before and repeats are usual here. `popular`: many people meet it
now. `new`: an item without a past gets its first look.
"""

Seen: TypeAlias = Literal["include", "exclude"]
"""Whether items that the user has met already may be on the list."""

MAX_ID_BYTES = 256
DEFAULT_TYPE = "interaction"
RATING_TYPE = "rating"


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that a user did with an item.

    Args:
        user_id: text of 1-256 bytes without control characters.
        item_id: likewise.
        type: `rating` when empty and a value is given, `interaction` when neither is.
        value: the rating for a `rating`; elsewhere an optional weight (quantity, seconds watched).
        time: microseconds since 1970 in UTC, int64; None means "now" in the service.
        event_id: the client's own id; the same id again is a retry.
        recommendation_id: the answer that led here.
        context: device, page, country ...
    """

    user_id: str
    item_id: str
    type: str | None = None
    value: float | None = None
    time: int | None = None
    event_id: str | None = None
    recommendation_id: str | None = None
    context: dict[str, Scalar] | None = None


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of the catalogue; `attributes` holds every field that has no name of its own here."""

    item_id: str
    title: str | None = None
    text: str | None = None
    categories: tuple[str, ...] = ()
    price: float | None = None
    available: bool = True
    image: str | None = None
    audio: str | None = None
    attributes: dict[str, Scalar] = {}

    def content_text(self) -> str:
        """Return the text that the encoder reads: title, text and categories, empty parts left out."""
        parts = [self.title, self.text, ", ".join(self.categories)]
        return ". ".join(part for part in parts if part)


class Recommendation(msgspec.Struct, frozen=True):
    """One place of a list, best first. Scores compare within one answer only."""

    item_id: str
    score: float
    reason: Reason


class Scale(msgspec.Struct, frozen=True):
    """The rating scale of a dataset, bounds included; values are scaled by it, never centred per user."""

    low: float
    high: float
    step: Annotated[float, msgspec.Meta(gt=0)] | None = None

    def to_unit(self, value: float) -> float:
        """Map a rating to 0..1."""
        return (value - self.low) / (self.high - self.low)
