"""Write one stage of a model as a folder.

Shapes: V items (row 0 is padding), D width.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import polars as pl
import torch
from safetensors.numpy import save_file as save_arrays
from safetensors.torch import save_file

from headrace.core.formats import (
    CARD_FILE,
    COUNTS_FILE,
    METRICS_FILE,
    MODEL_FILE,
    VECTORS_FILE,
    VOCABULARY_FILE,
    WEIGHTS_FILE,
    ModelInfo,
    write_document,
)
from headrace.data.damped_means import ItemSums
from headrace.data.log import Bools, Floats
from headrace.model.rating_head import RatingHead
from headrace.ranking.behaviour import Behaviour
from headrace.ranking.item_vectors import Placed
from headrace.training.export import export_network, export_rating_head
from headrace.training.learner import Learner
from headrace.training.loop import CurvePoint


class Metrics(msgspec.Struct, frozen=True, kw_only=True):
    """`metrics.json`.

    Args:
        curve: loss and metric while the stage was trained.
        validation: NDCG@10 between the cuts, by `headrace` (the blend), `encoder` and `counts`; of the fitted stage.
    """

    curve: list[CurvePoint]
    validation: dict[str, float]


@dataclass(frozen=True)
class Trained:
    """What one stage learned."""

    info: ModelInfo
    learner: Learner
    known: Bools
    behaviour: Behaviour
    metrics: Metrics
    rating: tuple[RatingHead, ItemSums] | None


def vector_tables(learner: Learner, known: Bools, sums: ItemSums | None) -> dict[str, Floats]:
    """Return the arrays of `vectors.safetensors`; what `ranking.network.Network` reads."""
    inputs, outputs = learner.vectors(torch.from_numpy(known))
    placed = learner.model.items.place_matrices()
    contents = learner.model.items.contents(learner.content)
    tables = {name: t.numpy() for name, t in zip(Placed._fields, (inputs, outputs, contents), strict=True)}
    tables["known"] = known.astype(np.float32)
    tables |= {f"place.{name}": tensor.detach().numpy() for name, tensor in placed.items()}
    if sums is not None:
        tables |= {"rating.sums": sums.sums, "rating.counts": sums.counts}
    return {name: np.ascontiguousarray(table) for name, table in tables.items()}


def write_stage(trained: Trained, items: pl.DataFrame, folder: Path) -> None:
    """Write everything but the text encoder into `folder`, which exists.

    Args:
        trained: the stage.
        items: the dataset's items; the vocabulary is these, with a column `known`.
        folder: where to.
    """
    learner, info = trained.learner, trained.info
    head, sums = trained.rating or (None, None)
    write_document(folder / MODEL_FILE, info)
    weights = dict(learner.weights())
    if head is not None:
        weights |= {f"rating.{name}": tensor for name, tensor in head.state_dict().items()}
        export_rating_head(head, info.shape.width, folder)
    save_file({name: tensor.detach().contiguous() for name, tensor in weights.items()}, folder / WEIGHTS_FILE)
    save_arrays(vector_tables(learner, trained.known, sums), folder / VECTORS_FILE)
    save_arrays({name: np.ascontiguousarray(a) for name, a in trained.behaviour.state().items()}, folder / COUNTS_FILE)
    items.with_columns(known=pl.Series(trained.known[1:])).write_parquet(folder / VOCABULARY_FILE)
    export_network(learner.model, folder)
    (folder / METRICS_FILE).write_bytes(msgspec.json.format(msgspec.json.encode(trained.metrics)) + b"\n")
    (folder / CARD_FILE).write_text(_card(trained), encoding="utf-8")


def _card(trained: Trained) -> str:
    info = trained.info
    shape, learned = info.shape, info.learned
    validation = "".join(f"| {name} | {value:.4f} |\n" for name, value in trained.metrics.validation.items())
    rated = "has a rating head" if info.rating else "predicts no ratings"
    return f"""# {info.name} {info.version}

A Headrace model, stage `{learned.stage}` of protocol `{learned.protocol}`, made {info.created}.

It learned from {learned.events:,} events of the dataset `{learned.fingerprint}`. It holds no user's id and no event.

| | |
| --- | --- |
| preset | {info.preset} |
| mixer | {shape.mixer} |
| width, layers, heads, window | {shape.width}, {shape.layers}, {shape.heads}, {shape.window} |
| steps | {info.steps:,} |
| items with events | {int(trained.known.sum()):,} |
| ratings | {rated} |
| lists hold what the user has met | {"yes" if info.seen == "include" else "no"} |

NDCG@10 between the cuts, of the fitted stage (`encoder` and `counts` are the parts alone; users with a history only):

| method | NDCG@10 |
| --- | --- |
{validation}"""
