"""Operations that bring their own derivative; the only file that meets PyTorch's untyped `Function`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

from torch import Tensor
from torch.autograd.function import BackwardCFunction, Function, FunctionCtx

Gradients: TypeAlias = Callable[..., Sequence[Tensor | None]]
"""Takes the gradient of each output, contiguous, and returns that of each input."""
Operation: TypeAlias = Callable[..., tuple[Sequence[Tensor], Gradients]]
"""Takes the inputs and returns outputs, and their derivative as a closure over what it needs."""


def differentiable(operation: Operation, *inputs: Tensor) -> tuple[Tensor, ...]:
    """Compute `operation` of `inputs`; gradients go through the derivative that it returns."""
    outputs: tuple[Tensor, ...] = _Closed.apply(operation, *inputs)  # type: ignore[no-untyped-call]
    return outputs


class _Closed(Function):
    @staticmethod
    def forward(ctx: FunctionCtx, operation: Operation, *inputs: Tensor) -> tuple[Tensor, ...]:
        outputs, ctx.gradients = operation(*inputs)  # type: ignore[attr-defined]
        return tuple(outputs)

    @staticmethod
    def backward(ctx: BackwardCFunction, *grads: Tensor) -> tuple[Tensor | None, ...]:
        return None, *ctx.gradients(*(grad.contiguous() for grad in grads))  # type: ignore[attr-defined]
