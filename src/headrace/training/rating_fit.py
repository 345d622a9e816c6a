"""Fit the rating head behind a trained encoder.

Damping comes in closed form, the residual by gradient, its weight from the validation. Every rating is predicted from
the user's strictly earlier events, as it will be when serving.

Shapes: N events, P pairs (ratings), D width, F features.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from headrace.core.formats import RatingFit
from headrace.data.damped_means import ItemSums, rating_features, user_offsets
from headrace.data.log import Bools, EventLog, Floats, Longs
from headrace.model.rating_head import RatingHead

_DAMPINGS = (0.5, 1.0, 2.0, 3.0, 5.0, 8.0, 12.0, 20.0)
_EPOCHS = 12
_BATCH = 1024
_RATE = 3e-3
_DECAY = 0.05
_LEAST_RATINGS = 50
"""Below this a residual cannot be told from chance, and the means alone are used."""


@dataclass(frozen=True)
class RatingData:
    """The ratings of a log and what predicts them.

    Args:
        log: events in canonical order.
        unit: (N,) the rating on 0..1.
        rated: (N,) whether the event is a rating.
        learned: (N,) whether it may be learned from; the other ratings are the validation.
        users: (N, D) the user vector from strictly earlier events.
        outputs: (V + 1, D) item output vectors.
        before: (N,) one past the last strictly earlier event of the user.
        starts: (N,) first event of the user.
    """

    log: EventLog
    unit: Floats
    rated: Bools
    learned: Bools
    users: Floats
    outputs: Floats
    before: Longs
    starts: Longs


@dataclass(frozen=True)
class RatingChoice:
    """What the fitted stage chose: everything but what is counted and learned anew in the refitted one."""

    fit: RatingFit
    epochs: int


def fit_ratings(data: RatingData, seed: int) -> tuple[RatingHead, RatingChoice, ItemSums]:
    """Fit on the learned ratings, choose damping, epochs and weight on the others."""
    sums = _count(data)
    check = data.rated & ~data.learned
    if not check.any():
        check = data.rated
    item_damping, user_damping = _choose_damping(data, sums, check)
    pairs = _Pairs.of(data, sums, (item_damping, user_damping))
    head = _new_head(data, seed)
    best, epochs, kept = 0.0, 0, {name: t.clone() for name, t in head.state_dict().items()}
    target = (data.unit - pairs.base)[check]
    if int((data.rated & data.learned).sum()) >= _LEAST_RATINGS:
        for epoch in range(1, _EPOCHS + 1):
            _learn_epoch(head, data, pairs, np.random.default_rng([seed, epoch, 41]))
            gain = _gain(target, _residuals(head, data, pairs, check))[1]
            if gain > best:
                best, epochs, kept = gain, epoch, {name: t.clone() for name, t in head.state_dict().items()}
    head.load_state_dict(kept)
    residual = _residuals(head, data, pairs, check)
    weight = _gain(target, residual)[0] if epochs else 0.0
    low, high = np.quantile(target - weight * residual, [0.05, 0.95])
    fit = RatingFit(
        mean=sums.mean,
        item_damping=item_damping,
        user_damping=user_damping,
        weight=weight,
        low=float(low),
        high=float(high),
    )
    return head, RatingChoice(fit, epochs), sums


def refit_ratings(data: RatingData, choice: RatingChoice, seed: int) -> tuple[RatingHead, RatingFit, ItemSums]:
    """Learn from all ratings that `data` marks as learned, with the choices of the fitted stage."""
    sums = _count(data)
    fit = choice.fit
    pairs = _Pairs.of(data, sums, (fit.item_damping, fit.user_damping))
    head = _new_head(data, seed)
    for epoch in range(1, choice.epochs + 1):
        _learn_epoch(head, data, pairs, np.random.default_rng([seed, epoch, 41]))
    return head, msgspec.structs.replace(fit, mean=sums.mean), sums


@dataclass(frozen=True)
class _Pairs:
    """(N,) the damped means of each event, and (N, F) the features; an item's offset leaves the event itself out."""

    base: Floats
    features: Floats

    @classmethod
    def of(cls, data: RatingData, sums: ItemSums, damping: tuple[float, float]) -> _Pairs:
        item_damping, user_damping = damping
        items = data.log.items
        own = (data.rated & data.learned).astype(np.float32)
        deviation = data.unit - np.float32(sums.mean)
        counts = sums.counts[items] - own
        item_offset = (sums.sums[items] - own * deviation) / (counts + np.float32(item_damping))
        seen = deviation - sums.offsets(item_damping)[items]
        user_offset, user_count = user_offsets(seen, data.rated, data.before, data.starts, user_damping)
        base = np.float32(sums.mean) + item_offset + user_offset
        return cls(base.astype(np.float32), rating_features(user_offset, item_offset, user_count, counts))


def _count(data: RatingData) -> ItemSums:
    known = data.rated & data.learned
    return ItemSums.of(data.log.items[known], data.unit[known], data.log.n_items)


def _choose_damping(data: RatingData, sums: ItemSums, check: Bools) -> tuple[float, float]:
    errors = {}
    for item_damping in _DAMPINGS:
        for user_damping in _DAMPINGS:
            base = _Pairs.of(data, sums, (item_damping, user_damping)).base
            errors[item_damping, user_damping] = float(np.mean((np.clip(base, 0, 1) - data.unit)[check] ** 2))
    return min(errors, key=lambda damping: errors[damping])


def _new_head(data: RatingData, seed: int) -> RatingHead:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return RatingHead(data.users.shape[1])


def _learn_epoch(head: RatingHead, data: RatingData, pairs: _Pairs, generator: np.random.Generator) -> None:
    """One epoch of plain AdamW with a constant rate; moments start anew, which a small head does not mind."""
    optimizer = torch.optim.AdamW(head.parameters(), lr=_RATE, weight_decay=_DECAY)
    head.train()
    places = generator.permutation(np.flatnonzero(data.rated & data.learned))
    for start in range(0, len(places), _BATCH):
        rows = places[start : start + _BATCH]
        target = torch.from_numpy(data.unit[rows] - pairs.base[rows])
        loss = F.mse_loss(head(*_inputs(data, pairs, rows)), target)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()


@torch.no_grad()
def _residuals(head: RatingHead, data: RatingData, pairs: _Pairs, which: Bools) -> Floats:
    head.eval()
    found: Floats = head(*_inputs(data, pairs, np.flatnonzero(which))).numpy()
    return found


def _inputs(data: RatingData, pairs: _Pairs, rows: Longs) -> tuple[Tensor, Tensor, Tensor]:
    return (
        torch.from_numpy(data.users[rows]),
        torch.from_numpy(data.outputs[data.log.items[rows]]),
        torch.from_numpy(pairs.features[rows]),
    )


def _gain(target: Floats, residual: Floats) -> tuple[float, float]:
    """Return the best weight in 0..1 and how much squared error it takes away."""
    power = float(residual @ residual)
    weight = min(1.0, max(0.0, float(target @ residual) / power)) if power > 0 else 0.0
    return weight, float(np.mean(target**2) - np.mean((target - weight * residual) ** 2))
