"""One training step: a batch in, a loss out, weights changed.

Everything random in a step follows from the seed and the step's number, so a training that was stopped goes on to the
very same numbers.

Shapes: N events of a batch, V items, n distinct items of a step, S negatives, P pairs, D width, P' reduced content.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from headrace.core.errors import ModelError
from headrace.data.log import Floats, Longs, ranges
from headrace.model.items import ItemContent, new_ids
from headrace.model.losses import Pairs, softmax_loss
from headrace.model.transformer import Transformer
from headrace.training.batches import Batch
from headrace.training.masking import hide
from headrace.training.negatives import NegativeSampler
from headrace.training.optimizer import RowAdam, Schedule, clip, network_optimizer

_WORKERS = ThreadPoolExecutor(thread_name_prefix="headrace-part")
"""Not the threads of `in_parts`, for which these wait."""


@dataclass(frozen=True)
class Noise:
    """What a step hides: shares of 0..1 of item ids and of request times, and whether events; see `masking`."""

    ids: float = 0.1
    times: float = 0.2
    events: bool = False


class Learner:
    """The network, its id vectors and the optimizers of both."""

    def __init__(self, model: Transformer, content: ItemContent, *, noise: Noise, seed: int) -> None:
        """Start from fresh id vectors.

        Args:
            model: the network, changed in place.
            content: what the V + 1 items say.
            noise: what a step hides.
            seed: of every step's random numbers.
        """
        self.model = model
        self.content = content
        self.noise = noise
        self.seed = seed
        items = len(content.has_text_n) - 1
        self.ids = new_ids(items, model.shape.width, torch.Generator().manual_seed(seed))
        self.row_adam = RowAdam(self.ids)
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        self.adam = network_optimizer(self.parameters, weight_decay=0.01)

    def step(self, batch: Batch, sampler: NegativeSampler, schedule: Schedule, number: int, scale: float) -> float:
        """Take step `number` (from 1); return the mean loss of its pairs.

        Args:
            batch: events and targets.
            sampler: of negatives.
            schedule: of the learning rate.
            number: of the step.
            scale: the loss is summed over the pairs and divided by this (the pairs of an average batch), so that a
                short batch counts less.

        Raises:
            ModelError: the loss is not a number.
        """
        generator = np.random.default_rng([self.seed, number, 29])
        if self.noise.events:
            masked = hide(batch, generator)
            batch, scale = masked, scale * len(masked.pair_items) / max(1, len(batch.pair_items))
        drawn = sampler.draw(generator)
        parts = batch.parts(torch.get_num_threads())
        slopes = _side_by_side([partial(self._slope, part, drawn, generator.spawn(1)[0], scale) for part in parts])
        value = sum(slope.loss for slope in slopes) / max(1.0, float(batch.pair_weights.sum()))
        if not math.isfinite(value):
            raise ModelError(
                f"the loss must stay a number and became {value} at step {number}; train again with half the "
                f"learning_rate of [training] (it was {schedule.peak:g}), or look for extreme values in the events"
            )
        rate = schedule.rate(number)
        for parameter, *gradients in zip(self.parameters, *(slope.parameters for slope in slopes), strict=True):
            known = [gradient for gradient in gradients if gradient is not None]
            parameter.grad = sum(known[1:], known[0]) if known else None
        clip(self.parameters)
        for group in self.adam.param_groups:
            group["lr"] = rate
        self.adam.step()
        self.adam.zero_grad(set_to_none=True)
        rows, by_row = _by_row(slopes)
        self.row_adam.step(rows, by_row, rate=rate, number=number)
        return value

    def _slope(self, batch: Batch, drawn: tuple[Longs, Floats], generator: np.random.Generator, scale: float) -> _Slope:
        """Return the loss of a part of a batch and its derivatives."""
        rows, places = _distinct(batch, *drawn)
        leaf = self.ids[rows].requires_grad_()
        self.model.drop.generator = generator
        loss = self._loss(batch, rows, leaf, places, generator)
        self.model.drop.generator = None
        ids, *parameters = torch.autograd.grad(loss / scale, [leaf, *self.parameters], allow_unused=True)
        return _Slope(float(loss.detach()), rows, ids, parameters)

    def weights(self) -> dict[str, Tensor]:
        """Return what was learned, by name: the network's weights under `model.`, and `ids` (V + 1, D)."""
        return {**{f"model.{name}": t for name, t in self.model.state_dict().items()}, "ids": self.ids}

    def load_weights(self, tensors: dict[str, Tensor]) -> None:
        """Take weights of the same shapes; those that are missing stay."""
        self.ids.copy_(tensors["ids"])
        own = {name.removeprefix("model."): t for name, t in tensors.items() if name.startswith("model.")}
        self.model.load_state_dict(own, strict=False)

    def state(self) -> dict[str, Tensor]:
        """Return the weights and both optimizers' moments."""
        tensors = {**self.weights(), "rows.first": self.row_adam.first, "rows.second": self.row_adam.second}
        for place, parameter in enumerate(self.parameters):
            for name, tensor in self.adam.state[parameter].items():
                tensors[f"adam.{place}.{name}"] = tensor
        return tensors

    def load_state(self, tensors: dict[str, Tensor]) -> None:
        """Go on from what `state` returned."""
        self.load_weights(tensors)
        self.row_adam.first.copy_(tensors["rows.first"])
        self.row_adam.second.copy_(tensors["rows.second"])
        for name, tensor in tensors.items():
            if name.startswith("adam."):
                _, place, moment = name.split(".")
                self.adam.state[self.parameters[int(place)]][moment] = tensor.clone()

    @torch.no_grad()
    def vectors(self, known: Tensor) -> tuple[Tensor, Tensor]:
        """Return input and output vectors, (V + 1, D) each; items that `known` (V + 1,) does not mark have no id."""
        ids = torch.where(known.unsqueeze(1), self.ids, self.model.items.no_id)
        inputs, outputs = self.model.items(ids, self.content)
        outputs[0] = 0.0
        return inputs, outputs

    def _loss(self, batch: Batch, rows: Tensor, ids: Tensor, places: _Places, generator: np.random.Generator) -> Tensor:
        dropped = torch.from_numpy(generator.random(len(rows)) < self.noise.ids).unsqueeze(1)
        shown = torch.where(dropped, self.model.items.no_id, ids)
        inputs, outputs = self.model.items(shown, self.content.of(rows))
        requests = np.where(
            batch.hideable & (generator.random(len(batch.requests)) < self.noise.times), -1, batch.requests
        )
        x = self.model.encoder.events(
            F.embedding(places.items, inputs),
            torch.from_numpy(batch.types.astype(np.int64)),
            torch.from_numpy(batch.values),
        )
        users = self.model.packed_users(
            x,
            torch.from_numpy(batch.times),
            torch.from_numpy(batch.segments),
            torch.from_numpy(requests),
        )
        asked, queries = np.unique(batch.pair_places + 1, return_inverse=True)
        everyone = torch.cat([self.model.query.beginning(), users])
        pairs = _pairs(queries, batch.pair_weights, places)
        return softmax_loss(
            everyone[torch.from_numpy(asked)],
            F.embedding(places.targets, outputs),
            F.embedding(places.negatives, outputs),
            places.shift,
            pairs,
        )


@dataclass(frozen=True)
class _Slope:
    """A loss, summed over pairs, and its derivatives by the id vectors of `rows` (n,) and by each parameter."""

    loss: float
    rows: Tensor
    ids: Tensor
    parameters: Sequence[Tensor | None]


def _side_by_side(tasks: list[Callable[[], _Slope]]) -> list[_Slope]:
    """Run the tasks at the same time; together they use the threads that PyTorch has."""
    threads = torch.get_num_threads()

    def run(task: Callable[[], _Slope]) -> _Slope:
        torch.set_num_threads(max(1, threads // len(tasks)))
        return task()

    try:
        others = [_WORKERS.submit(run, task) for task in tasks[1:]]
        return [run(tasks[0]), *(other.result() for other in others)]
    finally:
        torch.set_num_threads(threads)


def _by_row(slopes: list[_Slope]) -> tuple[Tensor, Tensor]:
    """Return the distinct rows (n,) of all, and the summed derivatives by them (n, D)."""
    if len(slopes) == 1:
        return slopes[0].rows, slopes[0].ids
    rows, places = np.unique(np.concatenate([slope.rows.numpy() for slope in slopes]), return_inverse=True)
    total = torch.zeros(len(rows), slopes[0].ids.shape[1])
    return torch.from_numpy(rows), total.index_add_(0, torch.from_numpy(places), torch.cat([s.ids for s in slopes]))


@dataclass(frozen=True)
class _Places:
    """Where a step's items stand among its distinct items: (N,), (P,), (S,), and the log-Q correction (S,)."""

    items: Tensor
    targets: Tensor
    negatives: Tensor
    shift: Tensor


def _distinct(batch: Batch, negatives: Longs, shift: Floats) -> tuple[Tensor, _Places]:
    parts = batch.items, batch.pair_items, negatives
    places = np.zeros(1 + max((int(part.max()) for part in parts if len(part)), default=0), np.int64)
    for part in parts:
        places[part] = 1
    rows = np.flatnonzero(places)
    places[rows] = np.arange(len(rows))
    items, targets, drawn = (torch.from_numpy(places[part]) for part in parts)
    return torch.from_numpy(rows), _Places(items, targets, drawn, torch.from_numpy(shift))


def _pairs(queries: Longs, weights: Floats, places: _Places) -> Pairs:
    """Find the negatives that are a target of the same query."""
    targets, negatives = places.targets.numpy(), places.negatives.numpy()
    order = np.argsort(negatives, kind="stable")
    first = np.searchsorted(negatives[order], targets, side="left")
    counts = np.searchsorted(negatives[order], targets, side="right") - first
    hits = order[ranges(first, first + counts)]
    return Pairs(
        queries=torch.from_numpy(queries.astype(np.int64)),
        weights=torch.from_numpy(weights),
        hit_queries=torch.from_numpy(np.repeat(queries, counts).astype(np.int64)),
        hit_negatives=torch.from_numpy(hits.astype(np.int64)),
    )
