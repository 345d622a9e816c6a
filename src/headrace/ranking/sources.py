"""Candidate sources, and the parts of a score that they give to any item.

Each source scores a whole chunk of requests at once and brings its best items; the union is what a request chooses
from. Shapes: B requests of a chunk, V items of the catalogue (row 0 is padding), P parts, n items.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from headrace.core.settings import RankingSettings
from headrace.data.log import Floats, History, Ints, Longs
from headrace.ranking.behaviour import Behaviour
from headrace.ranking.catalogue import Catalogue
from headrace.ranking.largest import top
from headrace.ranking.network import ItemVectors, Network
from headrace.ranking.requests import Request

PARTS = ("encoder", "counts", "popularity", "content", "repeat", "recent", "last", "association", "trending", "other")
"""The rows of a matrix of parts, and the fields of `core.formats.Blend`."""

# A request keeps up to five rows of V floats while its chunk is computed: 128 MB at this many.
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

LIKED_BY_CONTENT = 5
"""Last events of a history whose contents an item is compared with."""

# Of the log-sum-exp of cosines times 5 or 10, their maximum and the cosine to the mean of 5 or 50, this was the best
# on both ties of amazon-beauty between the cuts: NDCG@10 of the blend from 0.069 to 0.074, and from 0.079 to 0.083.
CONTENT_SHARPNESS = 10.0
"""Cosines to the contents of the last events are summed as exp(10 cosine), so that the nearest counts most."""

# It lifts NDCG@10 between the cuts of movietweetings-100k from 0.1206 to 0.1263, and on the groceries from 0.0633 to
# 0.0640 with repeats and from 0.0076 to 0.0099 without them; 1 and 10 instead of 100 lift it less.
TRENDING_EVENTS = 100
"""Added to an item's events over all time, of which the part `trending` takes the share of the last week."""

REMEMBERED = 5000
"""Last events of a history that count as habit."""

HABIT_EVENTS = 100
"""An item met this many events ago counts half as much for the habit as one just met."""


@dataclass(frozen=True)
class Encoder:
    """A trained network and the vectors of the catalogue's items in it."""

    network: Network
    vectors: ItemVectors

    def scores(self, requests: Sequence[Request], n_items: int) -> Floats:
        """Return (B, V + 1) scores of every item; minus infinity for items newer than the vectors, and in column 0."""
        outputs = self.vectors.outputs[: n_items + 1]
        scores = np.full((len(requests), n_items + 1), -np.inf, np.float32)
        np.matmul(self._users(requests), outputs.T, out=scores[:, : len(outputs)])
        scores[:, 0] = -np.inf
        return scores

    def _users(self, requests: Sequence[Request]) -> Floats:
        """Return (B, D) user vectors; those that do not come with a request are computed."""
        users = np.empty((len(requests), self.vectors.outputs.shape[1]), np.float32)
        unknown = [place for place, request in enumerate(requests) if request.user is None]
        if unknown:
            some = [requests[place] for place in unknown]
            users[unknown] = self.network.users([r.history for r in some], [r.time for r in some], self.vectors)
        for place, request in enumerate(requests):
            if request.user is not None:
                users[place] = request.user
        return users


@dataclass(frozen=True)
class Sources:
    """Where candidates come from. The service changes what it points to while it runs.

    Args:
        catalogue: the items; its length is V.
        behaviour: counts, popularity, types.
        settings: how many candidates, and the knobs of the counts.
        encoder: None before a model is loaded.
    """

    catalogue: Catalogue
    behaviour: Behaviour
    settings: RankingSettings = field(default_factory=RankingSettings)
    encoder: Encoder | None = None

    @property
    def contents(self) -> Floats | None:
        """(V + 1, P) what items say, see `ItemVectors`; None where no model says. It may lack the newest items.

        It scores what the other sources bring, and brings nothing itself.
        """
        return None if self.encoder is None or not self.encoder.vectors.contents.size else self.encoder.vectors.contents


@dataclass(frozen=True)
class Found:
    """What the sources know about one request.

    Args:
        candidates: (n,) what to choose from, ascending, each once.
        encoder: (V + 1,) scores, minus infinity where there is none; None without an encoder.
        transitions: (V + 1,) how strongly the history leads to each item, 0 for not at all.
        last: (V + 1,) likewise, the last few events alone.
        association: (V + 1,) likewise, in proportion to how often the items are met at all.
        popular: (V + 1,) log popularity.
        recent: (V + 1,) log popularity within a week.
        totals: (V + 1,) the events of each item over all time.
        met: (m,) the distinct items of the history, ascending.
        habit: (m,) the strength of each one's repeat habit.
        just_met: (j,) the items of the last moment of the history.
        liked: (l, P) what the items of the last events say, those that say something.
        contents: (V + 1, P) of the items; None without.
        popularity_weight: lambda.
        silence_us: from the hour of the newest event that is counted to the request; 0 where either is unknown.
    """

    candidates: Ints
    encoder: Floats | None
    transitions: Floats
    last: Floats
    association: Floats
    popular: Floats
    recent: Floats
    totals: Longs
    met: Ints
    habit: Floats
    just_met: Ints
    liked: Floats
    contents: Floats | None
    popularity_weight: float
    silence_us: int = 0

    def parts(self, items: Ints) -> Floats:
        """Return (P, n) the parts of the score of any items, minus infinity where a source knows nothing of an item."""
        parts = np.full((len(PARTS), len(items)), -np.inf, np.float32)
        if self.encoder is not None:
            parts[0] = self.encoder[items]
        parts[1] = self.transitions[items] + np.float32(self.popularity_weight) * self.popular[items]
        parts[2] = self.popular[items]
        if self.contents is not None and len(self.liked):
            inside = np.flatnonzero(items < len(self.contents))
            contents = self.contents[items[inside]]
            nearness = np.log(np.exp(CONTENT_SHARPNESS * (contents @ self.liked.T)).mean(axis=1))
            parts[3, inside] = np.where(contents.any(axis=1), nearness, -np.inf)
        parts[4] = self.repeats(items)
        parts[5] = self.recent[items]
        parts[6] = self.last[items]
        parts[7] = self.association[items]
        parts[8] = self.recent[items] - np.log(self.totals[items] + TRENDING_EVENTS)
        parts[9] = ~np.isin(items, self.just_met)
        return parts

    def standardised(self, items: Ints) -> Floats:
        """Return (P, n) the parts of any items in standard deviations over the candidates; 0 where nothing is known."""
        centre, spread = self._moments
        parts = self.parts(items)
        return np.where(np.isfinite(parts), (parts - centre) / spread, np.float32(0))

    @cached_property
    def _moments(self) -> tuple[Floats, Floats]:
        """(P, 1) mean and spread of each part over the candidates; one that is the same everywhere spreads by 1."""
        parts = self.parts(self.candidates)
        known = np.isfinite(parts)
        n = np.maximum(known.sum(axis=1, keepdims=True), 1)
        centre = np.where(known, parts, 0).sum(axis=1, keepdims=True) / n
        spread = np.sqrt((np.where(known, parts - centre, 0) ** 2).sum(axis=1, keepdims=True) / n)
        return centre.astype(np.float32), np.where(spread > 1e-6, spread, 1).astype(np.float32)

    def repeats(self, items: Ints) -> Floats:
        """Return (n,) the repeat habit of any items, 0 for those never met."""
        if not len(self.met):
            return np.zeros(len(items), np.float32)
        where = np.minimum(np.searchsorted(self.met, items), len(self.met) - 1)
        return np.where(self.met[where] == items, self.habit[where], np.float32(0))


def gather(requests: Sequence[Request], sources: Sources) -> list[Found]:
    """Ask every source about each request; see `chunk_size` for how many to ask about at once."""
    scores = _encode(requests, sources)
    return [_find(request, row, sources) for request, row in zip(requests, scores, strict=True)]


def chunk_size(sources: Sources) -> int:
    """Return how many requests may be gathered at once, so that their rows of scores stay small."""
    return max(1, CHUNK_FLOATS // (len(sources.catalogue) + 1))


def repeat_habit(history: History) -> tuple[Ints, Floats]:
    """Return the distinct items of a history, ascending, and how strong the habit of each is.

    log(1 + sum 100 / (100 + age)) over the times an item was met, where age counts the events that came later. On the
    groceries of completejourney, ranking by this sum alone found the next basket best among powers and half-lives of
    days and of events (NDCG@10 0.0615; plain frequency 0.0584, half-life of 60 days 0.0614).
    """
    recent = history.last(REMEMBERED)
    later = len(recent) - np.searchsorted(recent.times, recent.times, side="right")
    items, where = np.unique(recent.items, return_inverse=True)
    strength = np.bincount(where, HABIT_EVENTS / (HABIT_EVENTS + later), len(items))
    return items.astype(np.int32), np.log1p(strength).astype(np.float32)


def _encode(requests: Sequence[Request], sources: Sources) -> list[Floats | None]:
    """Return (V + 1,) encoder scores per request, None without an encoder."""
    if sources.encoder is None:
        return [None] * len(requests)
    return list(sources.encoder.scores(requests, len(sources.catalogue)))


def _find(request: Request, encoded: Floats | None, sources: Sources) -> Found:
    history, settings = request.history, sources.settings
    met, habit = repeat_habit(history)
    include = request.seen == "include"
    # What the user has met must not take the places of what may be listed.
    n_items, n = len(sources.catalogue), settings.candidates + (0 if include else len(met))
    transitions = np.zeros(n_items + 1, np.float32)
    counts = sources.behaviour.transitions
    counts.score_into(transitions, history, decay=settings.count_decay, smoothing=settings.count_smoothing)
    last = np.zeros(n_items + 1, np.float32)
    counts.score_into(last, history, decay=LAST_DECAY, smoothing=LAST_SMOOTHING)
    association = np.zeros(n_items + 1, np.float32)
    counts.associate_into(
        association,
        history,
        decay=ASSOCIATION_DECAY,
        scale=ASSOCIATION_SCALE,
        rarity=sources.behaviour.popularity.rarities(n_items),
    )
    popular = sources.behaviour.popularity.log_scores(request.time, n_items)
    recent = sources.behaviour.popularity.recent_log_scores(request.time, n_items)
    brought = [top(popular, n), *(top(scores, n, above=0) for scores in (recent, transitions, last, association))]
    if encoded is not None:
        brought.append(top(encoded, n))
    if include:
        usual = met[np.argsort(-habit, kind="stable")[:n]]
        brought.append(usual[(usual > 0) & (usual <= n_items)])
    return Found(
        candidates=np.unique(np.concatenate(brought)),
        encoder=encoded,
        transitions=transitions,
        last=last,
        association=association,
        popular=popular,
        recent=recent,
        totals=sources.behaviour.popularity.totals(n_items),
        popularity_weight=settings.popularity_weight,
        met=met,
        habit=habit,
        just_met=_just_met(history),
        liked=_liked(history, sources.contents),
        contents=sources.contents,
        silence_us=_silence(request.time, sources.behaviour.popularity.newest),
    )


def _silence(now: int | None, newest: int | None) -> int:
    return 0 if now is None or newest is None else max(0, now - newest)


def _just_met(history: History) -> Ints:
    """Return the items of the last moment of a history."""
    return history.items[np.searchsorted(history.times, history.times[-1]) :] if len(history) else history.items


def _liked(history: History, contents: Floats | None) -> Floats:
    """Return (l, P) what the items of the last events say, those that say something."""
    if contents is None:
        return np.zeros((0, 0), np.float32)
    items = history.items[-LIKED_BY_CONTENT:]
    said = contents[items[items < len(contents)]]
    return said[said.any(axis=1)]
