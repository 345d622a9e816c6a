"""A network of random weights, the same at once and one event at a time, and histories for it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from headrace.core.formats import Blend, Learned, Mixer, ModelInfo, Shape
from headrace.core.types import Scale
from headrace.data.log import Floats, History
from headrace.data.vocabulary import Vocabulary
from headrace.model.transformer import Transformer
from headrace.ranking.item_vectors import ItemVectors, Placed
from headrace.ranking.network import Network
from headrace.ranking.stepping import Precision, Stepper, stepper_of
from headrace.serving.arena import SEAT_BYTES, Arena
from headrace.serving.models import LoadedModel
from headrace.serving.service import Service
from headrace.training.asking import encode_graph, query_graph

ITEMS = 30
NOW = 10**15 + 10**13
TOLERANCE = 1e-4


@dataclass(frozen=True)
class World:
    """A network of random weights and its items."""

    network: Network
    stepper: Stepper
    vectors: ItemVectors

    def arena(self, pages: int = 1000, precision: Precision = "full") -> Arena:
        limit = pages * self.page_bytes(precision)
        return Arena(self.network, self.stepper, self.vectors, limit=limit, precision=precision)

    def page_bytes(self, precision: Precision) -> int:
        return self.stepper.page_bytes(precision) + SEAT_BYTES

    def whole(self, histories: list[History], times: list[int | None]) -> Floats:
        return self.network.users(histories, times, self.vectors)


def world(
    width: int = 16, layers: int = 2, heads: int = 2, window: int = 5, *, times: bool = True, mixer: Mixer = "attention"
) -> World:
    torch.manual_seed(3)
    shape = Shape(
        width=width, layers=layers, heads=heads, window=window, content=0, types=["click", "rating"], times=times,
        mixer=mixer,
    )  # fmt: skip
    model = Transformer(shape).eval()
    for parameter in model.parameters():
        parameter.data.add_(torch.randn_like(parameter) * 0.2)
    learned = Learned(protocol="all", stage="refitted", first_cut=1, second_cut=2, until=3, events=4, fingerprint="f")
    info = ModelInfo(
        format=1, name="n", version="v", created="", learned=learned, shape=shape, steps=1, preset="tiny",
        blend=Blend(encoder=1, counts=0, popularity=0), seen="exclude", scale=Scale(1.0, 5.0),
    )  # fmt: skip
    random = np.random.default_rng(1)
    inputs = random.normal(size=(ITEMS + 1, width)).astype(np.float32)
    inputs[ITEMS - 4 :] = inputs[0]  # nothing is known of the last items yet
    placed = Placed(inputs, inputs.copy(), np.zeros((ITEMS + 1, 0), np.float32))
    vectors = ItemVectors.of(placed, np.zeros(ITEMS + 1, np.int32), np.array([1, 0, -1], np.int32))
    tables = {"known": np.zeros(ITEMS + 1, np.float32)}
    network = Network(info, Vocabulary([]), tables, encode_graph(model), query_graph(model))
    weights = {f"model.{name}": tensor.numpy() for name, tensor in model.state_dict().items()}
    return World(network, stepper_of(weights.__getitem__, shape), vectors)


def some_events(n: int, seed: int = 0, start: int = 10**15) -> History:
    random = np.random.default_rng(seed)
    gaps = random.choice([0, 500_000, 60_000_000, 86_400_000_000], n)
    return History(
        random.integers(1, ITEMS + 5, n).astype(np.int32),  # some that the vectors lack
        random.integers(0, 4, n).astype(np.int32),  # some types too
        random.choice([np.nan, 1.0, 3.3, 5.0, 1e38], n).astype(np.float32),
        start + np.cumsum(gaps),
    )


def joined(first: History, second: History) -> History:
    names = ("items", "types", "values", "times")
    return History(*(np.concatenate([getattr(first, name), getattr(second, name)]) for name in names))


def swap(service: Service, of: World) -> LoadedModel:
    """Let a service answer with a network."""
    model = LoadedModel(Path("none"), of.network, of.stepper, of.vectors, None, None, [])
    service.engine.take(model).result()
    return model
