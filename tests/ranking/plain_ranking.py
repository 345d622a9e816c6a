"""Lists made the long way: every part of every item from its definition, in NumPy and float64, without a shortcut."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from headrace.core.formats import Blend
from headrace.data.log import Ints
from headrace.ranking.requests import Request
from headrace.ranking.rules import Rules
from headrace.ranking.scorer import blend_for, weights_of
from headrace.ranking.sources import PARTS, Sources

Numbers = NDArray[np.float64]


def transition_matrix(sources: Sources) -> Numbers:
    """Return (V + 1, V + 1) c(before, after)."""
    n = len(sources.catalogue) + 1
    matrix = np.zeros((n, n))
    before, after, counts = sources.behaviour.transitions.triples()
    matrix[before, after] = counts / 2**16
    return matrix


def events_after(times: list[int]) -> list[int]:
    return [sum(other > time for other in times) for time in times]


def all_parts(request: Request, sources: Sources) -> Numbers:
    """Return (P, V + 1) the parts of all items but the content, minus infinity where nothing is known."""
    popularity, settings, n = sources.behaviour.popularity, sources.settings, len(sources.catalogue)
    popular = popularity.log_scores(request.time, n).astype(float)
    recent = popularity.recent_log_scores(request.time, n).astype(float)
    totals, counts = popularity.totals(n), transition_matrix(sources)
    rarity = 1 / np.sqrt(totals + 1)
    items, ages = request.history.items.tolist(), events_after(request.history.times.tolist())
    followed, last, associated, habit = np.zeros(n + 1), np.zeros(n + 1), np.zeros(n + 1), np.zeros(n + 1)
    for item, age in list(zip(items, ages, strict=True))[-100:]:
        if item == 0:
            continue
        if settings.count_decay**age >= 0.01:
            followed += settings.count_decay**age * np.log1p(n * counts[item] / settings.count_smoothing)
        if 0.3**age >= 0.01:
            last += 0.3**age * np.log1p(n * counts[item] / 10_000)
        if 0.8**age >= 0.01:
            associated += 0.8**age * np.log1p(100 * counts[item] * rarity[item] * rarity)
    for item, age in zip(items, ages, strict=True):
        habit[item] += 100 / (100 + age)
    just = {item for item, age in zip(items, ages, strict=True) if age == 0}
    parts = np.full((len(PARTS), n + 1), -np.inf)
    rows = {
        "counts": followed + settings.popularity_weight * popular,
        "popularity": popular,
        "repeat": np.log1p(habit),
        "recent": recent,
        "last": last,
        "association": associated,
        "trending": recent - np.log(totals + 100),
        "other": np.array([item not in just for item in range(n + 1)], float),
    }
    for name, row in rows.items():
        parts[PARTS.index(name)] = row
    if sources.encoder is not None:
        parts[0] = sources.encoder.scores([request], n)[0]
    return parts


def sources_like(request: Request, sources: Sources, parts: Numbers) -> list[Numbers]:
    """Return (V + 1,) of each source: how much it likes each item, minus infinity for one that it cannot bring."""
    popular = parts[PARTS.index("popularity")]
    followed = parts[PARTS.index("counts")] - sources.settings.popularity_weight * popular
    liked = [parts[0], popular.copy()]
    counted = (followed, *(parts[PARTS.index(name)] for name in ("recent", "last", "association")))
    liked += [np.where(scores > 1e-7, scores, -np.inf) for scores in counted]
    if request.seen == "include":
        habit = parts[PARTS.index("repeat")]
        liked.append(np.where(habit > 0, habit, -np.inf))
    for scores in liked:
        scores[0] = -np.inf  # no item
    return liked


def assert_brought(candidates: Ints, request: Request, sources: Sources) -> None:
    """Hold candidates against what each source likes best; where two are as good as equal, it may bring either."""
    met = {item for item in request.history.items.tolist() if item}
    n = sources.settings.candidates + (0 if request.seen == "include" else len(met))
    justified = np.zeros(len(sources.catalogue) + 1, bool)
    for scores in sources_like(request, sources, all_parts(request, sources)):
        known = np.flatnonzero(np.isfinite(scores))
        last = np.sort(scores[known])[-n] if len(known) > n else -np.inf
        assert set(np.flatnonzero(scores > last + 1e-5).tolist()) <= set(candidates.tolist())
        justified[known[scores[known] >= last - 1e-5]] = True
    assert justified[candidates].all()


def standardised(parts: Numbers, candidates: Ints) -> Numbers:
    """Return (P, V + 1) parts in standard deviations over the candidates."""
    found = np.zeros_like(parts)
    for part, row in enumerate(parts):
        known = row[candidates][np.isfinite(row[candidates])]
        if len(known):
            spread = known.std()
            finite = np.isfinite(row)
            found[part, finite] = (row[finite] - known.mean()) / (spread if spread > 1e-6 else 1)
    return found


def all_scores(request: Request, sources: Sources, blend: Blend, candidates: Ints) -> Numbers:
    """Return (V + 1,) the scores of all items, given the candidates."""
    parts = all_parts(request, sources)
    weights = weights_of(blend_for(blend, request, sources.silence_us(request.time))).astype(float)
    if not weights.any():
        weights[PARTS.index("popularity")] = 1
    scores = weights @ standardised(parts, candidates)
    kind = request.event_type
    counts = sources.behaviour.types.counts
    if kind is not None and kind < counts.shape[1] and counts[:, kind].sum():
        padded = np.zeros((len(scores), counts.shape[1]))
        padded[: len(counts)] = counts[: len(scores)]
        share = counts[:, kind].sum() / counts.sum()
        scores = scores + np.log((padded[:, kind] + share) / (padded.sum(axis=1) + 1))
    return scores


def may_be_listed(request: Request, sources: Sources, rules: Rules) -> list[int]:
    """Return the items that the rules let through, by index."""
    items = np.arange(1, len(sources.catalogue) + 1, dtype=np.int32)
    kept = items[rules.keep(request, items, sources.catalogue)].tolist()
    return [item for item in kept if request.only is None or item in request.only]
