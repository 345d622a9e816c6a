"""What a training says of itself while it runs, and how it hears that it should stop."""

from __future__ import annotations

from typing import Protocol

import msgspec


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """One look at a training.

    Args:
        stage: what it does now, in words: `reading texts`, `fitted`, `refitted`, `everything` ...
        share: how much of the whole is done, 0..1.
        step: of this stage, 0 where a stage has no steps.
        steps: of this stage; 0 while unknown.
        loss: mean over the last steps, in nats per target.
        metric: NDCG@10 between the cuts, where it was measured last.
        checks: how often it was measured in this stage.
        events_per_second: learned from.
        seconds_left: for the whole.
    """

    stage: str
    share: float
    step: int = 0
    steps: int = 0
    loss: float | None = None
    metric: float | None = None
    checks: int = 0
    events_per_second: float | None = None
    seconds_left: float | None = None


class Watcher(Protocol):
    """Follows a training; the command line prints, a test records."""

    def report(self, progress: Progress) -> None:
        """Hear how far it is; called after every step, so it must be quick."""
        ...

    def stopped(self) -> bool:
        """Return whether to stop: the training then writes a checkpoint and raises `StoppedError`."""
        ...


class Unwatched:
    """Follows nothing and never stops."""

    def report(self, progress: Progress) -> None:
        """Hear nothing."""

    def stopped(self) -> bool:
        """Go on."""
        return False
