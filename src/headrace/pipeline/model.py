"""A trained model in Python: lists, similar items and ratings from its folder, without a service or PyTorch."""

from __future__ import annotations

import time as clock
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import polars as pl
from safetensors import SafetensorError
from safetensors.numpy import load_file

from headrace.core.errors import DataError, FormatError, NotFoundError, NotReadyError
from headrace.core.formats import COUNTS_FILE, VOCABULARY_FILE, ModelInfo
from headrace.core.settings import RankingSettings, Settings
from headrace.core.types import Event, Recommendation, Seen
from headrace.data.dataset import Dataset
from headrace.data.log import EMPTY_HISTORY, EventLog, History, Ints
from headrace.data.row_rules import event_type
from headrace.data.tables import PandasFrame, from_pandas
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
_SECOND_US = 1_000_000
_OTHER = ""
"""Stands behind the model's own event types, for each type that it does not know."""


class Model:
    """A model folder, loaded. Its items are those it was trained with; its counts are those of its training."""

    def __init__(self, folder: Path, network: Network, settings: RankingSettings) -> None:
        self.path = folder
        self._network = network
        self._settings = settings

    def __repr__(self) -> str:
        return f"Model({str(self.path)!r}: {self.info.preset}, {len(self._network.vocabulary):,} items)"

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

        Raises:
            DataError: `k` is below 1, or the history is one text, whose letters are no items.
        """
        _check_k(k)
        if isinstance(history, str):
            raise DataError(f"a history is a list of item ids or events, got the text {history!r}; write [{history!r}]")
        now = int(clock.time()) * _SECOND_US if time is None else time
        request = Request(self._history(history, now), k, time, seen=seen or self._seen)
        return self._named(self._answer([request])[0])

    def recommend_users(self, data: Dataset, k: int = 10, *, users: Sequence[str] | None = None) -> pl.DataFrame:
        """Return the lists of a dataset's users, as of its last event.

        Args:
            data: where the histories come from.
            k: how many items a user, at least 1.
            users: which users, in this order; None takes all. A user without events gets what a new one gets.

        Returns:
            a frame `user_id, rank, item_id, score, reason`, rank 1 first.

        Raises:
            DataError: `k` is below 1.
        """
        _check_k(k)
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
            DataError: `k` is below 1.
        """
        _check_k(k)
        index = self._catalogue.index(item_id)
        if not index:
            raise NotFoundError(f"the item must be one that the model was trained with, {item_id!r} is not")
        return self._named(
            similar_items(index, k, sources=self._sources, rules=standard_rules(self._catalogue, self._settings))
        )

    def predict(self, pairs: pl.DataFrame | PandasFrame, data: Dataset) -> pl.DataFrame:
        """Predict ratings on the dataset's scale.

        Args:
            pairs: a Polars or a pandas frame with columns `user_id` and `item_id`.
            data: where the histories come from; a pair's own past rating is part of its history if the data holds it.

        Returns:
            a frame `user_id, item_id, rating, low, high`, in the order of `pairs`; nine in ten lie in low..high.

        Raises:
            NotReadyError: the model has no rating head.
            DataError: a column is missing.
        """
        if not self.info.has_rating_head:
            raise NotReadyError("this model has no rating head; train on events with ratings")
        missing = {"user_id", "item_id"} - set(pairs.columns)
        if missing:
            raise DataError(f"pairs must have the columns user_id and item_id, got {list(pairs.columns)}")
        frame = pairs if isinstance(pairs, pl.DataFrame) else from_pandas(pairs, "pairs").rows.collect()
        chosen = frame.select(pl.col("user_id", "item_id").cast(pl.String))
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
        return self._network.adapt(self._network.vocabulary.series, types=[*self.info.shape.types, _OTHER])

    @cached_property
    def _sources(self) -> Sources:
        path = self.path / COUNTS_FILE
        try:
            behaviour = Behaviour.from_state(load_file(path))
        except (OSError, SafetensorError, KeyError) as error:
            raise FormatError(
                f"{path} must hold the model's counts, it cannot be read: {error}; run `headrace train DATASET --out "
                "MODEL`"
            ) from None
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

    def _history(self, events: Sequence[str | Event], now: int) -> History:
        """Bring ids and events into the model's indices; as in the service, those without a time end a second ago."""
        known = [Event(user_id="-", item_id=e) if isinstance(e, str) else e for e in events]
        known = [e for e in known if self._catalogue.index(e.item_id)]
        if not known:
            return EMPTY_HISTORY
        start = now - len(known) * _SECOND_US
        times = [start + n * _SECOND_US if e.time is None else e.time for n, e in enumerate(known)]
        order = np.argsort(np.array(times), kind="stable")
        types = _places([event_type(e) for e in known], self.info.shape.types)
        return History(
            np.array([self._catalogue.index(e.item_id) for e in known], np.int32)[order],
            types[order],
            np.array([np.nan if e.value is None else e.value for e in known], np.float32)[order],
            np.array(times, np.int64)[order],
        )

    def _histories(self, data: Dataset, names: Sequence[str]) -> dict[str, History]:
        """Return the histories of the named users in the model's indices; unknown users have empty ones."""
        log = data.log(include_bots=True)
        items = self._indices(data)
        kinds = _places(data.report.types, self.info.shape.types)
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


def _check_k(k: int) -> None:
    if k < 1:
        raise DataError(f"k must be at least 1, got {k}")


def _places(names: Sequence[str], known: Sequence[str]) -> Ints:
    """Return (n,) where each name stands in `known`; one past its end, where `_OTHER` stands, if it does not."""
    return np.array([known.index(name) if name in known else len(known) for name in names], np.int32)


def _slice(log: EventLog, start: int, end: int) -> History:
    return History(log.items[start:end], log.types[start:end], log.values[start:end], log.times[start:end])
