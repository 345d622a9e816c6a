"""Linear layers that multiply in bfloat16 while they learn.

Shapes: N places, D and F widths.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from headrace.model.gradients import Gradients, differentiable


class Bfloat16Linear(nn.Linear):
    """A linear layer that rounds to bfloat16 what it multiplies while it learns, and answers in float32 as ever.

    Weights, bias, sums and what is added up over steps stay in float32.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Return (..., F) from (..., D); (N, F) from (N, D) where it learns."""
        if not torch.is_grad_enabled():
            return super().forward(x)
        given = (x, self.weight) if self.bias is None else (x, self.weight, self.bias)
        return differentiable(_multiply, *given)[0]


def learn_in_bfloat16(*modules: nn.Module) -> None:
    """Let all linear layers of the modules learn in bfloat16; their parameters stay the same ones."""
    for module in modules:
        for layer in module.modules():
            if type(layer) is nn.Linear:
                layer.__class__ = Bfloat16Linear


def has_bfloat16() -> bool:
    """Return whether the processor has instructions that multiply bfloat16; without them it takes longer."""
    able = torch.cpu.get_capabilities()
    return bool(able.get("avx512_bf16") or able.get("amx_bf16"))


def _multiply(x: Tensor, weight: Tensor, *bias: Tensor) -> tuple[tuple[Tensor], Gradients]:
    x_half, weight_half = x.bfloat16(), weight.bfloat16()
    found = torch.mm(x_half, weight_half.T).float()
    for added in bias:
        found.add_(added)

    def gradients(grad: Tensor) -> tuple[Tensor, ...]:
        grad_half = grad.bfloat16()
        by_x, by_weight = torch.mm(grad_half, weight_half).float(), torch.mm(grad_half.T, x_half).float()
        return by_x, by_weight, *(grad.sum(0) for _ in bias)

    return (found,), gradients
