"""What a search for a recipe found, as `tuning.json` holds it."""

from __future__ import annotations

from typing import Literal

import msgspec

Outcome = Literal["complete", "pruned", "failed"]


class Tried(msgspec.Struct, frozen=True, kw_only=True):
    """One recipe that was tried.

    Args:
        number: from 0, the recipe that `headrace train` would take.
        state: `pruned` where it was given up early, `failed` where its loss was not a number.
        score: NDCG@10 of the blend between the cuts; of complete ones.
        parts: that of the encoder alone and of the counts alone.
        checks: NDCG@10 of the encoder while it was trained, at even distances of the whole.
        seconds: it took.
        steps: the whole is.
        parameters: fields of `[training]`.
    """

    number: int
    state: Outcome
    score: float | None
    parts: dict[str, float]
    checks: list[float]
    seconds: float
    steps: int
    parameters: dict[str, int | float]


class TuningRecord(msgspec.Struct, frozen=True, kw_only=True):
    """`tuning.json`.

    Args:
        metric: what the scores are.
        protocol: that the scores and the model follow.
        minutes: given for all.
        seconds: that it took.
        best: the number of the best trial.
        trials: all of them, in order.
        validation: NDCG@10 between the cuts of the model that was written: `headrace`, `encoder`, `counts`.
    """

    metric: str = "NDCG@10 of the blend between the cuts"
    protocol: str
    minutes: float
    seconds: float
    best: int
    trials: list[Tried]
    validation: dict[str, float]
