"""A model as the service holds it: its network, its vectors in the store's index space, and the check before a swap."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import polars as pl

from headrace.content.item_reading import SAYING_FIELDS, item_features, item_text, items_of
from headrace.content.text_onnx import OnnxTextEncoder
from headrace.content.vectors import Progress, VectorCache
from headrace.core.errors import FormatError, ModelError, StoppedError
from headrace.core.formats import METRICS_FILE, TEXT_FOLDER, VOCABULARY_FILE, ModelInfo
from headrace.core.settings import ServingSettings
from headrace.core.types import Item
from headrace.data.log import EMPTY_HISTORY, Floats, History, Ints
from headrace.ranking.network import ItemVectors, Network, Placed
from headrace.ranking.ratings import RatingModel
from headrace.ranking.stepping import Stepper, load_stepper, warm_up
from headrace.serving.arena import Arena, Asked
from headrace.serving.listing import ids_of, listing
from headrace.serving.questions import NO_MODEL
from headrace.serving.schema import LISTED
from headrace.serving.status import ModelStatus, Row
from headrace.serving.store import Store

_PROBES = 8
"""Histories that a model must answer with finite numbers before it is taken."""
_STEP_TOLERANCE = 0.02
"""Half precision of the kept states moves a number by some thousandths of the largest one at most."""


@dataclass
class LoadedModel:
    """A checked and warm model.

    `folder` is where it came from, `stepper` its network one event at a time, `texts` its text encoder and what that
    has read, `metrics` what its last assessment found.
    """

    folder: Path
    network: Network
    stepper: Stepper
    vectors: ItemVectors
    ratings: RatingModel | None
    texts: VectorCache | None
    metrics: list[Row]

    @property
    def info(self) -> ModelInfo:
        """The folder's `model.json`."""
        return self.network.info

    @property
    def version(self) -> str:
        """The version, as answers name it."""
        return self.network.info.version

    def place(self, items: Sequence[Item], keys: Ints, progress: Progress | None = None) -> Placed:
        """Return what items of these keys are to the network, from what they say now and their learned ids.

        `progress` hears of the texts that are read; see `VectorCache.vectors`.
        """
        features = item_features(items, self.info.features)
        rows = self.vectors.rows
        own = np.where(keys < len(rows), rows[np.minimum(keys, len(rows) - 1)], 0)
        return self.network.place(self._encode(items, progress), features, own)

    def place_unheard(self, n: int) -> None:
        """Append n items that nothing is known of to the vectors."""
        nothing = np.zeros((n, self.network.content_width), np.float32)
        self.vectors.append(self.network.place(nothing))

    def arena(self, settings: ServingSettings) -> Arena:
        """Return room for the states of users under this model, and compile what fills it."""
        limit, precision = settings.state_bytes, settings.state_precision
        warm_up(precision, self.info.shape.mixer)
        return Arena(self.network, self.stepper, self.vectors, limit=limit, precision=precision)

    def _encode(self, items: Sequence[Item], progress: Progress | None) -> Floats:
        """Return (n, C) content vectors, zeros without a text or an encoder; a text is read once.

        A text whose numbers overflow counts as none: its item's vectors would end up in the scores of everybody.
        """
        width = self.network.content_width
        texts = [item_text(item) for item in items]
        if self.texts is None or not width or not any(texts):
            return np.zeros((len(items), width), np.float32)
        found = self.texts.vectors(texts, progress)
        fine = np.isfinite(found).all(axis=1, keepdims=True)
        if not fine.all():
            logging.getLogger(__name__).error(
                "%d of %d texts give vectors that are not finite; their items are placed as if they had none",
                (~fine).sum(),
                len(texts),
            )
        return np.where(fine, found, np.float32(0))


def open_model(
    folder: Path,
    store: Store,
    cache: Path,
    stopped: Callable[[], bool] = lambda: False,
    least_ndcg: float = 0.0,
) -> LoadedModel:
    """Load a model folder, bring it into the store's index space, check it and warm it.

    Items that the model lacks are placed by what they say; one that says something else than when the model was trained
    keeps its input vector and gets a new output vector.

    Args:
        folder: what `headrace train` wrote.
        store: whose items and event types they are.
        cache: the folder that keeps the vectors of texts from one start to the next.
        stopped: whether to give up reading texts, which may take minutes.
        least_ndcg: what its lists must have had between the cuts, NDCG@10; 0 asks for nothing.

    Raises:
        StoppedError: given up.
        FormatError: not a model folder, or of another format.
        ModelError: it gives numbers that are not finite, its weights are not those of its graphs, or its lists were
            worse than they must be.
    """
    metrics = _metrics(folder)
    _check_metrics(folder, metrics, least_ndcg)
    network = Network.load(folder)
    texts = None
    if (folder / TEXT_FOLDER).is_dir():
        texts = VectorCache(cache, OnnxTextEncoder(folder / TEXT_FOLDER))
    ratings = RatingModel.load(folder) if network.info.rating is not None else None
    stepper, ids = load_stepper(folder, network.info.shape), ids_of(store.item_ids)
    model = LoadedModel(folder, network, stepper, network.adapt(ids, types=list(store.types)), ratings, texts, metrics)
    keys, changed = _changed(store, ids, folder / VOCABULARY_FILE, network)
    if changed:
        model.vectors.change(keys, model.place(changed, keys, _until(stopped)))
    network.drop_ids()
    _check(model)
    return model


def _until(stopped: Callable[[], bool]) -> Progress:
    """Return what ends the reading of texts once the service is stopping; what was read is kept for the next."""

    def look(done: int, total: int) -> None:
        if stopped():
            raise StoppedError(
                f"the service is stopping, {done:,} of {total:,} texts were read; ask the next one to take the model"
            )

    return look


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


def _check_metrics(folder: Path, metrics: Sequence[Row], least_ndcg: float) -> None:
    ndcg = next((row["value"] for row in metrics if row["method"] == "headrace"), None)
    if least_ndcg and not (isinstance(ndcg, float) and ndcg >= least_ndcg):
        found = "none was measured" if ndcg is None else f"it has {ndcg:.4f}"
        raise ModelError(
            f"the lists of a model must have an NDCG@10 of {least_ndcg:g} at least (serving.least_ndcg), of {folder} "
            f"{found}; the model that serves stays; train again, or lower the setting"
        )


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


def _changed(store: Store, ids: pl.Series, vocabulary: Path, network: Network) -> tuple[Ints, list[Item]]:
    """Return the items of the catalogue that say something else than in the training, and their keys before them.

    What is new says so too. An item that the store knows from events only, or that was deleted, says nothing; what the
    model knows stays. Items that have come since `ids` were read are left out.
    """
    held = pl.read_parquet_schema(vocabulary)
    trained = pl.read_parquet(vocabulary, columns=[name for name in SAYING_FIELDS if name in held])
    places = pl.Series("place", network.vocabulary.indices(ids).astype(np.int64) - 1)
    keys, changed, start = [np.empty(0, np.int32)], list[Item](), 0
    for items in listing(store):
        place = places[start : start + items.height]
        then = trained.select(pl.all().gather(place.set(place < 0, None)))
        found, now = _changed_of(items[: len(place)].with_row_index("key", start + 1), then, network.info.features)
        keys.append(found)
        changed += now
        start += items.height
    return np.concatenate(keys), changed


def _changed_of(
    items: pl.DataFrame, then: pl.DataFrame, statistics: Mapping[str, tuple[float, float]]
) -> tuple[Ints, list[Item]]:
    """Do it for some items; `then` is what each said, null where the model lacks it."""
    both = items.hstack(then.select(pl.all().name.suffix(" then"))).filter(pl.col("state") == LISTED)
    written_anew = [
        pl.col(name).ne_missing(pl.col(f"{name} then")) if name in then.columns else pl.col(name).is_not_null()
        for name in SAYING_FIELDS
    ]
    both = both.filter(pl.any_horizontal(written_anew))
    now = items_of(both)
    before = items_of(both.select("item_id", *(pl.col(f"{name} then").alias(name) for name in then.columns)))
    differs = [
        item_text(one) != item_text(other) or not np.array_equal(*item_features([one, other], statistics))
        for one, other in zip(now, before, strict=True)
    ]
    keys = both["key"].to_numpy().astype(np.int32)[differs]
    return keys, [item for item, changed in zip(now, differs, strict=True) if changed]


def _check(model: LoadedModel) -> None:
    """Ask the model about its own items, as the store may hold none of them."""
    network = model.network
    own = network.first_vectors(_PROBES)
    trained = np.flatnonzero(own.rows)[:_PROBES].astype(np.int32)
    histories = [EMPTY_HISTORY, *(_history(trained[: n + 1]) for n in range(len(trained)))]
    if len(trained):  # and one that goes round the ring of slots
        histories.append(_history(np.resize(trained, model.stepper.slots + 1)))
    users = network.users(histories, [None] * len(histories), own)
    vectors = model.vectors
    tables = {"user": users, "input": vectors.inputs.scales, "output": vectors.outputs.scales}
    for name, numbers in tables.items():
        if not np.isfinite(numbers).all():
            raise ModelError(
                f"a model must give finite numbers, {model.folder} gives {name} vectors that are not; "
                "the model that serves stays; train again"
            )
    steps = Arena(network, model.stepper, own, limit=0, precision="half")
    stepped = steps.users([Asked(None, history, None) for history in histories])
    apart = np.abs(stepped - users).max()
    if not apart <= _STEP_TOLERANCE * np.abs(users).max():
        raise ModelError(
            f"a model must give one vector event by event and at once, {model.folder} differs by up to {apart:.2g}: "
            "its weights and its graphs are not of one training; train again"
        )
    if not np.any(users) or not np.any(own.outputs.scales):
        raise ModelError(f"a model must tell items apart, every score of {model.folder} is 0; train again")


def _history(items: Ints) -> History:
    n = len(items)
    moments = np.arange(1, n + 1, dtype=np.int64) * 60_000_000
    return History(items, np.zeros(n, np.int32), np.full(n, np.nan, np.float32), moments)
