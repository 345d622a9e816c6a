"""The optimizers: AdamW for the network, a row-wise Adam for the id vectors, one schedule for both.

Shapes: V items, n rows of a step, D width.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from headrace.core.compiled import fused
from headrace.model.parts import Floats, Longs, Part, floats, in_parts, parts_of

BETAS = (0.9, 0.98)
_EPSILON = 1e-8
_KEEP_FIRST, _KEEP_SECOND, _ONE, _TINY = (np.float32(number) for number in (*BETAS, 1.0, _EPSILON))
_CLIP = 1.0
_FLOOR = 0.02


class RowAdam:
    """Adam that touches only the rows that a step used: its cost grows with the step and not with the catalogue.

    The moments of a row rest while no step uses it (SparseAdam of PyTorch does the same).
    """

    def __init__(self, table: Tensor) -> None:
        assert table.is_contiguous(), "it is changed in its own memory"
        self.table = table
        self.first = torch.zeros_like(table)
        self.second = torch.zeros_like(table)

    def step(self, rows: Tensor, gradient: Tensor, *, rate: float, number: int) -> None:
        """Update `rows` (n,) distinct indices with `gradient` (n, D); `number` is the step, from 1."""
        scale = rate * math.sqrt(1 - BETAS[1] ** number) / (1 - BETAS[0] ** number)
        whole = tuple(floats(self.table, self.first, self.second))
        in_parts(_adam, parts_of(len(rows)), np.float32(scale), rows.numpy(), *floats(gradient), whole)


@fused
def _adam(part: Part, scale: np.float32, rows: Longs, gradient: Floats, whole: tuple[Floats, Floats, Floats]) -> None:
    table, first, second = whole
    for place in range(part.start, part.stop):
        row = rows[place]
        for column in range(table.shape[1]):
            slope = gradient[place, column]
            mean = _KEEP_FIRST * first[row, column] + (_ONE - _KEEP_FIRST) * slope
            square = _KEEP_SECOND * second[row, column] + (_ONE - _KEEP_SECOND) * slope * slope
            first[row, column] = mean
            second[row, column] = square
            table[row, column] -= scale * mean / (np.sqrt(square) + _TINY)


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
