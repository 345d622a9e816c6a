"""An experiment: linear layers that learn in bfloat16; `bench_training.py --halves` times it (docs/log.md).

Shapes: N places, D and F widths.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from headrace.model.gradients import Gradients, differentiable


class HalfLinear(nn.Linear):
    """A linear layer that multiplies in bfloat16 while it learns, and as ever when it only answers.

    Weights, their gradients and all that is added up over steps stay in float32. Processors with bfloat16 instructions
    then take two thirds of the time for a step at width 128, others more than without.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Return (..., F) from (..., D); (N, F) from (N, D) where it learns."""
        if not torch.is_grad_enabled():
            return super().forward(x)
        given = (x, self.weight) if self.bias is None else (x, self.weight, self.bias)
        return differentiable(_in_halves, *given)[0]


def learn_in_halves(model: nn.Module) -> None:
    """Let all linear layers of a model multiply in bfloat16 while they learn."""
    for layer in model.modules():
        if type(layer) is nn.Linear:
            layer.__class__ = HalfLinear


def _in_halves(x: Tensor, weight: Tensor, *bias: Tensor) -> tuple[tuple[Tensor], Gradients]:
    x_half, weight_half = x.bfloat16(), weight.bfloat16()
    found = torch.mm(x_half, weight_half.T).float()
    for added in bias:
        found.add_(added)

    def gradients(grad: Tensor) -> tuple[Tensor, ...]:
        grad_half = grad.bfloat16()
        by_x, by_weight = torch.mm(grad_half, weight_half).float(), torch.mm(grad_half.T, x_half).float()
        return by_x, by_weight, *(grad.sum(0) for _ in bias)

    return (found,), gradients
