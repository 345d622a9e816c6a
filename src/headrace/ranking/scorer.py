"""The blend: each part of a score standardised over a request's candidates, then a weighted sum.

Shapes: P parts (`sources.PARTS`), n items.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec
import numpy as np

from headrace.core.formats import SHORT_HISTORY, Blend, FirstBlend, Weights
from headrace.core.types import Reason, Seen
from headrace.data.log import EventLog, Floats, Ints, repeated
from headrace.ranking.requests import Request
from headrace.ranking.sources import PARTS, Found, Sources

POPULAR = PARTS.index("popularity")
REASONS: tuple[Reason, ...] = (
    "next",
    "together",
    "popular",
    "similar",
    "again",
    "popular",
    "together",
    "together",
    "popular",
)
"""The reason that goes with each part; `other`, the last one, speaks against an item and is none."""

# NDCG@10 between the cuts, and with counts 1, last 1 and recent 0.5 instead: movietweetings-100k 0.114 (0.100),
# amazon-beauty 0.063 (0.061), ml-latest-small 0.056 (0.053); completejourney's groceries 0.065 with habit (0.062).
UNTRAINED_BLEND = Blend(encoder=0.0, counts=0.0, popularity=0.0, recent=1.0, last=0.5, association=1.0)
"""The weights while no model is loaded. A trained model's blend fits its own."""

REPEAT_WEIGHT = 10.0
"""The weight of habit beside `UNTRAINED_BLEND` where lists may repeat."""

SEEN_SHARE = 0.05
"""Lists hold what the user has met before when at least this share of events repeats an item."""


@dataclass(frozen=True)
class Scorer:
    """Scores items for requests.

    Args:
        blend: the weights of the parts; one whose source is absent adds nothing.
    """

    blend: Blend

    def score(self, request: Request, found: Found, items: Ints, sources: Sources) -> Floats:
        """Return (n,) scores of any items (n,).

        A score depends on the request's candidates but not on the rules, on `k` or on which items are asked about.
        """
        scores = self._contributions(request, found, items).sum(axis=0)
        if request.event_type is not None:
            scores = scores + sources.behaviour.types.log_shares(request.event_type, items)
        return np.asarray(scores, np.float32)

    def reasons(self, request: Request, found: Found, items: Ints) -> list[Reason]:
        """Return for each item (n,) the part that added most; `new` for one that nobody has met yet."""
        added = self._contributions(request, found, items)
        added[PARTS.index("counts"), found.transitions[items] <= 0] = -np.inf
        added[PARTS.index("last"), found.last[items] <= 0] = -np.inf
        added[PARTS.index("association"), found.association[items] <= 0] = -np.inf
        added[PARTS.index("repeat"), found.repeats(items) <= 0] = -np.inf
        added[self._weights(request, found) == 0] = -np.inf
        added[PARTS.index("other")] = -np.inf
        added[POPULAR] = np.maximum(added[POPULAR], np.finfo(np.float32).min)
        events = found.totals[items]
        best = np.argmax(added, axis=0)
        return [REASONS[part] if n else "new" for part, n in zip(best.tolist(), events.tolist(), strict=True)]

    def _contributions(self, request: Request, found: Found, items: Ints) -> Floats:
        """Return (P, n) what each part adds to the score of each item."""
        return found.standardised(items) * self._weights(request, found)[:, None]

    def _weights(self, request: Request, found: Found) -> Floats:
        """Return (P,) the weights of the parts; popularity alone where all are 0."""
        weights = weights_of(blend_for(self.blend, request, found.silence_us))
        if not weights.any():
            weights[POPULAR] = 1
        return weights


def blend_for(blend: Blend, request: Request, silence_us: int = 0) -> Weights | FirstBlend:
    """Return the weights that a request is answered with, so long after the newest event that is counted."""
    if blend.still is not None and silence_us > blend.still_after_us:
        blend = blend.still
    events = len(request.history)
    if not events:
        return blend.first
    if blend.short is not None and events <= SHORT_HISTORY:
        return blend.short
    return blend.unmet if blend.unmet is not None and request.seen == "exclude" else blend


def weights_of(blend: Weights | FirstBlend) -> Floats:
    """Return (P,) the weights of the parts, 0 for one that the blend does not have."""
    return np.array([getattr(blend, name, 0.0) for name in PARTS], np.float32)


def default_scorer(seen: Seen) -> Scorer:
    """Return the scorer of a service without a model: what people do next and now, and habit where lists may repeat."""
    habit = REPEAT_WEIGHT if seen == "include" else 0.0
    return Scorer(msgspec.structs.replace(UNTRAINED_BLEND, repeat=habit))


def seen_habit(log: EventLog) -> Seen:
    """Return whether lists should hold what the user has met: `include` where people come back to items.

    That is where at least `SEEN_SHARE` of the events repeat an item that the same user met at an earlier time.
    """
    return "include" if repeat_share(log) >= SEEN_SHARE else "exclude"


def repeat_share(log: EventLog) -> float:
    """Return the share of events whose item the same user met at an earlier time, 0..1; 0 without events."""
    return float(np.mean(repeated(log))) if len(log) else 0.0
