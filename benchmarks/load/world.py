"""Worlds to serve: a model trained on real events, its catalogue enlarged, and as many users as are wanted.

An item above the trained ones is a copy of one, moved by noise as long as 1 / sqrt(2) of the way to that one's tenth
neighbour: two copies are then as far from each other as the tenth neighbour was. A user's history is a piece of a real
one whose items are replaced by copies of them at random.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray
from safetensors.numpy import load_file

from headrace.core.formats import (
    EVENTS_FILE,
    FITTED_FOLDER,
    ITEMS_FILE,
    REPORT_FILE,
    VECTORS_FILE,
    VOCABULARY_FILE,
    DatasetReport,
)
from headrace.data.dataset import Dataset
from headrace.data.log import Floats, Ints, Longs

MEDIAN_EVENTS = 40
SPREAD = 1.0
"""Of the logarithm of a history's length."""
LONGEST = 2000
_ITEMS_AT_ONCE = 1 << 18
_HEADRACE = str(Path(sys.executable).with_name("headrace"))


@dataclass(frozen=True)
class World:
    """Folders to serve: `model`, `dataset` and, once served, `store`; `trained` is how many items were trained on."""

    folder: Path
    items: int
    users: int
    trained: int

    @property
    def model(self) -> Path:
        """The model folder."""
        return self.folder / "model"

    @property
    def dataset(self) -> Path:
        """The dataset folder."""
        return self.folder / "dataset"

    @property
    def store(self) -> Path:
        """The SQLite file."""
        return self.folder / "store.db"


def trained_model(dataset: Path, work: Path, *, width: int, minutes: float) -> Path:
    """Return a model of 2 layers and 200 slots, trained on a dataset once."""
    folder = work / f"trained-{width}"
    if not folder.exists():
        shape = {"WIDTH": width, "LAYERS": 2, "HEADS": 2, "WINDOW": 200}
        chosen = {f"HEADRACE_TRAINING__{name}": str(value) for name, value in shape.items()}
        command = [_HEADRACE, "train", str(dataset), "--out", str(folder), "--minutes", str(minutes)]
        subprocess.run(command, check=True, env=os.environ | chosen, stdout=sys.stderr)
    return folder


def world(dataset: Path, model: Path, work: Path, *, items: int, users: int) -> World:
    """Return a world of so many items and users, made once.

    Args:
        dataset: real events.
        model: trained on them.
        work: where to put it.
        items: at least as many as were trained on.
        users: any number.
    """
    source = Dataset.open(dataset)
    found = World(work / f"{model.name}-{items}-{users}", items, users, len(source.item_vocabulary().ids))
    if items < found.trained:
        raise SystemExit(f"a world needs at least the {found.trained} items that were trained on, got {items}")
    if not found.model.exists():
        _enlarge(model, found.model, items)
    if not found.dataset.exists():
        _populate(source, found, np.random.default_rng(7))
    return found


def copies_of(item: Ints, trained: int, items: int, random: np.random.Generator) -> Ints:
    """Return for each trained item 1..T one of its copies among 1..V; those of item b are b, b + T, b + 2 T ..."""
    count = (items - item) // trained + 1
    return (item + trained * random.integers(0, count)).astype(np.int32)


def tenth_neighbours(vectors: Floats) -> Floats:
    """Return (n,) the distance of each vector to its tenth neighbour among all."""
    found, lengths = np.empty(len(vectors), np.float32), (vectors**2).sum(axis=1)
    for start in range(0, len(vectors), 1000):
        some = slice(start, start + 1000)
        squared = lengths[some, None] + lengths - 2 * (vectors[some] @ vectors.T)
        found[some] = np.sqrt(np.maximum(np.partition(squared, 10, axis=1)[:, 10], 0))
    return found


def zipf_users(users: int, n: int, random: np.random.Generator) -> Longs:
    """Return (n,) users 0..U-1, the one of rank r with a chance in proportion to 1 / r; ranks are dealt at random."""
    chances = np.cumsum(1 / np.arange(1, users + 1))
    ranks = np.searchsorted(chances, random.random(n) * chances[-1])
    return np.random.default_rng(11).permutation(users)[ranks]


def _enlarge(model: Path, target: Path, items: int) -> None:
    part = target.with_name(target.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    part.parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(model, part, ignore=shutil.ignore_patterns(FITTED_FOLDER, "counts*"))
    vocabulary = pl.read_parquet(model / VOCABULARY_FILE)
    origin = np.concatenate((np.zeros(1, np.int64), 1 + np.arange(items) % vocabulary.height))
    _write_vectors(load_file(model / VECTORS_FILE), origin, part / VECTORS_FILE)
    _catalogue(vocabulary, origin[1:] - 1, vocabulary.height).write_parquet(part / VOCABULARY_FILE)
    part.rename(target)


def _write_vectors(tables: dict[str, Floats], origin: Longs, path: Path) -> None:
    """Write the tables of as many items as `origin` (V + 1,) says, of which trained item each is a copy.

    Vectors are written in half precision and some at a time: ten million items would take 10 GB of memory.
    """
    trained = len(tables["outputs"]) - 1
    reach = np.zeros(trained + 1, np.float32)
    reach[1:] = tenth_neighbours(tables["outputs"][1:])
    random = np.random.default_rng(5)
    with _written(tables, len(origin), path) as written:
        for start in range(0, len(origin), _ITEMS_AT_ONCE):
            some = slice(start, start + _ITEMS_AT_ONCE)
            for name in written:
                written[name][some] = tables[name][origin[some]]
            noise = random.normal(size=(len(origin[some]), tables["outputs"].shape[1])).astype(np.float32)
            noise *= (reach[origin[some]] / np.sqrt(2) / np.linalg.norm(noise, axis=1))[:, None]
            noise[: max(0, trained + 1 - start)] = 0
            written["outputs"][some] = tables["outputs"][origin[some]] + noise


@contextmanager
def _written(tables: dict[str, Floats], n: int, path: Path) -> Iterator[dict[str, np.ndarray]]:
    """Write a safetensors file; yields its tables of n items, to be filled in."""
    large = {
        name: (n, *tables[name].shape[1:]) for name in ("inputs", "outputs", "contents", "known") if name in tables
    }
    small = {name: table for name, table in tables.items() if name not in large and not name.startswith("rating")}
    header, end = {}, 0
    for name, shape in [*large.items(), *((name, table.shape) for name, table in small.items())]:
        numbers = "F16" if name in large and name != "known" else "F32"
        size = int(np.prod(shape)) * (2 if numbers == "F16" else 4)
        header[name] = {"dtype": numbers, "shape": shape, "data_offsets": (end, end + size)}
        end += size
    said = json.dumps(header).encode()
    said += b" " * (-len(said) % 8)
    with path.open("wb") as file:
        file.write(len(said).to_bytes(8, "little") + said)
        file.truncate(8 + len(said) + end)
        for name, table in small.items():
            file.seek(8 + len(said) + header[name]["data_offsets"][0])
            file.write(np.ascontiguousarray(table, np.float32).tobytes())
    yield {
        name: np.memmap(
            path,
            np.float32 if name == "known" else np.float16,
            "r+",
            8 + len(said) + header[name]["data_offsets"][0],
            shape,
        )
        for name, shape in large.items()
    }


def _catalogue(vocabulary: pl.DataFrame, origin: Longs, trained: int) -> pl.DataFrame:
    rows = vocabulary[origin]
    copy = pl.int_range(pl.len()) // trained
    titled = [(pl.col("title") + " " + copy.cast(pl.String)).alias("title")] if "title" in rows.columns else []
    return rows.with_columns(item_ids(np.arange(1, len(origin) + 1)), *titled)


def item_ids(keys: NDArray[np.integer]) -> pl.Series:
    """Return the ids of items 1..V."""
    return pl.Series("item_id", keys).cast(pl.String)


def _populate(source: Dataset, target: World, random: np.random.Generator) -> None:
    log = source.log()
    bounds = np.searchsorted(log.users, np.arange(1, log.n_users + 2))
    sizes = np.diff(bounds)
    lengths = np.clip(np.exp(np.log(MEDIAN_EVENTS) + SPREAD * random.normal(size=target.users)), 1, LONGEST)
    like = random.choice(np.flatnonzero(sizes), target.users)
    lengths = np.minimum(lengths.astype(np.int64), sizes[like])
    starts = bounds[like] + (random.random(target.users) * (sizes[like] - lengths + 1)).astype(np.int64)
    offsets = np.concatenate((np.zeros(1, np.int64), np.cumsum(lengths)))
    places = np.repeat(starts - offsets[:-1], lengths) + np.arange(offsets[-1])
    keys = copies_of(log.items[places], target.trained, target.items, random)
    shift = time.time_ns() // 1000 - int(log.times.max())
    frame = pl.DataFrame(
        {
            "user_id": pl.Series(np.repeat(np.arange(target.users), lengths)).cast(pl.String),
            "item_id": item_ids(keys),
            "type": pl.Series(log.types[places]).replace_strict(dict(enumerate(source.report.types))),
            "time": log.times[places] + shift,
        }
    ).with_columns(
        pl.lit(None, pl.Float64).alias("value"),
        *(pl.lit(None, pl.String).alias(name) for name in ("event_id", "recommendation_id", "context")),
        pl.lit(False).alias("bot"),
    )
    part = target.dataset.with_name("dataset.part")
    part.mkdir(parents=True, exist_ok=True)
    frame.write_parquet(part / EVENTS_FILE)
    items = pl.read_parquet(target.model / VOCABULARY_FILE)
    items.drop("known", strict=False).write_parquet(part / ITEMS_FILE)
    n, report = frame.height, source.report
    about = DatasetReport(
        format=report.format, read=n, kept=n, dropped=0, steps=[], users=target.users, catalogue=items.height,
        types=report.types, fingerprint=f"world-{target.items}-{target.users}",
    )  # fmt: skip
    (part / REPORT_FILE).write_bytes(msgspec.json.encode(about))
    part.rename(target.dataset)
