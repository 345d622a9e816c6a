"""Predicted ratings at serving time, without PyTorch: damped user and item means plus a learned residual.

    rating = mean + item offset + user offset + weight * residual(user vector, item vector, features)

on the unit scale, then on the dataset's, held within its bounds.

Shapes: B users, P pairs of a user and an item, F features, V items of the model (row 0 is padding).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from headrace.core.errors import NotReadyError
from headrace.core.formats import (
    MODEL_FILE,
    MODEL_FORMAT,
    RATING_FILE,
    VECTORS_FILE,
    ModelInfo,
    RatingFit,
    Stage,
    read_document,
)
from headrace.core.types import Scale
from headrace.data.damped_means import ItemSums, rating_features
from headrace.data.log import Floats, History, Ints
from headrace.data.values import is_rating, unit_values
from headrace.ranking.item_vectors import ItemVectors
from headrace.ranking.network import Graph, stage_folder
from headrace.ranking.onnx_graph import OnnxGraph
from headrace.ranking.vector_file import VectorFile


@dataclass(frozen=True)
class Ratings:
    """Ratings of P pairs on the dataset's scale; nine in ten true ratings of the validation time lie in `low..high`."""

    ratings: Floats
    low: Floats
    high: Floats


class RatingModel:
    """Rates any pair of a history and an item."""

    def __init__(self, fit: RatingFit, scale: Scale, types: list[str], items: ItemSums, graph: Graph) -> None:
        self.fit = fit
        self.scale = scale
        self._types = types
        self._offsets = items.offsets(fit.item_damping)
        self._counts = items.counts
        self._graph = graph

    @classmethod
    def load(cls, folder: Path, stage: Stage = "refitted", *, threads: int = 1) -> RatingModel:
        """Read the rating head of a model folder.

        Raises:
            NotReadyError: the model has none, as it was trained on events without ratings.
            FormatError: no such folder, or a file missing.
        """
        at = stage_folder(folder, stage)
        info = read_document(at / MODEL_FILE, ModelInfo, MODEL_FORMAT, "headrace train DATASET --out MODEL")
        if info.rating is None or info.scale is None:
            raise NotReadyError("this model has no rating head; train on events with ratings")
        tables = VectorFile(at / VECTORS_FILE).tables
        items = ItemSums(info.rating.mean, tables["rating.sums"], tables["rating.counts"])
        return cls(info.rating, info.scale, info.shape.types, items, OnnxGraph(at / RATING_FILE, threads))

    def rate(
        self, users: Floats, histories: Sequence[History], rows: Ints, items: Ints, vectors: ItemVectors
    ) -> Ratings:
        """Rate P pairs.

        Args:
            users: (B, D) user vectors, from `Network.users` with the same histories and vectors, times unknown (None):
                the head was trained on those.
            histories: of the B users, strictly earlier than the rating asked for.
            rows: (P,) place of the pair's user in `users`.
            items: (P,) item indices of the caller; 0 or an unknown item gets what the user gives on average.
            vectors: from `Network.adapt`.
        """
        known = np.where((items >= 0) & (items < len(vectors)), items, 0)
        trained = vectors.rows[known]
        by_user = [self._user(history, vectors) for history in histories]
        user_offset, user_count = np.array(by_user, np.float32).reshape(-1, 2)[rows].T
        item_offset, item_count = self._offsets[trained], self._counts[trained]
        features = rating_features(user_offset, item_offset, user_count, item_count)
        unit = self.fit.mean + item_offset + user_offset
        if self.fit.weight > 0 and len(items):
            (residual,) = self._graph(
                ["residuals"], users=users[rows], items=vectors.outputs.wide_at(known), features=features
            )
            unit = unit + self.fit.weight * residual
        return Ratings(self._scaled(unit), self._scaled(unit + self.fit.low), self._scaled(unit + self.fit.high))

    def _user(self, history: History, vectors: ItemVectors) -> tuple[float, int]:
        """Return the offset of a user and how many ratings it rests on."""
        known = history.types < len(vectors.types)
        types = np.where(known, history.types, 0)
        ratings = known & is_rating(vectors.types[types], self._types) & ~np.isnan(history.values)
        if not ratings.any():
            return 0.0, 0
        items = history.items[ratings]
        rows = vectors.rows[np.where(items < len(vectors), items, 0)]
        given = unit_values(history.values[ratings], np.ones(len(items), np.bool_), self.scale)
        deviations = given - np.float32(self.fit.mean) - self._offsets[rows]
        return float(deviations.sum() / (len(items) + self.fit.user_damping)), len(items)

    def _scaled(self, unit: Floats) -> Floats:
        return np.asarray(
            np.clip(unit, 0.0, 1.0) * (self.scale.high - self.scale.low) + self.scale.low, dtype=np.float32
        )
