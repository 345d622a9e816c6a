"""A model folder without training: a network that looks up what follows the last item."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from headrace.core.formats import MODEL_FILE, MODEL_FORMAT, Blend, Learned, ModelInfo, Protocol, Shape, write_document
from headrace.data.dataset import Dataset
from headrace.data.log import Floats
from headrace.ranking.network import Network


class LookUp:
    """Stands for both graphs: a state is the vector of its event, a user is the state of the last event."""

    def __call__(self, outputs: list[str], **inputs: NDArray[np.generic]) -> list[Floats]:
        if outputs == ["states"]:
            return [inputs["items"].astype(np.float32)]
        states, ages = inputs["states"], inputs["ages"]
        return [(states * (ages == 0)[:, :, None]).sum(axis=1).astype(np.float32)]


def info_of(dataset: Dataset, protocol: Protocol = "time", *, second_cut: int | None = None) -> ModelInfo:
    """Describe a model of a dataset; item i leads to item i + 1."""
    learned = Learned(
        protocol=protocol,
        stage="refitted",
        first_cut=None,
        second_cut=second_cut,
        until=0,
        events=1,
        fingerprint=dataset.report.fingerprint,
    )
    n_items = len(dataset.item_vocabulary())
    shape = Shape(width=n_items, layers=1, heads=1, window=5, content=0, types=dataset.report.types)
    blend = Blend(encoder=1.0, counts=0.5, popularity=0.0)
    return ModelInfo(
        format=MODEL_FORMAT, name="ring", version="1", created="", learned=learned, shape=shape, blend=blend, steps=1,
        preset="none", seen="exclude",
    )  # fmt: skip


def network_of(dataset: Dataset, info: ModelInfo) -> Network:
    """Return a network in which every item leads to the next one of the dataset."""
    n = len(dataset.item_vocabulary())
    inputs = np.vstack((np.zeros(n), np.eye(n))).astype(np.float32)
    outputs = np.vstack((np.zeros(n), np.roll(np.eye(n), 1, axis=0))).astype(np.float32)
    nothing = np.zeros(2 * n, np.float32)
    tables = {
        "inputs": inputs,
        "outputs": outputs,
        "known": np.ones(n + 1, np.float32),
        "place.offset": nothing,
        "place.missing": nothing,
        "place.matrix": np.zeros((0, 2 * n), np.float32),
        "place.features": np.zeros((len(info.features), 2 * n), np.float32),
        "place.mean": np.zeros(0, np.float32),
        "place.components": np.zeros((0, 0), np.float32),
        "contents": np.zeros((n + 1, 0), np.float32),
    }
    return Network(info, dataset.item_vocabulary(), tables, LookUp(), LookUp())


def write_info(info: ModelInfo, folder: Path) -> Path:
    """Write what an evaluation reads first."""
    folder.mkdir(parents=True, exist_ok=True)
    write_document(folder / MODEL_FILE, info)
    return folder
