"""The Transformer at serving time, without PyTorch: ONNX graphs and item vectors out of a model folder.

Shapes: B histories, T events, V items of the caller (row 0 is padding), M items of the model, D width, C content
width, P reduced content width, n new items.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import polars as pl
from numpy.typing import NDArray
from safetensors import SafetensorError

from headrace.core.errors import FormatError, ModelError
from headrace.core.formats import (
    ENCODE_FILE,
    FITTED_FOLDER,
    MODEL_FILE,
    MODEL_FORMAT,
    QUERY_FILE,
    VECTORS_FILE,
    VOCABULARY_FILE,
    WEIGHTS_FILE,
    ModelInfo,
    Stage,
    read_document,
)
from headrace.data.log import Bools, Floats, History, Ints, Longs, joined
from headrace.data.values import NO_VALUE, is_rating, unit_values
from headrace.data.vocabulary import Vocabulary
from headrace.ranking.byte_rows import ByteRows
from headrace.ranking.item_vectors import ROOM, ItemVectors, Placed
from headrace.ranking.learned_ids import LearnedIds
from headrace.ranking.onnx_graph import OnnxGraph
from headrace.ranking.vector_file import ReadItems, VectorFile, reader_of

__all__ = ["ItemVectors", "Network", "Placed", "stage_folder"]

UNKNOWN_TIME = -1
_TRAIN = "headrace train DATASET --out MODEL"
_EVENTS_AT_ONCE = 8192
_ITEMS_AT_ONCE = 1 << 16


class Graph(Protocol):
    """`ranking.onnx_graph.OnnxGraph`, or `training.asking.TorchGraph` while a network is still in training."""

    def __call__(self, outputs: list[str], **inputs: NDArray[np.generic]) -> list[Floats]:
        """Return the named outputs."""
        ...


class ReadEvents(NamedTuple):
    """Events as the network reads them, (N,) each.

    Args:
        items: rows of the item vectors.
        types: the network's types, -1 for one that it lacks.
        values: 0..1, below 0 for none.
        times: int64 microseconds; zeros where the network reads the order only.
    """

    items: Ints
    types: Ints
    values: Floats
    times: Longs


class Network:
    """One stage of a trained model: histories in, user vectors out. Safe to share between threads.

    `info` is the folder's `model.json`, `vocabulary` has the ids of the model's items.
    """

    def __init__(
        self,
        info: ModelInfo,
        vocabulary: Vocabulary,
        tables: dict[str, Floats],
        encode: Graph,
        query: Graph,
        kept: tuple[ReadItems, LearnedIds] | None = None,
    ) -> None:
        """Take the parts of a model.

        What it says of its items, with their ids and without, is `kept` in its folder; else `tables` holds the former,
        and it cannot place again an item that it has learned from.
        """
        self.info = info
        self.vocabulary = vocabulary
        self._read = reader_of(tables) if kept is None else kept[0]
        self._learned = None if kept is None else kept[1]
        self._tables = {name: table for name, table in tables.items() if name.startswith("place.")}
        self._known: Bools = tables["known"] > 0
        self._encode = encode
        self._query = query

    @classmethod
    def load(cls, folder: Path, stage: Stage = "refitted", *, threads: int = 1) -> Network:
        """Read a model folder.

        Args:
            folder: what `headrace train` wrote.
            stage: `refitted` is the folder itself, `fitted` the stage before, in the folder inside.
            threads: of ONNX Runtime within one call.

        Raises:
            FormatError: no such folder, a file missing or damaged, or of another format.
            ModelError: a weight is not a number.
        """
        at = stage_folder(folder, stage)
        info = read_document(at / MODEL_FILE, ModelInfo, MODEL_FORMAT, _TRAIN)
        try:
            file = VectorFile(at / VECTORS_FILE)
            learned = LearnedIds(at / WEIGHTS_FILE)
            vocabulary = Vocabulary(pl.read_parquet(at / VOCABULARY_FILE, columns=["item_id"])["item_id"])
        except (OSError, SafetensorError, pl.exceptions.PolarsError) as error:
            raise FormatError(
                f"{at} must hold a whole model, a file is missing or damaged: {error}; run `{_TRAIN}`"
            ) from None
        if file.n_items != len(vocabulary) + 1:
            raise FormatError(f"{at} must hold a vector for each item, it holds {file.n_items} for {len(vocabulary)}")
        if not _all_numbers(file):
            raise ModelError(f"every weight must be a number, {at / VECTORS_FILE} holds one that is not; train again")
        tables = _no_contents(info.shape.content) | file.tables
        encode, query = OnnxGraph(at / ENCODE_FILE, threads), OnnxGraph(at / QUERY_FILE, threads)
        return cls(info, vocabulary, tables, encode, query, (file.read, learned))

    @property
    def content_width(self) -> int:
        """C, the width of the content vectors that the model reads; 0 when it reads none."""
        return self.info.shape.content

    def drop_ids(self) -> None:
        """Free the ids, which `adapt` alone needs: a service brings a model into its index space once."""
        self.vocabulary = Vocabulary([])

    def first_vectors(self, n: int) -> ItemVectors:
        """Return the vectors of the first n items that the model has learned from, as items 1..n."""
        places = np.concatenate((np.zeros(1, np.int32), np.flatnonzero(self._known)[:n].astype(np.int32)))
        types = np.arange(len(self.info.shape.types), dtype=np.int32)
        return ItemVectors(self._gather(places), self._rows(places), types)

    @property
    def own_vectors(self) -> ItemVectors:
        """The model's items in the model's own index space."""
        places = np.arange(len(self._known), dtype=np.int32)
        types = np.arange(len(self.info.shape.types), dtype=np.int32)
        return ItemVectors(self._gather(places), self._rows(places), types)

    def adapt(
        self,
        ids: pl.Series | Sequence[str],
        content: Floats | None = None,
        *,
        features: Floats | None = None,
        types: Sequence[str] | None = None,
    ) -> ItemVectors:
        """Bring the model's items into the caller's index space; ids map by their text.

        Args:
            ids: the caller's items; `ids[i]` is item i + 1.
            content: (V + 1, C) text vectors by the caller's index, a row of zeros where an item has none; used for the
                items that the model lacks. None: those items share the vectors of an item without a text.
            features: (V + 1, F) numeric features, see `place`.
            types: the caller's event types, in the order of its type indices; None where they are the model's.

        Raises:
            ModelError: `content` is not of the width that the model reads.
        """
        places = np.concatenate((np.zeros(1, np.int32), self.vocabulary.indices(ids)))
        tables, lacking = self._gather(places), np.flatnonzero(places == 0)
        for start, end in _portions(len(lacking)):
            some = lacking[start:end]
            given = np.zeros((len(some), self.content_width), np.float32) if content is None else content[some]
            new = self.place(given, None if features is None else features[some])
            for table, added in zip(tables, new, strict=True):
                table.put(some, ByteRows.of(added))
        tables[1].put(np.zeros(1, np.int32), ByteRows.empty(1, self.info.shape.width))
        own = self.info.shape.types
        names = own if types is None else types
        indices = [own.index(name) if name in own else -1 for name in names]
        return ItemVectors(tables, self._rows(places), np.array(indices, np.int32))

    def place(self, content: Floats, features: Floats | None = None, rows: Ints | None = None) -> Placed:
        """Return what n items are to the network, from what they say.

        Args:
            content: (n, C) text vectors, a row of zeros for an item without a text.
            features: (n, F) numeric features in the order of `info.features`, normalised by its statistics
                (`data.features.normalise`), 0 where missing; None where none is known.
            rows: (n,) the items' `ItemVectors.rows`; one that the model has learned from keeps what its id adds. None:
                all are new to it.

        Raises:
            ModelError: `content` is not of the width that the model reads.
        """
        if content.ndim != 2 or content.shape[1] != self.content_width:
            raise ModelError(
                f"content vectors must have {self.content_width} numbers, got shape {content.shape}; encode the items "
                "with the text encoder of this model's folder"
            )
        placed = content @ self._tables["place.matrix"] + self._tables["place.offset"]
        placed = np.where(np.any(content, axis=1, keepdims=True), placed, self._tables["place.missing"])
        if features is not None:
            placed = placed + features @ self._tables["place.features"]
        if rows is not None and rows.any():
            assert self._learned is not None, "only a model out of a folder has its learned ids apart"
            placed = placed + np.tile(self._learned(rows), 2)
        inputs, outputs = np.split(placed.astype(np.float32), 2, axis=1)
        return Placed(np.ascontiguousarray(inputs), np.ascontiguousarray(outputs), self._reduced(content))

    def users(self, histories: Sequence[History], times: Sequence[int | None], vectors: ItemVectors) -> Floats:
        """Return (B, D) user vectors.

        Args:
            histories: any length, canonical order, item indices of the caller; an index beyond `vectors` reads as an
                item that nothing is known of. Only the last `info.shape.reach` events count. An empty history has a
                vector too (what a new user does first).
            times: when each list is asked for, microseconds UTC; None hides it from the model.
            vectors: from `adapt`.
        """
        shape, asked = self.info.shape, self.asked(times)
        cut = [history.last(shape.reach) for history in histories]
        users = np.empty((len(cut), shape.width), np.float32)
        for rows in _by_length([len(history) for history in cut]):
            users[rows] = self._encode_and_ask([cut[row] for row in rows.tolist()], asked[rows], vectors)
        return users

    def read(self, events: History, vectors: ItemVectors) -> ReadEvents:
        """Return events as the network reads them; an item beyond `vectors` is one that nothing is known of."""
        known = events.types < len(vectors.types)
        types = np.where(known, vectors.types[np.where(known, events.types, 0)], -1).astype(np.int32)
        ratings = is_rating(types, self.info.shape.types)
        return ReadEvents(
            np.where(events.items < len(vectors), events.items, 0).astype(np.int32),
            types,
            unit_values(events.values, ratings, self.info.scale),
            events.times if self.info.shape.times else np.zeros_like(events.times),
        )

    def asked(self, times: Sequence[int | None]) -> Longs:
        """Return request times (B,) as the network reads them: `UNKNOWN_TIME` for one that is hidden from it."""
        read = np.array([UNKNOWN_TIME if time is None else time for time in times], np.int64)
        return read if self.info.shape.times else np.full_like(read, UNKNOWN_TIME)

    def _reduced(self, content: Floats) -> Floats:
        """Return (n, P) the principal components of contents, of unit length; zeros where an item says nothing."""
        reduced = (content - self._tables["place.mean"]) @ self._tables["place.components"]
        length = np.linalg.norm(reduced, axis=1, keepdims=True)
        says = np.any(content, axis=1, keepdims=True) & (length > 0)
        return np.where(says, reduced / np.where(says, length, 1), 0).astype(np.float32)

    def _gather(self, places: Ints) -> tuple[ByteRows, ByteRows, ByteRows]:
        """Return the vectors of items by their places (V + 1,) in the model, with room for more items."""
        widths = (self.info.shape.width, self.info.shape.width, self._tables["place.components"].shape[1])
        inputs, outputs, contents = (ByteRows.empty(len(places) + len(places) // ROOM, width) for width in widths)
        order = np.argsort(places, kind="stable").astype(np.int32)
        bounds = np.searchsorted(places, np.arange(0, len(self._known) + _ITEMS_AT_ONCE, _ITEMS_AT_ONCE), sorter=order)
        for (start, end), (first, last) in zip(_portions(len(self._known)), pairwise(bounds.tolist()), strict=True):
            if first == last:
                continue
            some = order[first:last]
            for table, read in zip((inputs, outputs, contents), self._read(start, end), strict=True):
                table.put(some, ByteRows.of(read).take(places[some] - start))
        return inputs, outputs, contents

    def _rows(self, places: Ints) -> Ints:
        return np.where(self._known[places], places, 0).astype(np.int32)

    def _encode_and_ask(self, histories: list[History], asked: Longs, vectors: ItemVectors) -> Floats:
        lengths = np.array([len(history) for history in histories], dtype=np.int64)
        size = (len(histories), max(1, int(lengths.max())))
        filled = np.arange(size[1]) < lengths[:, None]
        items = np.zeros(size, np.int64)
        types = np.zeros(size, np.int64)
        values = np.full(size, NO_VALUE, np.float32)
        times = np.zeros(size, np.int64)
        if lengths.any():
            read = self.read(joined(histories), vectors)
            items[filled], types[filled], values[filled], times[filled] = read
        (states,) = self._encode(
            ["states"], items=vectors.inputs.wide_at(items), types=types, values=values, times=times
        )
        # Negative in the padding: an empty slot.
        ages = lengths[:, None] - 1 - np.arange(size[1])
        (users,) = self._query(["users"], states=states, times=times, ages=ages, requests=asked)
        return users


def stage_folder(folder: Path, stage: Stage) -> Path:
    """Return where a stage of a model folder stands."""
    return folder / FITTED_FOLDER if stage == "fitted" else folder


def _all_numbers(file: VectorFile) -> bool:
    """Return whether every weight is a number."""
    parts = (file.read(start, end) for start, end in _portions(file.n_items))
    if not np.isfinite(file.tables["place.offset"]).all():
        return False
    return all(bool(np.isfinite(table).all()) for part in parts for table in (part.inputs, part.outputs))


def _portions(count: int) -> Iterator[tuple[int, int]]:
    return ((start, min(start + _ITEMS_AT_ONCE, count)) for start in range(0, count, _ITEMS_AT_ONCE))


def _no_contents(width: int) -> dict[str, Floats]:
    """Return how to compare items in an older folder, which does not."""
    return {"place.mean": np.zeros(width, np.float32), "place.components": np.zeros((width, 0), np.float32)}


def _by_length(lengths: list[int]) -> Iterator[Ints]:
    """Yield groups of rows of like length, each of about `_EVENTS_AT_ONCE` places with its padding."""
    order = np.argsort(lengths, kind="stable").astype(np.int32)
    start = 0
    while start < len(order):
        end = start + 1
        while end < len(order) and max(1, lengths[order[end]]) * (end + 1 - start) <= _EVENTS_AT_ONCE:
            end += 1
        yield order[start:end]
        start = end
