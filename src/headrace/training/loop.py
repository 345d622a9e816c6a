"""The training loop of one stage, and all state that going on with it needs."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import msgspec
from torch import Tensor

from headrace.training.batches import Sequences
from headrace.training.learner import Learner
from headrace.training.negatives import NegativeSampler
from headrace.training.optimizer import Schedule

_SMOOTHED = 50


class CurvePoint(msgspec.Struct, frozen=True):
    """One check: mean loss of the steps before it, NDCG@10 between the cuts (None where none was asked for)."""

    step: int
    loss: float
    metric: float | None = None


class LoopState(msgspec.Struct, kw_only=True):
    """Where a stage stands. `batch` is the place within the epoch of the next batch."""

    step: int = 0
    epoch: int = 0
    batch: int = 0
    best_step: int = 0
    best_metric: float = -1.0
    curve: list[CurvePoint] = []
    losses: list[float] = []


class Training:
    """One stage of training."""

    def __init__(self, learner: Learner, sequences: Sequences, sampler: NegativeSampler, schedule: Schedule) -> None:
        self.learner = learner
        self.sequences = sequences
        self.sampler = sampler
        self.schedule = schedule
        self.state = LoopState()
        self.events = 0
        self._best: dict[str, Tensor] = {}
        self._recent: deque[float] = deque(maxlen=_SMOOTHED)

    @property
    def loss(self) -> float:
        """The mean loss of the last steps, in nats per target."""
        return sum(self._recent) / max(1, len(self._recent))

    def run(self, until: int, after_step: Callable[[Training], None]) -> None:
        """Take steps up to number `until`; call `after_step` behind each, which may raise to stop."""
        state = self.state
        while state.step < until:
            for batch in self.sequences.epoch(state.epoch, self.learner.seed, state.batch):
                loss = self.learner.step(
                    batch, self.sampler, self.schedule, state.step + 1, self.sequences.pairs_per_batch
                )
                state.step += 1
                state.batch += 1
                self.events += batch.events
                self._recent.append(loss)
                after_step(self)
                if state.step >= until:
                    return
            state.epoch += 1
            state.batch = 0

    def check(self, metric: float | None) -> None:
        """Note a point of the curve; keep the weights if the metric is the best so far."""
        self.state.curve.append(CurvePoint(self.state.step, self.loss, metric))
        if metric is not None and metric > self.state.best_metric:
            self.state.best_metric = metric
            self.state.best_step = self.state.step
            self._best = {name: tensor.clone() for name, tensor in self.learner.weights().items()}

    def take_best(self) -> None:
        """Go back to the best weights, where any check had a metric."""
        if self._best:
            self.learner.load_weights(self._best)

    def tensors(self) -> dict[str, Tensor]:
        """Return everything that changes, by name, for a checkpoint; `state` goes with it."""
        self.state.losses = list(self._recent)
        return {
            **self.learner.state(),
            **{f"best.{name}": tensor for name, tensor in self._best.items()},
        }

    def load(self, tensors: dict[str, Tensor], state: LoopState) -> None:
        """Go on from a checkpoint."""
        self.learner.load_state({name: t for name, t in tensors.items() if not name.startswith("best.")})
        self._best = {name.removeprefix("best."): t for name, t in tensors.items() if name.startswith("best.")}
        self.state = state
        self._recent = deque(state.losses, maxlen=_SMOOTHED)
