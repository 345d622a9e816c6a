"""The optimizers: AdamW for the network, a row-wise Adam for the id vectors, one schedule for both.

Shapes: V items, n rows of a step, D width.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

BETAS = (0.9, 0.98)
_EPSILON = 1e-8
_CLIP = 1.0
_FLOOR = 0.02


class RowAdam:
    """Adam that touches only the rows that a step used: its cost grows with the step and not with the catalogue.

    The moments of a row rest while no step uses it (SparseAdam of PyTorch does the same).
    """

    def __init__(self, table: Tensor) -> None:
        self.table = table
        self.first = torch.zeros_like(table)
        self.second = torch.zeros_like(table)

    def step(self, rows: Tensor, gradient: Tensor, *, rate: float, number: int) -> None:
        """Update `rows` (n,) distinct indices with `gradient` (n, D); `number` is the step, from 1."""
        first, second = BETAS
        mean = self.first[rows].mul_(first).add_(gradient, alpha=1 - first)
        square = self.second[rows].mul_(second).addcmul_(gradient, gradient, value=1 - second)
        self.first[rows] = mean
        self.second[rows] = square
        scale = rate * math.sqrt(1 - second**number) / (1 - first**number)
        self.table[rows] -= scale * mean / (square.sqrt() + _EPSILON)


@dataclass(frozen=True)
class Schedule:
    """Learning rate by step: linear warm-up, then half a cosine down to a fiftieth of the peak.

    Args:
        peak: the highest rate.
        steps: of the whole training.
        warmup: steps to the peak.
    """

    peak: float
    steps: int
    warmup: int

    def rate(self, number: int) -> float:
        """Return the rate of step `number`, from 1."""
        if number <= self.warmup:
            return self.peak * number / self.warmup
        done = min(1.0, (number - self.warmup) / max(1, self.steps - self.warmup))
        return self.peak * (_FLOOR + (1 - _FLOOR) * 0.5 * (1 + math.cos(math.pi * done)))


def network_optimizer(parameters: list[torch.nn.Parameter], weight_decay: float) -> torch.optim.AdamW:
    """Return AdamW for the network; weight decay on matrices only. The rate is set anew at each step."""
    groups = [
        {"params": [p for p in parameters if p.dim() > 1], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.dim() <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=1.0, betas=BETAS, eps=_EPSILON, fused=True)


def clip(parameters: list[torch.nn.Parameter]) -> None:
    """Scale all gradients down to a norm of 1 together."""
    torch.nn.utils.clip_grad_norm_(parameters, _CLIP)
