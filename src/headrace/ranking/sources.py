"""Candidate sources, and the parts of a score that they give to any item.

Each source brings its best items; the union is what a request chooses from. The loops stand in `list_kernels.py`; here
what they read is put together. Shapes: B requests, V items of the catalogue (row 0 is padding), P parts, n items.
"""

from __future__ import annotations

from collections.abc import Sequence, Sized
from dataclasses import dataclass, field
from functools import cached_property
from threading import Lock

import numpy as np

from headrace.core.settings import RankingSettings
from headrace.data.log import Bools, Floats, Ints, Longs
from headrace.ranking.behaviour import Behaviour
from headrace.ranking.byte_rows import ByteRows
from headrace.ranking.catalogue import Catalogue
from headrace.ranking.choice_kernels import describe, measure, standardised
from headrace.ranking.item_index import ItemIndex
from headrace.ranking.item_table import ItemTable, make_table
from headrace.ranking.list_kernels import REMEMBERED, Asked, Knobs, Known, P, most_items
from headrace.ranking.network import ItemVectors, Network
from headrace.ranking.requests import Request
from headrace.ranking.transition_kernels import ONE

PARTS = ("encoder", "counts", "popularity", "content", "repeat", "recent", "last", "association", "trending", "other")
"""The rows of a matrix of parts, and the fields of `core.formats.Blend`."""

# Where the encoder's scores of all items are computed, requests are taken together that have so many.
CHUNK_FLOATS = 8_000_000

# With the last event weighed so much more, counts reach NDCG@10 0.111 (with recent popularity) between the cuts of
# movietweetings-100k and 0.061 with the settings' own knobs; on the groceries the longer memory is the better one.
LAST_DECAY = 0.3
"""The j-th last event of a history weighs this to the power j in the part `last`."""

LAST_SMOOTHING = 10_000.0
"""tau in log(1 + V c / tau) of the part `last`."""

# Beside the other parts it lifts NDCG@10 between the cuts of movietweetings-100k from 0.1185 to 0.1237 and of
# amazon-beauty from 0.0742 to 0.0757; a scale of 10 or 30, or a decay of 0.5 or 0.3, gains less on one of them.
ASSOCIATION_DECAY = 0.8
"""As `LAST_DECAY`, of the part `association`."""

ASSOCIATION_SCALE = 100.0
"""What a cosine of 1 counts in the logarithm of the part `association`."""

_TOGETHER = 256
"""Requests that are taken together where there are no such rows."""


@dataclass(frozen=True)
class Encoder:
    """A trained network, the vectors of the catalogue's items in it, and lists of these; None looks at all items."""

    network: Network
    vectors: ItemVectors
    index: ItemIndex | None = None

    def scores(self, requests: Sequence[Request], n_items: int) -> Floats:
        """Return (B, V + 1) scores of every item; minus infinity for items newer than the vectors, and in column 0."""
        outputs = self.vectors.outputs.part(0, n_items + 1)
        scores = np.full((len(requests), n_items + 1), -np.inf, np.float32)
        unknown = [request for request in requests if request.encoded is None]
        if len(unknown) == len(requests):
            outputs.write_scores(self.users(requests), scores)
        elif unknown:
            new = np.array([request.encoded is None for request in requests])
            scores[new, : len(outputs.scales)] = outputs.scores(self.users(unknown))
        for row, request in zip(scores, requests, strict=True):
            if request.encoded is not None:
                row[:] = request.encoded
        scores[:, 0] = -np.inf
        return scores

    def users(self, requests: Sequence[Request]) -> Floats:
        """Return (B, D) user vectors; those that do not come with a request are computed."""
        users = np.empty((len(requests), self.vectors.outputs.width), np.float32)
        unknown = [place for place, request in enumerate(requests) if request.user is None]
        if unknown:
            some = [requests[place] for place in unknown]
            users[unknown] = self.network.users([r.history for r in some], [r.time for r in some], self.vectors)
        for place, request in enumerate(requests):
            if request.user is not None:
                users[place] = request.user
        return users


class Room:
    """The table that the kernels work in, for one call at a time: hold `lock` while it is in use."""

    def __init__(self) -> None:
        self.lock = Lock()
        self._table = make_table(0)

    def table(self, candidates: int) -> ItemTable:
        """Return a table for requests whose sources may bring so many items each."""
        if len(self._table.items) <= (most := most_items(candidates)):
            self._table = make_table(most)
        return self._table


@dataclass(frozen=True)
class Sources:
    """Where candidates come from. The service changes what it points to while it runs.

    Args:
        catalogue: the items; its length is V.
        behaviour: counts, popularity, types.
        settings: how many candidates, and the knobs of the counts.
        encoder: None before a model is loaded.
        room: for what is computed.
    """

    catalogue: Catalogue
    behaviour: Behaviour
    settings: RankingSettings = field(default_factory=RankingSettings)
    encoder: Encoder | None = None
    room: Room = field(default_factory=Room, compare=False, repr=False)

    @property
    def contents(self) -> ByteRows | None:
        """(V + 1, C) what items say, see `ItemVectors`; None where no model says. It may lack the newest items.

        It scores what the other sources bring, and brings nothing itself.
        """
        return (
            None if self.encoder is None or not self.encoder.vectors.contents.width else self.encoder.vectors.contents
        )

    @property
    def knobs(self) -> Knobs:
        """How candidates are found."""
        settings, n_items = self.settings, len(self.catalogue)
        scales = (
            n_items / (settings.count_smoothing * ONE),
            n_items / (LAST_SMOOTHING * ONE),
            ASSOCIATION_SCALE / ONE,
        )
        return Knobs(
            settings.candidates,
            np.array((settings.count_decay, LAST_DECAY, ASSOCIATION_DECAY), np.float32),
            np.array(scales, np.float32),
            np.float32(settings.popularity_weight),
        )

    def known(self, time: int | None, most: int) -> Known:
        """Return what is known of the items at a time.

        Args:
            time: microseconds; None means the newest hour that holds an event.
            most: how many items popularity may have to bring.
        """
        n_items, popularity = len(self.catalogue), self.behaviour.popularity
        nothing, encoder = ByteRows.empty(0, 0), self.encoder
        return Known(
            pool=self.behaviour.transitions.pool,
            rarity=popularity.rarities(n_items),
            popular=popularity.log_scores(time, n_items),
            recent=popularity.recent_log_scores(time, n_items),
            totals=popularity.totals(n_items),
            leaders=popularity.leaders(time, most, n_items),
            risers=popularity.risers(time, most, n_items),
            outputs=nothing if encoder is None else encoder.vectors.outputs.part(0, n_items + 1),
            contents=nothing if self.contents is None else self.contents.part(0, n_items + 1),
        )

    def silence_us(self, now: int | None) -> int:
        """Return the time from the hour of the newest event that is counted; 0 where either is unknown."""
        newest = self.behaviour.popularity.newest
        return 0 if now is None or newest is None else max(0, now - newest)


def ask(requests: Sequence[Request], sources: Sources) -> Asked:
    """Put requests together as the kernels read them, with what the encoder says to each."""
    pasts = [request.history.last(REMEMBERED) for request in requests]
    encoded = users = np.zeros((0, 0), np.float32)
    near, encoder, n_items = np.zeros((0, 0), np.int32), sources.encoder, len(sources.catalogue)
    if encoder is not None and encoder.index is not None:
        users = encoder.users(requests)
        near = encoder.index.near(users, encoder.vectors.outputs.part(0, n_items + 1), most_brought(requests, sources))
    elif encoder is not None:
        encoded = encoder.scores(requests, n_items)
    return Asked(
        bounds=bounds_of(pasts),
        items=np.concatenate([past.items for past in pasts]),
        times=np.concatenate([past.times for past in pasts]),
        repeats=np.array([request.seen == "include" for request in requests]),
        users=users,
        encoded=encoded,
        near=near,
    )


def part_of(asked: Asked, some: slice) -> Asked:
    """Return some of the requests, one after the other."""
    bounds = asked.bounds[some.start : some.stop + 1]
    events = slice(bounds[0], bounds[-1])
    return Asked(
        bounds=bounds - bounds[0],
        items=asked.items[events],
        times=asked.times[events],
        repeats=asked.repeats[some],
        users=asked.users[some],
        encoded=asked.encoded[some],
        near=asked.near[some],
    )


def bounds_of(lists: Sequence[Sized]) -> Longs:
    """Return (n + 1,) where each of n lists begins and ends when they stand end to end."""
    bounds = np.zeros(len(lists) + 1, np.int64)
    np.cumsum([len(each) for each in lists], out=bounds[1:])
    return bounds


def most_brought(requests: Sequence[Request], sources: Sources) -> int:
    """Return how many items a source may have to bring to one of the requests; see `list_kernels.find`."""
    met = (0 if request.seen == "include" else min(len(request.history), REMEMBERED) for request in requests)
    return sources.settings.candidates + max(met)


def chunk_size(sources: Sources) -> int:
    """Return how many requests may be asked about at once, so that their rows of scores stay small."""
    if sources.encoder is None or sources.encoder.index is not None:
        return _TOGETHER
    return max(1, CHUNK_FLOATS // (len(sources.catalogue) + 1))


@dataclass(frozen=True)
class Found:
    """What the sources know about one request.

    Args:
        candidates: (n,) what to choose from, ascending, each once.
        known: (P, n) the parts of their scores, minus infinity where a source knows nothing of an item.
        silence_us: see `Sources.silence_us`.
        request: that was asked.
        sources: that were.
    """

    candidates: Ints
    known: Floats
    silence_us: int
    request: Request
    sources: Sources

    def parts(self, items: Ints) -> Floats:
        """Return (P, n) the parts of the score of any items, as they are now."""
        return _describe(self.request, self.sources, items)[2]

    def standardised(self, items: Ints) -> Floats:
        """Return (P, n) the parts of any items in standard deviations over the candidates; 0 where nothing is known."""
        return standardised(self.parts(items), *self._moments)

    def standard(self, kept: Bools) -> Floats:
        """Return (P, m) what `standardised` says of the candidates that are kept (n,)."""
        return standardised(np.compress(kept, self.known, axis=1), *self._moments)

    @cached_property
    def _moments(self) -> tuple[Floats, Floats]:
        return measure(self.known, np.ones(P, np.bool_))


def gather(requests: Sequence[Request], sources: Sources) -> list[Found]:
    """Ask every source about each request."""
    none = np.empty(0, np.int32)
    found = []
    for request in requests:
        candidates, known, _ = _describe(request, sources, none)
        order = np.argsort(candidates)
        candidates, known = candidates[order], np.ascontiguousarray(known[:, order])
        found.append(Found(candidates, known, sources.silence_us(request.time), request, sources))
    return found


def _describe(request: Request, sources: Sources, items: Ints) -> tuple[Ints, Floats, Floats]:
    """Return the candidates, their parts and those of some items."""
    most = most_brought([request], sources)
    known, asked = sources.known(request.time, most), ask([request], sources)
    with sources.room.lock:
        return describe(known, sources.knobs, asked, items, sources.room.table(most))
