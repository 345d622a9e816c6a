"""From questions to lists. Service and evaluation call `recommend` and nothing else."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from headrace.data.log import Ints
from headrace.ranking.requests import Answer, Request
from headrace.ranking.rules import Rules
from headrace.ranking.scorer import Scorer
from headrace.ranking.sources import Found, Sources, chunk_size, gather

__all__ = ["Answer", "Request", "recommend"]


def recommend(requests: Sequence[Request], *, sources: Sources, rules: Rules, scorer: Scorer) -> list[Answer]:
    """Answer each request, best first; equal scores go to the lower item index.

    Alone or in a batch, a request has one answer. A list is shorter than `k` only where fewer items pass the rules.

    Args:
        requests: any number; they are computed some at a time.
        sources: where candidates come from.
        rules: what may stand on a list.
        scorer: the blend.
    """
    answers = []
    step = chunk_size(sources)
    for start in range(0, len(requests), step):
        chunk = requests[start : start + step]
        for request, found in zip(chunk, gather(chunk, sources), strict=True):
            items = found.candidates if request.only is None else _all_items(request, sources)
            answer = _take_best(request, found, items, (sources, rules, scorer))
            if len(answer.items) < request.k and request.only is None:
                # The rules ate the candidates: look at everything that the request may have.
                answer = _take_best(request, found, _all_items(request, sources), (sources, rules, scorer))
            answers.append(answer)
    return answers


def _take_best(request: Request, found: Found, items: Ints, how: tuple[Sources, Rules, Scorer]) -> Answer:
    """Return the best of `items` (ascending) that the rules let through."""
    sources, rules, scorer = how
    allowed = items[rules.keep(request, items)]
    scores = scorer.score(request, found, allowed, sources)
    order = np.argsort(-scores, kind="stable")
    best = order[rules.take(allowed[order], request.k)]
    chosen = allowed[best]
    return Answer(chosen, scores[best], scorer.reasons(request, found, chosen))


def _all_items(request: Request, sources: Sources) -> Ints:
    n_items = len(sources.catalogue)
    if request.only is None:
        return np.arange(1, n_items + 1, dtype=np.int32)
    only = np.unique(request.only)
    return only[(only > 0) & (only <= n_items)].astype(np.int32)
