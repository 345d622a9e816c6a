"""A trained model in Python: lists, similar items and ratings from its folder, without a service or PyTorch."""

from __future__ import annotations

import time as clock
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import polars as pl
from safetensors.numpy import load_file

from headrace.core.errors import DataError, NotFoundError, NotReadyError
from headrace.core.formats import COUNTS_FILE, VOCABULARY_FILE, ModelInfo
from headrace.core.settings import RankingSettings, Settings
from headrace.core.types import Event, Recommendation, Seen
from headrace.data.dataset import Dataset
from headrace.data.log import EMPTY_HISTORY, EventLog, History, Ints
from headrace.ranking.behaviour import Behaviour
from headrace.ranking.catalogue import Catalogue
from headrace.ranking.network import ItemVectors, Network
from headrace.ranking.ratings import RatingModel
from headrace.ranking.recommender import recommend
from headrace.ranking.requests import Answer, Request
from headrace.ranking.rules import standard_rules
from headrace.ranking.scorer import Scorer
from headrace.ranking.similarity import similar_items
from headrace.ranking.sources import Encoder, Sources

_USERS_AT_ONCE = 1024


class Model:
    """A model folder, loaded. Its items are those it was trained with; its counts are those of its training."""

    def __init__(self, folder: Path, network: Network, settings: RankingSettings) -> None:
        self.path = folder
        self._network = network
        self._settings = settings

    def __repr__(self) -> str:
        return f"Model({str(self.path)!r}: {self.info.preset}, {len(self._network.item_ids):,} items)"

    @classmethod
    def open(cls, path: str | Path, *, settings: Settings | None = None) -> Model:
        """Load a model folder.

        Raises:
            FormatError: no such folder, a file missing, or of another format.
            ModelError: a weight is not a number.
        """
        ranking = (settings or Settings()).ranking
        return cls(Path(path), Network.load(Path(path), threads=2), ranking)

    @property
    def info(self) -> ModelInfo:
        """The folder's `model.json`."""
        return self._network.info

    def recommend(
        self, history: Sequence[str | Event], k: int = 10, *, time: int | None = None, seen: Seen | None = None
    ) -> list[Recommendation]:
        """Return the list for a history, best first.

        Args:
            history: item ids or events, oldest first; ids that the model does not know are passed over.
            k: how many items, at least 1.
            time: when the list is asked for, microseconds since 1970 in UTC; None hides it from the model.
            seen: whether items of the history may be listed; None follows the habit in the data.
        """
        if k < 1:
            raise DataError(f"k must be at least 1, got {k}")
        request = Request(self._history(history), k, time, seen=seen or self._seen)
        return self._named(self._answer([request])[0])

    def recommend_users(self, data: Dataset, k: int = 10, *, users: Sequence[str] | None = None) -> pl.DataFrame:
        """Return the lists of a dataset's users, as of its last event.

        Args:
            data: where the histories come from.
            k: how many items a user, at least 1.
            users: which users, in this order; None takes all. A user without events gets what is popular.

        Returns:
            a frame `user_id, rank, item_id, score, reason`, rank 1 first.
        """
        if k < 1:
            raise DataError(f"k must be at least 1, got {k}")
        names = list(users) if users is not None else data.user_vocabulary().ids
        histories = self._histories(data, names)
        rows: list[tuple[str, int, str, float, str]] = []
        for start in range(0, len(names), _USERS_AT_ONCE):
            chunk = names[start : start + _USERS_AT_ONCE]
            requests = [Request(histories[name], k, None, seen=self._seen) for name in chunk]
            for name, answer in zip(chunk, self._answer(requests), strict=True):
                listed = enumerate(self._named(answer), start=1)
                rows += [(name, rank, found.item_id, found.score, found.reason) for rank, found in listed]
        schema = {
            "user_id": pl.String,
            "rank": pl.Int32,
            "item_id": pl.String,
            "score": pl.Float32,
            "reason": pl.String,
        }
        return pl.DataFrame(rows, schema=schema, orient="row")

    def similar(self, item_id: str, k: int = 10) -> list[Recommendation]:
        """Return the items most like one, best first.

        Raises:
            NotFoundError: the model does not know the item.
        """
        index = self._catalogue.index(item_id)
        if not index:
            raise NotFoundError(f"the item must be one that the model was trained with, {item_id!r} is not")
        return self._named(
            similar_items(index, k, sources=self._sources, rules=standard_rules(self._catalogue, self._settings))
        )

    def predict(self, pairs: pl.DataFrame, data: Dataset) -> pl.DataFrame:
        """Predict ratings on the dataset's scale.

        Args:
            pairs: a frame with text columns `user_id` and `item_id`.
            data: where the histories come from; a pair's own past rating is part of its history if the data holds it.

        Returns:
            a frame `user_id, item_id, rating, low, high`, in the order of `pairs`; nine in ten lie in low..high.

        Raises:
            NotReadyError: the model has no rating head.
        """
        if not self.info.has_rating_head:
            raise NotReadyError("this model has no rating head; train on events with ratings")
        missing = {"user_id", "item_id"} - set(pairs.columns)
        if missing:
            raise DataError(f"pairs must have the columns user_id and item_id, got {pairs.columns}")
        chosen = pairs.select(pl.col("user_id", "item_id").cast(pl.String))
        names = chosen["user_id"].unique(maintain_order=True).to_list()
        place = {name: row for row, name in enumerate(names)}
        by_name = self._histories(data, names)
        histories = [by_name[name] for name in names]
        users = self._network.users(histories, [None] * len(names), self._vectors)
        rows = np.array([place[name] for name in chosen["user_id"]], np.int32)
        items = np.array([self._catalogue.index(item) for item in chosen["item_id"]], np.int32)
        rated = self._rating_model.rate(users, histories, rows, items, self._vectors)
        return chosen.with_columns(rating=rated.ratings, low=rated.low, high=rated.high)

    @property
    def _seen(self) -> Seen:
        return self.info.seen if self._settings.seen == "learned" else self._settings.seen

    @cached_property
    def _catalogue(self) -> Catalogue:
        return Catalogue.of_items(pl.read_parquet(self.path / VOCABULARY_FILE))

    @cached_property
    def _vectors(self) -> ItemVectors:
        return self._network.adapt(self._network.item_ids)

    @cached_property
    def _sources(self) -> Sources:
        behaviour = Behaviour.from_state(load_file(self.path / COUNTS_FILE))
        return Sources(self._catalogue, behaviour, self._settings, Encoder(self._network, self._vectors))

    @cached_property
    def _rating_model(self) -> RatingModel:
        return RatingModel.load(self.path)

    def _answer(self, requests: Sequence[Request]) -> list[Answer]:
        rules = standard_rules(self._catalogue, self._settings)
        return recommend(requests, sources=self._sources, rules=rules, scorer=Scorer(self.info.blend))

    def _named(self, answer: Answer) -> list[Recommendation]:
        rows = zip(answer.items.tolist(), answer.scores.tolist(), answer.reasons, strict=True)
        return [Recommendation(self._catalogue.id(item), score, reason) for item, score, reason in rows]

    def _history(self, events: Sequence[str | Event]) -> History:
        """Bring ids and events into the model's indices; events without a time follow each other a minute apart."""
        known = [Event(user_id="-", item_id=e) if isinstance(e, str) else e for e in events]
        known = [e for e in known if self._catalogue.index(e.item_id)]
        if not known:
            return EMPTY_HISTORY
        start = int(clock.time()) * 1_000_000 - len(known) * 60_000_000
        times = [start + n * 60_000_000 if e.time is None else e.time for n, e in enumerate(known)]
        order = np.argsort(np.array(times), kind="stable")
        types = self.info.shape.types
        return History(
            np.array([self._catalogue.index(e.item_id) for e in known], np.int32)[order],
            np.array([types.index(e.type) if e.type in types else 0 for e in known], np.int32)[order],
            np.array([np.nan if e.value is None else e.value for e in known], np.float32)[order],
            np.array(times, np.int64)[order],
        )

    def _histories(self, data: Dataset, names: Sequence[str]) -> dict[str, History]:
        """Return the histories of the named users in the model's indices; unknown users have empty ones."""
        log = data.log(include_bots=True)
        items = self._indices(data)
        kinds = _positions(data.report.types, self.info.shape.types)
        known = items[log.items] > 0
        kept = log.where(known)
        moved = EventLog(
            kept.users, items[kept.items], kinds[kept.types], kept.values, kept.times, log.n_users, len(self._catalogue)
        )
        offsets, vocabulary = moved.offsets(), data.user_vocabulary()
        histories = {}
        for name in names:
            user = vocabulary.index(name)
            histories[name] = _slice(moved, offsets[user], offsets[user + 1]) if user else EMPTY_HISTORY
        return histories

    def _indices(self, data: Dataset) -> Ints:
        ids = data.item_vocabulary().ids
        return np.array([0, *(self._catalogue.index(item_id) for item_id in ids)], np.int32)


def _positions(names: Sequence[str], known: Sequence[str]) -> Ints:
    """Return (n,) where each name stands in `known`; 0, the first, where it does not."""
    return np.array([known.index(name) if name in known else 0 for name in names] or [0], np.int32)


def _slice(log: EventLog, start: int, end: int) -> History:
    return History(log.items[start:end], log.types[start:end], log.values[start:end], log.times[start:end])
