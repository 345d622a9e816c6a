"""From a question in ids to a list in ids: what the engine owns besides the histories.

Evaluation calls the same `recommend`, so that the offline number is the online behaviour.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from headrace.core.errors import DataError, NotFoundError, NotReadyError
from headrace.core.settings import RankingSettings, Settings
from headrace.core.types import DEFAULT_TYPE, RATING_TYPE, Recommendation, Seen
from headrace.data.log import EMPTY_HISTORY, EventLog, Floats, History, Ints, Longs
from headrace.ranking.behaviour import Behaviour
from headrace.ranking.catalogue import Catalogue
from headrace.ranking.item_index import ItemIndex
from headrace.ranking.item_vectors import Placed
from headrace.ranking.recommender import recommend
from headrace.ranking.requests import NO_ITEMS, Answer, Request
from headrace.ranking.rules import standard_rules
from headrace.ranking.scorer import Scorer, default_scorer
from headrace.ranking.similarity import similar_items
from headrace.ranking.sources import Encoder, Sources
from headrace.serving.arena import Arena, Asked
from headrace.serving.models import LoadedModel
from headrace.serving.questions import PastEvent, Question
from headrace.serving.schema import DELETED
from headrace.serving.sides import Side
from headrace.serving.states import Grown, UserState, float_values
from headrace.serving.store import StoredItem

_SECOND_US = 1_000_000
_FORGOTTEN_TOGETHER = 1000
"""Events that are taken out of the counts at once, which takes 10 ms; those of a million-event user 20 s."""
_UNKNOWN_TYPE = 1 << 30
"""The type of an event that came with a question and has one that nobody has heard of."""


class Answering:
    """Catalogue, counts and models.

    `requests`, `changed` and `side_of` are the first thread's, `count`, `answer` and `listed` the second's, at the same
    time; everything else is called while the second has nothing to do.
    """

    def __init__(
        self, behaviour: Behaviour, catalogue: Catalogue, types: Sequence[str], settings: RankingSettings
    ) -> None:
        """Begin without a model.

        Args:
            behaviour: the counts.
            catalogue: the store's items; an index is a key.
            types: the store's event types, growing.
            settings: how to rank.
        """
        self.catalogue = catalogue
        self.side: Side | None = None
        """The model that serves; None before there is one."""
        self.leaving: Side | None = None
        """The model before it, which goes on to answer users whose states it has, until they are read anew."""
        self.habit: Seen = "exclude"
        self._leaving_encoder: Encoder | None = None
        self._moved: list[Ints] = []
        self._types = types
        self._settings = settings
        self._sources = Sources(self.catalogue, behaviour, settings)
        self._rules = standard_rules(self.catalogue, settings)
        self._rules_of_given = replace(self._rules, distinct_titles=None)

    @property
    def behaviour(self) -> Behaviour:
        """The counts."""
        return self._sources.behaviour

    @property
    def model(self) -> LoadedModel | None:
        """The model that serves."""
        return None if self.side is None else self.side.model

    @property
    def arena(self) -> Arena | None:
        """The states of users under it."""
        return None if self.side is None else self.side.arena

    @property
    def _arenas(self) -> list[Arena]:
        return [side.arena for side in (self.side, self.leaving) if side is not None]

    @property
    def state_bytes(self) -> int:
        """Memory of what is kept of recent users."""
        return sum(arena.bytes for arena in self._arenas)

    @property
    def rebuilt(self) -> int:
        """Users whose state was computed from their history, under this model."""
        return 0 if self.arena is None else self.arena.rebuilt

    def side_of(self, state: UserState | None) -> Side | None:
        """Return the model that answers a user: the new one once their state is there, None without any."""
        if self.leaving is not None and self.side is not None and state is not None:
            key = state.key
            return self.leaving if key in self.leaving.arena and key not in self.side.arena else self.side
        return self.side

    @property
    def seen(self) -> Seen:
        """Whether lists hold what the user met, where the question does not say."""
        if self._settings.seen != "learned":
            return self._settings.seen
        return self.habit if self.model is None else self.model.info.seen

    def mention(self, key: int, item_id: str) -> None:
        """Take in an item that nobody had heard of."""
        index = self.catalogue.mention(item_id)
        assert index == key, "keys of the store are indices of the catalogue"
        self._follow_items()

    def put_item(self, stored: StoredItem) -> None:
        """Take in an item that was put, changed or deleted; the next answer knows."""
        item = stored.item
        if stored.state == DELETED:
            self.catalogue.remove(stored.key)
        else:
            self.catalogue.put(item.item_id, title=item.title, categories=item.categories, available=item.available)

    def take(self, model: LoadedModel, arena: Arena, index: ItemIndex | None = None) -> None:
        """Exchange the model; arena and lists are of this model. Users with a state move to it one after the other."""
        before = self.side
        self.side = Side(model, arena)
        if before is not None:
            before.arena.share_with(None)  # of a model that is gone for good now
        self.leaving = before if before is not None and len(before.arena) else None
        self._leaving_encoder = None if self.leaving is None else self._sources.encoder
        if self.leaving is not None:
            arena.share_with(self.leaving.arena)
        self._follow_items()
        self._sources = replace(self._sources, encoder=Encoder(model.network, model.vectors, index))
        self._moved = []

    def move(self, keys: Sequence[int], states: Sequence[UserState]) -> int:
        """Read users anew under the model that serves, and drop what the one before had of them.

        Returns how many users of the one before are left; it is freed with the last.

        Args:
            keys: of users who have a state there, those asked about last first; all of them were asked about before
                those who moved already.
            states: of those whom the store still knows.
        """
        if self.leaving is None or self.side is None:
            return 0
        self.side.arena.users([Asked(state.key, state.history, None) for state in states])
        self.side.arena.set_behind(keys)
        for key in keys:
            self.leaving.arena.forget(key)
        left = len(self.leaving.arena)
        if not left:
            self.part()
        return left

    def part(self) -> None:
        """Free the model before the one that serves, whoever has a state there."""
        self.leaving = self._leaving_encoder = None
        if self.side is not None:
            self.side.arena.share_with(None)

    def index(self, model: LoadedModel, index: ItemIndex | None) -> None:
        """Look through lists for the items nearest to a user; nothing happens if the model has been exchanged since.

        `moved()` must have been called before the vectors were read that the lists are made of.
        """
        if model is self.model:
            if index is not None and self._moved:
                index.change(np.concatenate(self._moved))
            self._sources = replace(self._sources, encoder=Encoder(model.network, model.vectors, index))

    def moved(self) -> None:
        """Begin to note which items get other vectors, for `index`."""
        self._moved = []

    @property
    def indexed(self) -> ItemIndex | None:
        """The lists in use; None where all items are looked at."""
        return None if self._sources.encoder is None else self._sources.encoder.index

    def place(self, model: LoadedModel, keys: Ints, placed: Placed) -> None:
        """Give items the vectors of their content; see `ItemVectors.change`.

        Nothing happens if the model has been exchanged since they were made.
        """
        if model is self.model and self.arena is not None:
            self.arena.inputs_changed(model.vectors.change(keys, placed))
            self._moved.append(keys)
            if self.indexed is not None:
                self.indexed.change(keys)

    def changed(self, key: int, grown: Grown) -> None:
        """Take in that a user's history is another one, which `count` will count."""
        for arena in self._arenas:
            arena.changed(key, grown.first)

    def count(self, grown: Sequence[Grown]) -> None:
        """Count what has become of the histories of several users."""
        self.behaviour.follow(grown)

    def forget(self, state: UserState) -> Iterator[None]:
        """Drop what was computed of a user, and take their events out of the counts, the last ones first.

        Yields after each portion, as others ask meanwhile.
        """
        for arena in self._arenas:
            arena.forget(state.key)
        history = state.history
        for end in range(len(history), 0, -_FORGOTTEN_TOGETHER):
            start = max(0, end - _FORGOTTEN_TOGETHER)
            self.behaviour.change(history.part(0, end), history.part(0, start), first=start)
            yield

    def distrust(self) -> None:
        """Take in that some history may have changed unnoticed: everybody is read anew."""
        for arena in self._arenas:
            arena.clear()

    def requests(
        self, asked: Sequence[tuple[Question, UserState | None]], now: int, side: Side | None
    ) -> list[Request]:
        """Turn questions into requests, with the vectors of the users under a model, or without any.

        Raises:
            DataError: an event type that nobody has heard of.
        """
        kinds = [None if q.event_type is None else self.type_index(q.event_type) for q, _ in asked]
        histories = [self._past(question, state, now) for question, state in asked]
        users: Iterable[Floats | None] = [None] * len(asked)
        if side is not None:
            self._follow_types(side.model)
            keys = [None if state is None else state.key for _, state in asked]
            users = side.arena.users([Asked(key, past, now) for key, past in zip(keys, histories, strict=True)])
        return [
            Request(
                history=past,
                k=question.k,
                time=now,
                exclude=self._indices(question.exclude),
                seen=question.seen or self.seen,
                event_type=kind,
                only=None if question.only is None else self._indices(question.only),
                category=question.category,
                user=user,
            )
            for (question, _), kind, past, user in zip(asked, kinds, histories, users, strict=True)
        ]

    def _past(self, question: Question, state: UserState | None, now: int) -> History:
        if question.user_id is None:
            return self._history(question.history, now)
        return EMPTY_HISTORY if state is None else state.history

    def answer(self, requests: Sequence[Request], side: Side | None) -> list[Answer]:
        """Answer requests, together; a ranking of given items may hold a title more than once.

        `side` is that of `requests`; without one the counts answer alone.
        """
        sources = self._sources
        if side is not self.side:
            sources = replace(self._sources, encoder=None if side is None else self._leaving_encoder)
        scorer = default_scorer(self.seen) if side is None else Scorer(side.model.info.blend)
        answers: dict[int, Answer] = {}
        for rules, given in ((self._rules, False), (self._rules_of_given, True)):
            places = [place for place, request in enumerate(requests) if (request.only is not None) == given]
            if places:
                found = recommend([requests[p] for p in places], sources=sources, rules=rules, scorer=scorer)
                answers.update(zip(places, found, strict=True))
        return [answers[place] for place in range(len(requests))]

    def similar(self, item_id: str, k: int) -> list[Recommendation]:
        """List items like an item, best first.

        Raises:
            NotFoundError: no such item.
        """
        item = self.catalogue.index(item_id)
        if not item:
            raise NotFoundError(f"no item has the id {item_id!r}")
        return self.listed(similar_items(item, k, sources=self._sources, rules=self._rules))

    def popular(self, keys: Longs, now: int) -> Floats:
        """Return (n,) how popular items are at a time; 0 for one that came to the store a moment ago."""
        scores = self.behaviour.popularity.log_scores(now, len(self.catalogue))
        return np.where(keys < len(scores), scores[np.minimum(keys, len(scores) - 1)], np.float32(0))

    def listed(self, answer: Answer) -> list[Recommendation]:
        """Return an answer in ids."""
        rows = zip(self.catalogue.ids.ids(answer.items), answer.scores.tolist(), answer.reasons, strict=True)
        return [Recommendation(item_id, score, reason) for item_id, score, reason in rows]

    def rate(self, state: UserState | None, item_ids: Sequence[str]) -> tuple[Floats, Floats, Floats]:
        """Return (n,) ratings, low and high of items; a model with a rating head must be loaded."""
        model, arena = self.model, self.arena
        if model is None or model.ratings is None or arena is None:
            raise NotReadyError("a rating needs a model that learned from ratings; train on ratings and swap it in")
        self._follow_types(model)
        histories = [EMPTY_HISTORY if state is None else state.history]
        items = np.array([self.catalogue.index(item_id) for item_id in item_ids], np.int32)
        items[items >= len(model.vectors)] = 0
        # The head learned with the time of the request hidden.
        users = arena.users([Asked(None if state is None else state.key, histories[0], None)])
        rated = model.ratings.rate(users, histories, np.zeros(len(items), np.int32), items, model.vectors)
        return rated.ratings, rated.low, rated.high

    def type_index(self, name: str) -> int:
        """Return the index of an event type.

        Raises:
            DataError: nobody has heard of it.
        """
        if name not in self._types:
            known = ", ".join(sorted(self._types)[:20]) or "none yet"
            raise DataError(f"event_type must be a type that events have had, got {name!r}; there are: {known}")
        return self._types.index(name)

    def _follow_items(self) -> None:
        """Let the models know the items that came since they were loaded: a row for each, whatever it will say."""
        for side in (self.side, self.leaving):
            if side is not None and len(side.model.vectors) <= len(self.catalogue):
                side.model.place_unheard(len(self.catalogue) + 1 - len(side.model.vectors))

    def _follow_types(self, model: LoadedModel) -> None:
        """Let a model know the event types that came since it was loaded; the last place stands for unheard ones."""
        if len(model.vectors.types) == len(self._types) + 1:
            return
        index = {name: place for place, name in enumerate(model.info.shape.types)}
        known = [index.get(name, -1) for name in self._types]
        model.vectors.types = np.array([*known, -1], np.int32)

    def _history(self, events: Sequence[PastEvent], now: int) -> History:
        """Return a history that came with the question; items that nobody knows are left out."""
        keys = [self.catalogue.index(event.item_id) for event in events]
        known = [(key, event) for key, event in zip(keys, events, strict=True) if key]
        # Without times the order given counts: at one moment they would be a basket, which has none.
        moments = [now - (len(known) - place) * _SECOND_US for place in range(len(known))]
        times = [
            moment if event.time is None else event.time for moment, (_, event) in zip(moments, known, strict=True)
        ]
        kinds = [event.type or (DEFAULT_TYPE if event.value is None else RATING_TYPE) for _, event in known]
        index = {name: place for place, name in enumerate(self._types)}
        order = np.argsort(np.array(times, np.int64), kind="stable")
        return History(
            np.array([key for key, _ in known], np.int32)[order],
            np.array([index.get(kind, _UNKNOWN_TYPE) for kind in kinds], np.int32)[order],
            float_values([event.value for _, event in known])[order],
            np.array(times, np.int64)[order],
        )

    def _indices(self, ids: Sequence[str]) -> Ints:
        found = [self.catalogue.index(item_id) for item_id in ids]
        return np.array([index for index in found if index], np.int32) if found else NO_ITEMS


def warm_up(settings: Settings) -> None:
    """Run everything compiled once, on a shop of three items."""
    ranking = settings.ranking
    answering = Answering(Behaviour(ranking.count_window), Catalogue.of_ids("123"), [DEFAULT_TYPE], ranking)
    keys = np.array([1, 2, 3], np.int32)
    history = History(keys, np.zeros(3, np.int32), np.full(3, np.nan, np.float32), keys.astype(np.int64) * _SECOND_US)
    users = np.ones(3, np.int32)
    log = EventLog(users, history.items, history.types, history.values, history.times, n_users=1, n_items=3)
    answering.behaviour.add_log(log)
    answering.behaviour.change(history, EMPTY_HISTORY)
    answering.count([Grown(EMPTY_HISTORY, history, 0), Grown(history.part(0, 1), history, 0)])
    for seen in ("include", "exclude"):
        answering.answer([Request(history, seen=seen, time=4 * _SECOND_US)], None)
    answering.similar("1", 2)
    Behaviour.from_state(answering.behaviour.state())
