"""Ask a network that is still in training: as graphs for `ranking.network.Network`, or for a whole log at once.

Shapes: N events, V items, D width.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from headrace.data.log import Floats
from headrace.model.transformer import Transformer
from headrace.training.batches import Sequences


class TorchGraph:
    """Answers as the ONNX graph of the same name would, with the weights of the moment."""

    def __init__(self, compute: Callable[..., Tensor]) -> None:
        self._compute = compute

    def __call__(self, outputs: list[str], **inputs: NDArray[np.generic]) -> list[Floats]:
        """Return the one output."""
        assert len(outputs) == 1
        with torch.inference_mode():
            return [self._compute(**{name: torch.from_numpy(array) for name, array in inputs.items()}).numpy()]


def encode_graph(model: Transformer) -> TorchGraph:
    """Return `encode.onnx` in PyTorch; its output is `states`."""

    def compute(items: Tensor, types: Tensor, values: Tensor, times: Tensor) -> Tensor:
        states: Tensor = model.encoder(model.encoder.events(items, types, values), times)[0]
        return states

    return TorchGraph(compute)


def query_graph(model: Transformer) -> TorchGraph:
    """Return `query.onnx` in PyTorch."""

    def compute(states: Tensor, times: Tensor, ages: Tensor, requests: Tensor) -> Tensor:
        users: Tensor = model.query(states, times, ages, requests)
        return users

    return TorchGraph(compute)


def users_at_places(model: Transformer, inputs: Tensor, sequences: Sequences) -> Floats:
    """Return (N + 1, D): row t + 1 is the user vector after event t of the log, asked at an unknown time.

    Row 0 is the vector of a user without a history.
    """
    users = np.empty((len(sequences.log) + 1, model.shape.width), np.float32)
    with torch.inference_mode():
        users[0] = model.query.beginning()[0].numpy()
        for batch, places, owned in sequences.walk():
            x = model.encoder.events(
                F.embedding(torch.from_numpy(batch.items.astype(np.int64)), inputs),
                torch.from_numpy(batch.types.astype(np.int64)),
                torch.from_numpy(batch.values),
            )
            found = model.packed_users(
                x,
                torch.from_numpy(batch.times),
                torch.from_numpy(batch.segments),
                torch.full((len(batch.times),), -1, dtype=torch.int64),
            ).numpy()
            users[places[owned] + 1] = found[: len(places)][owned]
    return users
