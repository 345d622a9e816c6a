"""From questions to lists. Service and evaluation call `recommend` and nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

import numpy as np

from headrace.data.log import Ints, Longs
from headrace.ranking.choice_kernels import Lists, Wanted, fill_lists
from headrace.ranking.popularity import HOUR_US
from headrace.ranking.requests import NO_ITEMS, Answer, Request
from headrace.ranking.rules import Rules
from headrace.ranking.scorer import REASONS, Scorer
from headrace.ranking.sources import Sources, ask, bounds_of, chunk_size, most_brought, part_of

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
    answers: list[Answer] = []
    for alike in _alike(requests, chunk_size(sources)):
        answers += _Call(alike, sources, rules, scorer).answers()
    return answers


def _alike(requests: Sequence[Request], most: int) -> Iterator[list[Request]]:
    """Yield runs of requests that one call can answer: of one hour and category; one that names items is alone."""
    for (_, _, alone), run in groupby(requests, key=_kind):
        same = list(run)
        step = 1 if alone else most
        for start in range(0, len(same), step):
            yield same[start : start + step]


def _kind(request: Request) -> tuple[int | None, str | None, bool]:
    hour = None if request.time is None else request.time // HOUR_US
    return hour, request.category, request.only is not None


class _Call:
    """Requests that are alike, as the kernels read them."""

    def __init__(self, requests: Sequence[Request], sources: Sources, rules: Rules, scorer: Scorer) -> None:
        self._requests, self._sources, self._rules = requests, sources, rules
        self._most = most_brought(requests, sources)
        self._known = sources.known(requests[0].time, self._most)
        self._asked = ask(requests, sources)
        self._weights = np.stack([scorer.weights(one, sources.silence_us(one.time)) for one in requests])
        self._allowed = rules.allowed(requests[0], sources.catalogue)

    def answers(self) -> list[Answer]:
        """Answer them."""
        first = self._requests[0]
        if first.only is not None:
            only = np.unique(first.only)
            return self._fill(slice(0, 1), only[(only > 0) & (only <= len(self._sources.catalogue))].astype(np.int32))
        answers = self._fill(slice(0, len(self._requests)))
        for place, (request, answer) in enumerate(zip(self._requests, answers, strict=True)):
            if len(answer.items) < request.k:
                # The rules ate the candidates: look at everything that the request may have.
                everything = np.flatnonzero(self._allowed).astype(np.int32)
                answers[place : place + 1] = self._fill(slice(place, place + 1), everything)
        return answers

    def _fill(self, some: slice, among: Ints | None = None) -> list[Answer]:
        """Answer some of the requests, from the candidates or from among given items."""
        requests, n_items = self._requests[some], len(self._sources.catalogue)
        k = np.minimum([request.k for request in requests], n_items)
        size = (len(requests), int(k.max()))
        lists = Lists(
            np.zeros(size, np.int32), np.zeros(size, np.float32), np.zeros(size, np.int32), np.zeros(size[0], np.int64)
        )
        wanted, asked = self._wanted(some, k, among), part_of(self._asked, some)
        with self._sources.room.lock:
            fill_lists(self._known, self._sources.knobs, asked, wanted, self._sources.room.table(self._most), lists)
        return [
            Answer(items[:n], scores[:n], [REASONS[reason] for reason in reasons[:n].tolist()])
            for items, scores, reasons, n in zip(*lists, strict=True)
        ]

    def _wanted(self, some: slice, k: Longs, among: Ints | None) -> Wanted:
        requests, types = self._requests[some], self._sources.behaviour.types
        forbidden = [self._rules.forbidden(request) for request in requests]
        kinds = [-1 if request.event_type is None else request.event_type for request in requests]
        return Wanted(
            k=k,
            weights=self._weights[some],
            allowed=self._allowed,
            forbidden=np.concatenate(forbidden),
            bounds=bounds_of(forbidden),
            titles=self._rules.titles,
            types=np.array(kinds, np.int64),
            shares=np.array([types.share(kind) for kind in kinds], np.float32),
            counts=types.counts,
            named=among is not None,
            among=NO_ITEMS if among is None else among,
        )
