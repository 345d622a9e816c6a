"""How far a training is, as a small file: `headrace train` writes it, the demo's terminal and page read it."""

from __future__ import annotations

from pathlib import Path

import msgspec

from headrace.core.files import replacing
from headrace.training.progress import Progress


class TrainingProgress(Progress, frozen=True, kw_only=True):
    """One look at a training; `losses` are those of its stage so far, thinned to 200 values at most."""

    losses: list[float] = []

    def text(self) -> str:
        """Return it as a short line."""
        parts = [self.stage]
        if self.steps:
            parts.append(f"step {self.step:,} of {self.steps:,}")
        if self.loss is not None:
            parts.append(f"loss {self.loss:.3f}")
        if self.metric is not None:
            parts.append(f"NDCG@10 {self.metric:.4f}")
        if self.events_per_second:
            parts.append(f"{self.events_per_second:,.0f} events/s")
        if self.seconds_left is not None:
            parts.append(f"{self.seconds_left / 60:.1f} min left")
        return ", ".join(parts)


def write_progress(path: Path, progress: TrainingProgress) -> None:
    """Write it; a reader never sees half of it."""
    with replacing(path) as temporary:
        temporary.write_bytes(msgspec.json.encode(progress))


def read_progress(path: Path) -> TrainingProgress | None:
    """Read it; None while there is none."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=TrainingProgress)
    except FileNotFoundError:
        return None
