"""Tests of beginning with another model's weights: what has a name is matched by it."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import torch
from safetensors.torch import save_file

from headrace.core.formats import (
    MODEL_FILE,
    MODEL_FORMAT,
    VOCABULARY_FILE,
    WEIGHTS_FILE,
    Blend,
    Learned,
    ModelInfo,
    Shape,
    write_document,
)
from headrace.model.items import ItemContent
from headrace.model.transformer import Transformer
from headrace.training.initial_weights import read_weights
from headrace.training.learner import Learner, Noise


def learner(types: list[str], features: int, items: int, seed: int) -> Learner:
    """Return a learner whose every weight is a random number of its own."""
    shape = Shape(width=4, layers=1, heads=1, window=3, content=0, types=types, features=features)
    model = Transformer(shape)
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_()
    nothing = ItemContent(torch.zeros(items + 1, 0), torch.zeros(items + 1).bool(), torch.zeros(items + 1, features))
    return Learner(model, nothing, noise=Noise(), seed=seed)


def write(learned: Learner, ids: list[str], features: list[str], folder: Path) -> None:
    info = ModelInfo(
        format=MODEL_FORMAT,
        name="m",
        version="1",
        created="",
        learned=Learned(
            protocol="all", stage="refitted", first_cut=None, second_cut=None, until=0, events=1, fingerprint=""
        ),
        shape=learned.model.shape,
        blend=Blend(encoder=1, counts=0, popularity=0),
        steps=1,
        preset="tiny",
        seen="exclude",
        features=dict.fromkeys(features, (0.0, 1.0)),
    )
    write_document(folder / MODEL_FILE, info)
    save_file({name: tensor.contiguous() for name, tensor in learned.weights().items()}, folder / WEIGHTS_FILE)
    pl.DataFrame({"item_id": ids}).write_parquet(folder / VOCABULARY_FILE)


def test_types_features_and_items_are_matched_by_name(tmp_path: Path) -> None:
    other = learner(["view", "buy"], 2, 2, seed=1)
    write(other, ["a", "b"], ["price", "year"], tmp_path)
    mine = learner(["buy", "like", "view"], 2, 3, seed=2)
    before = {name: tensor.clone() for name, tensor in mine.weights().items()}
    read_weights(mine, ["b", "c", "a"], ["size", "price"], tmp_path)

    types, theirs = mine.model.encoder.events.type_vectors, other.model.encoder.events.type_vectors
    kept = before["model.encoder.events.type_vectors"]
    assert torch.equal(types, torch.stack((theirs[1], kept[1], theirs[0], theirs[2])))
    columns, came = mine.model.items.project_features.weight, other.model.items.project_features.weight
    own = before["model.items.project_features.weight"]
    assert torch.equal(columns, torch.stack((own[:, 0], came[:, 0]), dim=1))
    assert torch.equal(mine.ids[1:], torch.stack((other.ids[2], before["ids"][2], other.ids[1])))
    assert torch.equal(mine.model.items.no_id, other.model.items.no_id)
