"""Networks of random weights with either mixer, and histories for them."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec
import numpy as np
import torch
from torch import Tensor

from headrace.core.formats import Mixer, Shape
from headrace.model.transformer import Transformer

WINDOW = 6
SHAPE = Shape(width=16, layers=2, heads=2, window=WINDOW, content=0, types=["a", "b"])
TOLERANCE = 1e-4
MIXERS: tuple[Mixer, ...] = ("attention", "retention")


@dataclass(frozen=True)
class Events:
    """One history: item vectors (T, D), types, values and times (T,)."""

    items: Tensor
    types: Tensor
    values: Tensor
    times: Tensor

    def first(self, n: int) -> Events:
        return Events(self.items[:n], self.types[:n], self.values[:n], self.times[:n])

    def last(self, n: int) -> Events:
        start = max(0, len(self.times) - n)
        return Events(self.items[start:], self.types[start:], self.values[start:], self.times[start:])


def random_network(mixer: Mixer) -> Transformer:
    torch.manual_seed(3)
    network = Transformer(msgspec.structs.replace(SHAPE, mixer=mixer)).eval()
    for parameter in network.parameters():
        # Away from the start, where biases and gates are zero and a mistake in them would not show.
        parameter.data.add_(torch.randn_like(parameter) * 0.2)
    return network


def some_events(n: int, seed: int = 0) -> Events:
    generator = np.random.default_rng(seed)
    gaps = generator.choice([0, 500_000, 60_000_000, 86_400_000_000, 10**13], n)
    return Events(
        torch.from_numpy(generator.normal(size=(n, SHAPE.width)).astype(np.float32)),
        torch.from_numpy(generator.integers(-1, 3, n)),
        torch.from_numpy(generator.choice([-1.0, 0.0, 0.3, 1.0], n).astype(np.float32)),
        torch.from_numpy(10**15 + np.cumsum(gaps)),
    )


def embed(model: Transformer, events: Events) -> Tensor:
    return model.encoder.events(events.items, events.types, events.values)


@torch.no_grad()
def states_of(model: Transformer, events: Events) -> Tensor:
    return model.encoder(embed(model, events)[None], events.times[None])[0][0]


@torch.no_grad()
def user_of(model: Transformer, events: Events, request: int = -1) -> Tensor:
    states = states_of(model, events)[None]
    ages = torch.arange(len(events.times) - 1, -1, -1)[None]
    return model.query(states, events.times[None], ages, torch.tensor([request]))[0]


def padded(x: Tensor, n: int) -> Tensor:
    return torch.cat([x, torch.full((n - len(x), *x.shape[1:]), 7, dtype=x.dtype)])
