"""Fit the weights of the blend to what people did next, between the cuts.

The caller goes through the questions in time order: it collects a question with the counts as they stand before its
target, then counts the target. What is kept is small, so that thousands of questions are looked at many times.
Shapes: S samples, P parts (`sources.PARTS`), n candidates of a sample.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from headrace.core.compiled import compiled
from headrace.core.formats import Blend, FirstBlend, Weights
from headrace.core.types import Seen
from headrace.data.log import Floats, Ints, Longs
from headrace.ranking.requests import Request
from headrace.ranking.rules import Rules
from headrace.ranking.scorer import SEEN_SHARE, weights_of
from headrace.ranking.sources import PARTS, Sources, gather

CUTOFF = 10
"""The weights are chosen by NDCG at this many items."""

LEAST_SAMPLES = 20
"""With fewer questions a search would fit chance."""

_FACTORS = (0.0, 0.5, 0.8, 1.25, 2.0)
_FRESH = (0.1, 0.3, 1.0)
"""Of the mean weight, for a part that has none yet."""
_ROUNDS = 40
_LEAST_GAIN = 1e-5
"""A smaller gain in NDCG is chance."""
_CLEAR_GAIN = 1.015
"""What the search must win by on questions that it has not seen: on most sets the two differ by chance, up to this."""
_NEWTON_STEPS = 30
_SMALL_STEP = 1e-4
_RIDGE = 1e-4
"""Of the likelihood, per target: parts that say the same share their weight."""
Floats64: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True)
class Sample:
    """One question as the search sees it.

    Args:
        parts: (P, n) standardised parts of the candidates that pass the rules, by item index.
        found: places of those targets that are among them.
        targets: how many targets there are in all; the others are misses.
        met: how many of the targets the user had met before.
        first: whether the user has no history.
        silence_us: see `sources.Found`.
    """

    parts: Floats
    found: Ints
    targets: int
    met: int
    first: bool = False
    silence_us: int = 0


def collect(requests: Sequence[Request], targets: Sequence[Ints], *, sources: Sources, rules: Rules) -> list[Sample]:
    """Look at questions with the counts as they stand now.

    Args:
        requests: questions, each with the history strictly before its targets. Ask with `seen="include"` to learn the
            habit as well; `fit_blend` must get what was asked as the service will ask.
        targets: for each, the items met next (a basket, or one), each once.
        sources: candidates.
        rules: what may stand on a list; distinct titles play no part in the fit.
    """
    samples = []
    for request, wanted, found in zip(requests, targets, gather(requests, sources), strict=True):
        kept = rules.keep(request, found.candidates, sources.catalogue)
        items, parts = found.candidates[kept], found.standard(kept)
        places = np.flatnonzero(np.isin(items, wanted)).astype(np.int32)
        met = int(np.isin(wanted, request.history.items).sum())
        samples.append(Sample(parts, places, len(wanted), met, not len(request.history), found.silence_us))
    return samples


def learned_seen(samples: Sequence[Sample]) -> Seen:
    """Return `include` where at least `SEEN_SHARE` of the targets had been met before."""
    targets = sum(sample.targets for sample in samples)
    return "include" if targets and sum(sample.met for sample in samples) / targets >= SEEN_SHARE else "exclude"


def fit_blend(samples: Sequence[Sample], short: Sequence[Sample] = (), unmet: Sequence[Sample] = ()) -> Blend:
    """Return weights of the parts, none below 0, in one of two ways; deterministic.

    The most likely weights, where candidates have the chances of a softmax of their scores (conditional logit, McFadden
    1974), are one answer of a convex problem, and their scores are log chances but for a constant. A pattern search of
    NDCG@10 itself (Hooke and Jeeves 1961), from these or from a part alone, fits chance on most data, but where a part
    is no log chance at all it finds much more. Each is fitted on one half of the samples and scored on the other; the
    search is taken where it clearly wins, or where a part alone has a better NDCG@10 than the likely weights.

    Users without a history have weights of their own, fitted on their samples alone.

    Args:
        samples: from `collect`; a few thousand are enough. Without any, the counts alone are returned; with fewer
            than `LEAST_SAMPLES` of users without a history, the default weights for those.
        short: questions of short histories, for weights of their own; with fewer than `LEAST_SAMPLES` there are none.
        unmet: questions for what is new to the user, likewise.
    """
    later = msgspec.structs.asdict(_weights([sample for sample in samples if not sample.first]))
    known = FirstBlend()
    new = [sample for sample in samples if sample.first]
    if len(new) >= LEAST_SAMPLES:
        usable = [PARTS.index(name) for name in FirstBlend.__struct_fields__]
        first = _fit(new, "popularity", usable)
        known = FirstBlend(**{PARTS[part]: first[part] for part in usable})
    own = [_weights(each) if len(each) >= LEAST_SAMPLES else None for each in (short, unmet)]
    return Blend(**later, first=known, short=own[0], unmet=own[1])


def fit_still(
    blend: Blend, samples: Sequence[Sample], short: Sequence[Sample] = (), unmet: Sequence[Sample] = ()
) -> Blend | None:
    """Return the blend of counts that rest: each kind of weights is new where those clearly win, and else `blend`'s.

    They are fitted on one half of the samples and scored on the other, both ways; None where nothing wins. What was
    popular last may be the best guess for long (so it is on movietweetings-100k) or for a day (on groceries).

    Args:
        blend: of counts that go on.
        samples: as in `fit_blend`, collected while the counts rested, like the others.
        short: likewise.
        unmet: likewise.
    """
    later = [sample for sample in samples if not sample.first]
    kinds = ((later, blend), (short, blend.short), (unmet, blend.unmet))
    common, *own = (None if before is None else _winning(each, before) for each, before in kinds)
    if common is None and own == [None, None]:
        return None
    weights = {name: getattr(common or blend, name) for name in PARTS}
    return Blend(**weights, first=blend.first, short=own[0] or blend.short, unmet=own[1] or blend.unmet)


def _winning(samples: Sequence[Sample], before: Weights) -> Weights | None:
    """Return the weights fitted to samples where they clearly beat those of before."""
    if len(samples) < LEAST_SAMPLES:
        return None
    halves = samples[::2], samples[1::2]
    found = [_ndcg(_stack(asked), weights_of(_weights(known))) for known, asked in (halves, halves[::-1])]
    known = [_ndcg(_stack(half), weights_of(before)) for half in halves]
    return _weights(samples) if sum(found) > _CLEAR_GAIN * sum(known) else None


def _weights(samples: Sequence[Sample]) -> Weights:
    return Weights(**dict(zip(PARTS, _fit(samples, "counts", range(len(PARTS))), strict=True)))


def _fit(samples: Sequence[Sample], default: str, usable: Sequence[int]) -> list[float]:
    """Return P weights; 0 for parts that are not usable, or that prefer nothing in any sample."""
    stack = _stack(samples)
    telling = np.zeros(len(PARTS), np.bool_)
    for sample in samples:
        telling |= (sample.parts != sample.parts[:, :1]).any(axis=1)
    usable = [part for part in usable if telling[part]]
    if not usable:
        return [float(name == default) for name in PARTS]
    likely, searched = _both_ways(stack, usable)
    if likely.any() and _ndcg(stack, likely) >= max(_ndcg(stack, one) for one in _alone(usable)) - _LEAST_GAIN:
        halves = _stack(samples[::2]), _stack(samples[1::2])
        found = [
            [_ndcg(asked, weights) for weights in _both_ways(known, usable)] for known, asked in (halves, halves[::-1])
        ]
        by_likelihood, by_search = map(sum, zip(*found, strict=True))
        searched = searched if by_search > _CLEAR_GAIN * by_likelihood else likely
    return [round(weight, 6) for weight in searched.tolist()]


def blend_ndcg(samples: Sequence[Sample], blend: Blend) -> float:
    """Return the mean NDCG@10 over all targets of the samples, each target by itself, under a blend."""
    halves = ((False, weights_of(blend)), (True, weights_of(blend.first)))
    gained, targets = 0.0, 0
    for first, weights in halves:
        stack = _stack([sample for sample in samples if sample.first == first])
        gained += _ndcg(stack, weights) * stack.targets
        targets += stack.targets
    return gained / max(1, targets)


class _Stack(NamedTuple):
    """All samples end to end: `parts` (sum of n, P); `bounds` (S + 1,); `found` (F,) places; `owner` (F,) sample."""

    parts: Floats
    bounds: Longs
    found: Longs
    owner: Longs
    targets: int


def _stack(samples: Sequence[Sample]) -> _Stack:
    sizes = np.array([sample.parts.shape[1] for sample in samples], np.int64)
    bounds = np.concatenate((np.zeros(1, np.int64), np.cumsum(sizes)))
    none = np.zeros((len(PARTS), 0), np.float32)
    parts = np.concatenate([none, *(sample.parts for sample in samples)], axis=1)
    found = [sample.found + bounds[place] for place, sample in enumerate(samples)]
    return _Stack(
        np.ascontiguousarray(parts.T),
        bounds,
        np.concatenate([np.zeros(0, np.int64), *found]),
        np.repeat(np.arange(len(samples)), [len(sample.found) for sample in samples]).astype(np.int64),
        sum(sample.targets for sample in samples),
    )


def _alone(usable: Sequence[int]) -> Floats:
    """Return the weights of each usable part alone, (p, P)."""
    rows: Floats = np.eye(len(PARTS), dtype=np.float32)[list(usable)]
    return rows


def _both_ways(stack: _Stack, usable: Sequence[int]) -> tuple[Floats, Floats]:
    """Return the most likely weights and the searched ones, (P,) each."""
    likely = _most_likely(stack, usable)
    return likely, _search(stack, usable, likely)


def _search(stack: _Stack, usable: Sequence[int], likely: Floats) -> Floats:
    """Return the P weights that changes of one weight at a time lead to, from the best of the likely and each alone."""
    starts = [*([likely] if likely.any() else []), *_alone(usable)]
    values = [_ndcg(stack, weights) for weights in starts]
    best: Floats = starts[int(np.argmax(values))]
    value = max(values)
    for _ in range(_ROUNDS):
        before = value
        for part in usable:
            weight, factors = (best[part], _FACTORS) if best[part] else (best[best > 0].mean(), _FRESH)
            for factor in factors:
                tried = best.copy()
                tried[part] = factor * weight
                if tried.any() and (found := _ndcg(stack, tried)) > value + _LEAST_GAIN:
                    best, value = tried, found
        if value <= before + _LEAST_GAIN:
            break
    return best


def _most_likely(stack: _Stack, usable: Sequence[int]) -> Floats:
    """Return the P weights, none below 0, that give the targets the highest likelihood: Newton's method, projected."""
    weights = np.zeros(len(PARTS), np.float32)
    if not len(stack.found) or not usable:
        return weights
    parts = np.ascontiguousarray(stack.parts[:, list(usable)])
    found = np.bincount(stack.owner, minlength=len(stack.bounds) - 1).astype(np.float64)
    of_targets = parts[stack.found].sum(axis=0, dtype=np.float64)
    ridge = _RIDGE * found.sum()
    best, value, step = np.zeros(len(usable)), np.inf, np.full(len(usable), 0.1)
    for _ in range(_NEWTON_STEPS):
        tried = np.maximum(0, best + step)
        mass, slope, curvature = _log_masses(parts, stack.bounds, found, tried)
        loss = mass - of_targets @ tried + ridge * tried @ tried
        if loss > value:
            step = step / 2
            continue
        settled = np.abs(tried - best).max() < _SMALL_STEP
        best, value = tried, loss
        if settled:
            break
        slope += 2 * ridge * tried - of_targets
        free = (tried > 0) | (slope < 0)
        step = np.zeros(len(usable))
        step[free] = -np.linalg.solve((curvature + 2 * ridge * np.eye(len(usable)))[np.ix_(free, free)], slope[free])
    weights[list(usable)] = best
    return weights


@compiled
def _log_masses(parts: Floats, bounds: Longs, found: Floats64, weights: Floats64) -> tuple[float, Floats64, Floats64]:
    """Return the sum over samples of (targets found) * log sum exp(score), its slope (p,) and its curvature (p, p)."""
    p = parts.shape[1]
    loss, slope, curvature = 0.0, np.zeros(p), np.zeros((p, p))
    for sample in range(len(found)):
        first, last = bounds[sample], bounds[sample + 1]
        if found[sample] == 0:
            continue
        scores = np.zeros(last - first)
        for place in range(first, last):
            for part in range(p):
                scores[place - first] += weights[part] * parts[place, part]
        top, mass = scores.max(), 0.0
        mean, square = np.zeros(p), np.zeros((p, p))
        for place in range(first, last):
            chance = np.exp(scores[place - first] - top)
            mass += chance
            for part in range(p):
                shared = chance * parts[place, part]
                mean[part] += shared
                for other in range(part + 1):
                    square[part, other] += shared * parts[place, other]
        loss += found[sample] * (np.log(mass) + top)
        for part in range(p):
            slope[part] += found[sample] * mean[part] / mass
            for other in range(part + 1):
                covariance = square[part, other] / mass - mean[part] * mean[other] / mass**2
                curvature[part, other] += found[sample] * covariance
                curvature[other, part] = curvature[part, other]
    return loss, slope, curvature


def _ndcg(stack: _Stack, weights: Floats) -> float:
    if not stack.targets:
        return 0.0
    scores = stack.parts @ weights
    return float(_gains(scores, stack.bounds, stack.found, stack.owner)) / stack.targets


@compiled
def _gains(scores: Floats, bounds: Longs, found: Longs, owner: Longs) -> float:
    """Return the sum of 1 / log2(1 + rank) over targets that rank in the first `CUTOFF`; ties go to the lower item."""
    total = 0.0
    for each in range(len(found)):
        place, score = found[each], scores[found[each]]
        rank = 1
        for other in range(bounds[owner[each]], bounds[owner[each] + 1]):
            rank += (scores[other] > score) | ((scores[other] == score) & (other < place))
        if rank <= CUTOFF:
            total += 1 / np.log2(1 + rank)
    return total
