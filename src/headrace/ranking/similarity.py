"""Items like an item: by what the network, the texts and the people who met both say."""

from __future__ import annotations

import numpy as np

from headrace.core.types import Reason
from headrace.data.log import EMPTY_HISTORY, Floats, Ints
from headrace.ranking.byte_rows import ByteRows
from headrace.ranking.largest import top
from headrace.ranking.network import ItemVectors
from headrace.ranking.requests import Answer, Request
from headrace.ranking.rules import Rules
from headrace.ranking.sources import Sources


def similar_items(item: int, k: int, *, sources: Sources, rules: Rules = Rules()) -> Answer:
    """Return the items most like one item, best first; equal scores go to the lower item index.

    Cosine of the network's item vectors, cosine of the contents, and how much more often than by their popularity items
    follow it (log(1 + V c / tau) less half of the log popularity), each standardised over the candidates, then added.
    The reasons are `next`, `similar` and `together`.

    Args:
        item: its index, 1..V.
        k: how many to return.
        sources: as for `recommend`.
        rules: likewise; the item itself is always left out.
    """
    views = _views(item, sources)
    request = Request(EMPTY_HISTORY, k, seen="include")
    candidates = np.unique(np.concatenate([top(view, sources.settings.candidates) for view in views.values()]))
    everything = np.arange(1, len(sources.catalogue) + 1, dtype=np.int32)
    for items in (candidates, everything):
        allowed = items[rules.keep(request, items, sources.catalogue) & (items != item)]
        added = np.stack([_standard(view, candidates, allowed) for view in views.values()])
        scores = added.sum(axis=0)
        order = np.argsort(-scores, kind="stable")
        best = order[rules.take(allowed[order], k)]
        if len(best) == k:
            break  # else the rules ate the candidates
    kinds = list(views)
    reasons = [kinds[row] for row in added[:, best].argmax(axis=0).tolist()]
    return Answer(allowed[best], scores[best].astype(np.float32), reasons)


def _views(item: int, sources: Sources) -> dict[Reason, Floats]:
    """Return (V + 1,) likenesses to the item, minus infinity where unknown, by the reason that each stands for."""
    n_items = len(sources.catalogue)
    views: dict[Reason, Floats | None] = {
        "next": None if sources.encoder is None else _by_network(item, sources.encoder.vectors, n_items),
        "similar": None if sources.contents is None else _cosines(item, sources.contents, n_items),
        "together": _by_counts(item, sources),
    }
    known = {reason: view for reason, view in views.items() if view is not None}
    # Of an item that nobody met and that says nothing, nothing is known: the list is what is popular.
    return known or {"popular": sources.behaviour.popularity.log_scores(None, n_items)}


def _by_network(item: int, vectors: ItemVectors, n_items: int) -> Floats | None:
    """Return `_cosines` of output vectors; items that nothing is known of, which all look alike, have none."""
    if item < len(vectors) and not vectors.placed[item]:
        return None
    cosines = _cosines(item, vectors.outputs, n_items)
    if cosines is not None:
        cosines[: len(vectors)][~vectors.placed[: n_items + 1]] = -np.inf
    return cosines


def _by_counts(item: int, sources: Sources) -> Floats | None:
    """Return (V + 1,) the strength of items that follow this one, minus infinity for those that never do."""
    n_items = len(sources.catalogue)
    items, counts = sources.behaviour.transitions.following(item, n_items)
    if not len(items):
        return None
    events = sources.behaviour.popularity.totals(n_items)[items]
    strength = np.full(n_items + 1, -np.inf, np.float32)
    strength[items] = np.log1p(n_items * counts / sources.settings.count_smoothing) - 0.5 * np.log1p(events)
    strength[item] = -np.inf
    return strength


def _cosines(item: int, vectors: ByteRows, n_items: int) -> Floats | None:
    """Return (V + 1,) cosines to the vector of one item, minus infinity where there is none; None if it has none."""
    if item >= len(vectors.scales) or not vectors.scales[item]:
        return None
    cosines = np.full(n_items + 1, -np.inf, np.float32)
    cosines[: len(vectors.scales)] = vectors.part(0, n_items + 1).cosines(vectors.wide_at(np.array(item)))
    cosines[item] = -np.inf
    return cosines


def _standard(view: Floats, candidates: Ints, items: Ints) -> Floats:
    """Return (n,) the view of `items` in standard deviations over the candidates; the unknown stands lowest."""
    known = view[candidates][np.isfinite(view[candidates])]
    lowest = known.min() if len(known) else np.float32(0)
    values = np.maximum(view[candidates], lowest)
    spread = values.std()
    found = np.maximum(view[items], lowest)
    return np.asarray((found - values.mean()) / (spread if spread > 1e-6 else 1), np.float32)
