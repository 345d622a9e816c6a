"""What the service gives back besides answers."""

from __future__ import annotations

import msgspec

from headrace.serving.store import StoredEvent


class Rating(msgspec.Struct, frozen=True):
    """A predicted rating on the dataset's scale; nine in ten true ones lie in `low..high`."""

    item_id: str
    rating: float
    low: float
    high: float


class Erasure(msgspec.Struct, frozen=True):
    """A user was forgotten. `models` are the versions that still learned from them."""

    erasure_id: str
    models: list[str]


class UserPage(msgspec.Struct, frozen=True):
    """A user's events, oldest first; with `limit` the newest of them."""

    user_id: str
    events: list[StoredEvent]
