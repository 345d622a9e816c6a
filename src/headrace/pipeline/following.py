"""What happens behind each training step: progress, checks of the metric, checkpoints, stopping."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

from headrace.core.errors import StoppedError
from headrace.training.checkpoint import write_checkpoint
from headrace.training.loop import Training
from headrace.training.progress import Progress, Watcher


class Phase(NamedTuple):
    """A stage as the progress names it, and the shares of the whole at which it begins and ends."""

    name: str
    begin: float
    end: float


class Follower:
    """Follows one stage; an instance is the `after_step` of `Training.run`."""

    def __init__(
        self,
        phase: Phase,
        watcher: Watcher,
        checkpoint: Path,
        *,
        steps: tuple[int, int],
        measure: Callable[[], float | None],
        checkpoint_minutes: float,
    ) -> None:
        """Say how to follow.

        Args:
            phase: what it is in the whole.
            watcher: who hears.
            checkpoint: the file to write.
            steps: of the stage, and between two checks of the metric.
            measure: NDCG@10 between the cuts.
            checkpoint_minutes: between two checkpoints.
        """
        self._phase = phase
        self._watcher = watcher
        self._checkpoint = checkpoint
        self._steps, self._every = steps
        self._measure = measure
        self._pause_s = checkpoint_minutes * 60
        self._begun = self._written = perf_counter()
        self._first: int | None = None

    def __call__(self, training: Training) -> None:
        """Follow one step.

        Raises:
            StoppedError: the watcher said so; the checkpoint is written.
        """
        step = training.state.step
        if step % self._every == 0 or step == self._steps:
            training.check(self._measure())
        self._report(training)
        now = perf_counter()
        stopped = self._watcher.stopped()
        if stopped or now - self._written >= self._pause_s:
            write_checkpoint(self._checkpoint, training.tensors(), training.state)
            self._written = perf_counter()
        if stopped:
            raise StoppedError(
                f"the training was stopped at step {step:,} of {self._steps:,} ({self._phase.name}); go on from there "
                "with `headrace train DATASET --out MODEL --resume`, both the same"
            )

    def _report(self, training: Training) -> None:
        step = training.state.step
        if self._first is None:
            self._first = step - 1
        elapsed = perf_counter() - self._begun
        span = self._phase.end - self._phase.begin
        share = self._phase.begin + span * step / self._steps
        per_step = elapsed / (step - self._first)
        # The stages after this one take their share of steps at the same pace.
        left = per_step * self._steps * (1.0 - share) / span
        metrics = [point.metric for point in training.state.curve if point.metric is not None]
        self._watcher.report(
            Progress(
                stage=self._phase.name,
                share=share,
                step=step,
                steps=self._steps,
                loss=training.loss,
                metric=metrics[-1] if metrics else None,
                checks=len(metrics),
                events_per_second=training.events / elapsed,
                seconds_left=left,
            )
        )
