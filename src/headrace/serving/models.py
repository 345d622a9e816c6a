"""A model as the service holds it: its network, its vectors in the store's index space, and the check before a swap."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from headrace.content.text_onnx import OnnxTextEncoder
from headrace.content.vectors import VectorCache
from headrace.core.errors import FormatError, ModelError
from headrace.core.formats import METRICS_FILE, TEXT_FOLDER, ModelInfo
from headrace.core.types import Item
from headrace.data.log import EMPTY_HISTORY, Floats, History, Ints
from headrace.ranking.network import ItemVectors, Network
from headrace.ranking.ratings import RatingModel
from headrace.serving.questions import NO_MODEL
from headrace.serving.status import ModelStatus, Row

_PROBES = 8
"""Histories that a model must answer with finite numbers before it is taken."""


@dataclass
class LoadedModel:
    """A checked and warm model. `folder` is where it came from, `metrics` what its last assessment found."""

    folder: Path
    network: Network
    vectors: ItemVectors
    ratings: RatingModel | None
    encoder: OnnxTextEncoder | None
    metrics: list[Row]

    @property
    def info(self) -> ModelInfo:
        """The folder's `model.json`."""
        return self.network.info

    @property
    def version(self) -> str:
        """The version, as answers name it."""
        return self.network.info.version

    def has_learned(self, key: int) -> bool:
        """Whether the model was trained with an item; its vectors stay as they are until the next swap."""
        return key < len(self.vectors.rows) and bool(self.vectors.rows[key])

    def place(self, items: Sequence[Item]) -> tuple[Floats, Floats]:
        """Return (inputs, outputs), (n, D) each, of items that the model was not trained with, from what they say."""
        return self.network.place(self.encode(items), numeric_features(items, self.info.features))

    def encode(self, items: Sequence[Item], cache: Path | None = None) -> Floats:
        """Return (n, C) content vectors, zeros without a text or an encoder; `cache` keeps them for the next time."""
        width = self.network.content_width
        texts = [item.content_text() for item in items]
        if self.encoder is None or not width or not any(texts):
            return np.zeros((len(items), width), np.float32)
        return self.encoder.encode(texts) if cache is None else VectorCache(cache, self.encoder).vectors(texts)


def open_model(folder: Path, items: Sequence[Item], types: Sequence[str], cache: Path) -> LoadedModel:
    """Load a model folder, bring it into the store's index space, check it and warm it.

    Args:
        folder: what `headrace train` wrote.
        items: every item of the store by key, 1..V.
        types: the store's event types.
        cache: the folder that keeps the vectors of texts from one start to the next.

    Raises:
        FormatError: not a model folder, or of another format.
        ModelError: it gives numbers that are not finite.
    """
    network = Network.load(folder)
    encoder = OnnxTextEncoder(folder / TEXT_FOLDER) if (folder / TEXT_FOLDER).is_dir() else None
    ratings = RatingModel.load(folder) if network.info.rating is not None else None
    ids = [item.item_id for item in items]
    learned = set(network.item_ids)
    strangers = [place for place, item_id in enumerate(ids) if item_id not in learned]
    new = [items[place] for place in strangers]
    model = LoadedModel(folder, network, network.adapt([]), ratings, encoder, _metrics(folder))
    content = _table(len(ids), strangers, model.encode(new, cache))
    features = _table(len(ids), strangers, numeric_features(new, network.info.features))
    model.vectors = network.adapt(ids, content, features=features, types=types)
    _check(model)
    return model


class _Metrics(msgspec.Struct, frozen=True):
    """The part of `metrics.json` that is shown: NDCG@10 between the cuts, by method."""

    validation: dict[str, float] = {}


def _metrics(folder: Path) -> list[Row]:
    """Return what the training measured, as rows."""
    path = folder / METRICS_FILE
    try:
        found = msgspec.json.decode(path.read_bytes(), type=_Metrics) if path.is_file() else _Metrics()
    except msgspec.DecodeError as error:
        raise FormatError(f"{path} cannot be read: {error}; train again") from None
    return [{"method": name, "metric": "ndcg", "k": 10, "value": value} for name, value in found.validation.items()]


def model_status(model: LoadedModel | None) -> ModelStatus:
    """Say what serves."""
    if model is None:
        return ModelStatus(name="transition counts", version=NO_MODEL)
    info = model.info
    return ModelStatus(
        name=info.name,
        version=info.version,
        protocol=info.learned.protocol,
        created=info.created,
        events=info.learned.events,
        metrics=model.metrics,
    )


def numeric_features(items: Sequence[Item], statistics: Mapping[str, tuple[float, float]]) -> Floats:
    """Return (n, F) the features of items, each by itself; what `data.features.normalise` gives for a whole table."""
    table = np.zeros((len(items), len(statistics)), np.float32)
    for row, item in enumerate(items):
        for place, (name, (mean, deviation)) in enumerate(statistics.items()):
            value = item.attributes.get(name)
            if name == "price":
                value = None if item.price is None else math.log1p(max(item.price, 0.0))
            if isinstance(value, int | float) and not isinstance(value, bool):
                table[row, place] = (value - mean) / deviation
    return table


def _table(n_items: int, places: list[int], rows: Floats) -> Floats:
    """Return (V + 1, ...) zeros with the rows of some items, `places` counting from 0."""
    table = np.zeros((n_items + 1, rows.shape[1]), np.float32)
    table[np.array(places, np.intp) + 1] = rows
    return table


def _check(model: LoadedModel) -> None:
    """Ask the model about its own items, as the store may hold none of them."""
    network = model.network
    own = network.adapt(network.item_ids)
    trained = np.flatnonzero(own.rows)[:_PROBES].astype(np.int32)
    histories = [EMPTY_HISTORY, *(_history(trained[: n + 1]) for n in range(len(trained)))]
    users = network.users(histories, [None] * len(histories), own)
    tables = {"user": users, "input": own.inputs, "output": own.outputs, "new item": model.vectors.outputs}
    for name, numbers in tables.items():
        if not np.isfinite(numbers).all():
            raise ModelError(
                f"a model must give finite numbers, {model.folder} gives {name} vectors that are not; "
                "the model that serves stays; train again"
            )
    if not np.any(users) or not np.any(own.outputs):
        raise ModelError(f"a model must tell items apart, every score of {model.folder} is 0; train again")


def _history(items: Ints) -> History:
    n = len(items)
    moments = np.arange(1, n + 1, dtype=np.int64) * 60_000_000
    return History(items, np.zeros(n, np.int32), np.full(n, np.nan, np.float32), moments)
