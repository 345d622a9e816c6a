"""Begin a training with the weights of another model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import polars as pl
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from headrace.core.errors import FormatError, ModelError
from headrace.core.formats import MODEL_FILE, MODEL_FORMAT, VOCABULARY_FILE, WEIGHTS_FILE, ModelInfo, read_document
from headrace.training.learner import Learner

_TYPES, _FEATURES = "model.encoder.events.type_vectors", "model.items.project_features.weight"


def read_weights(learner: Learner, ids: Sequence[str], features: Sequence[str], folder: Path) -> None:
    """Take the network's weights, and the vectors of the items that both know, from a model folder.

    Args:
        learner: fresh; event types and features whose names the other model lacks stay as they are.
        ids: of the learner's items; `ids[i]` is item i + 1.
        features: the names of the learner's numeric features, in order.
        folder: the other model.

    Raises:
        FormatError: not a model folder.
        ModelError: it has other sizes.
    """
    info = read_document(folder / MODEL_FILE, ModelInfo, MODEL_FORMAT, "headrace train DATASET --out MODEL")
    own, other = learner.model.shape, info.shape
    sizes = ("width", "layers", "heads", "window", "mixer", "content")
    if any(getattr(own, name) != getattr(other, name) for name in sizes):
        wanted = ", ".join(f"{name} {getattr(own, name)}" for name in sizes)
        came = ", ".join(f"{name} {getattr(other, name)}" for name in sizes)
        raise ModelError(f"--from needs a model of the same sizes ({wanted}), {folder} has {came}; choose its preset")
    try:
        tensors = load_file(folder / WEIGHTS_FILE)
        names = pl.read_parquet(folder / VOCABULARY_FILE, columns=["item_id"])["item_id"].to_list()
    except (OSError, SafetensorError, pl.exceptions.PolarsError) as error:
        raise FormatError(
            f"{folder} must hold a whole model, a file is missing or damaged: {error}; name another with --from"
        ) from None
    mine = learner.weights()
    if _TYPES in tensors:
        # The last row stands for types that nobody has heard of.
        names_of = (*own.types, None), (*other.types, None)
        tensors[_TYPES] = _matched(mine[_TYPES], tensors[_TYPES], *names_of)
    if _FEATURES in tensors and _FEATURES in mine:
        columns = _matched(mine[_FEATURES].T, tensors[_FEATURES].T, features, list(info.features))
        tensors[_FEATURES] = columns.T.contiguous()
    taken = {name: t for name, t in tensors.items() if name in mine and t.shape == mine[name].shape and name != "ids"}
    places = {text: place for place, text in enumerate(names, 1)}
    common = [(place, places[text]) for place, text in enumerate(ids, 1) if text in places]
    if common:
        here, there = torch.tensor(common).T
        learner.ids[here] = tensors["ids"][there]
    learner.load_weights({**taken, "ids": learner.ids})


def _matched(mine: Tensor, theirs: Tensor, names: Sequence[str | None], their_names: Sequence[str | None]) -> Tensor:
    """Return the rows of `mine`, those whose names both have as the others have them."""
    rows = mine.clone()
    for place, name in enumerate(names):
        if name in their_names:
            rows[place] = theirs[their_names.index(name)]
    return rows
