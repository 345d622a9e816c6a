"""What a list is asked for with, and what comes back."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from headrace.core.types import Reason, Seen
from headrace.data.log import Floats, History, Ints

NO_ITEMS: Ints = np.empty(0, np.int32)


@dataclass(frozen=True)
class Request:
    """One question. All items are indices into the caller's catalogue.

    Args:
        history: what the user did, oldest first, strictly before the question.
        k: how many items to return, at least 1.
        time: when it is asked, microseconds in UTC; None means unknown (the newest event counts as now).
        exclude: items that must not be on the list.
        seen: whether items of the history may be on the list.
        event_type: rank by the chance of this type of event; None means any.
        only: score exactly these; None means the whole catalogue.
        category: list only items of this category; None means any.
        user: (D,) the encoder's vector of the user, where the caller keeps it up to date; None computes it.
        encoded: (V + 1,) the encoder's scores of all items, where the caller has them; None computes them.
    """

    history: History
    k: int = 10
    time: int | None = None
    exclude: Ints = field(default_factory=lambda: NO_ITEMS)
    seen: Seen = "exclude"
    event_type: int | None = None
    only: Ints | None = None
    category: str | None = None
    user: Floats | None = None
    encoded: Floats | None = None


@dataclass(frozen=True)
class Answer:
    """A list, best first; equal scores go to the lower item index.

    Args:
        items: (n,) item indices, n <= k; n < k only where no more items pass the rules.
        scores: (n,) falling; they compare within one answer only.
        reasons: (n,) the part that added most to each score.
    """

    items: Ints
    scores: Floats
    reasons: list[Reason]
