"""The blend: each part of a score standardised over a request's candidates, then a weighted sum.

The sum is taken in `choice_kernels.py`; here is what each part weighs. Shapes: P parts (`sources.PARTS`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import msgspec
import numpy as np

from headrace.core.formats import SHORT_HISTORY, Blend, FirstBlend, Weights
from headrace.core.types import Reason, Seen
from headrace.data.log import EventLog, Floats, repeated
from headrace.ranking.requests import Request
from headrace.ranking.sources import PARTS

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
    "new",
)
"""The reason that goes with each part. `other`, the last one, speaks against an item and is none: in its place stands
that of an item which nobody has met yet, `choice_kernels.NOBODY`."""

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
    """Says what the parts of a score weigh.

    Args:
        blend: the weights; one whose source is absent adds nothing.
    """

    blend: Blend

    def weights(self, request: Request, silence_us: int) -> Floats:
        """Return (P,) the weights of the parts, `silence_us` after the newest event; popularity alone if all are 0."""
        weights = weights_of(blend_for(self.blend, request, silence_us))
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
    return np.array(_weights_of(blend), np.float32)


@lru_cache(maxsize=64)
def _weights_of(blend: Weights | FirstBlend) -> tuple[float, ...]:
    return tuple(getattr(blend, name, 0.0) for name in PARTS)


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
