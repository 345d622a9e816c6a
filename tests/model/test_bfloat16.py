"""Layers that learn in bfloat16 beside the same layers in float32."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from headrace.model.bfloat16 import Bfloat16Linear, learn_in_bfloat16


def layer_and_twin(bias: bool) -> tuple[nn.Linear, nn.Linear]:
    """Return two layers of the same small whole numbers, which bfloat16 holds exactly; the first learns in it."""
    torch.manual_seed(0)
    layer, twin = nn.Linear(6, 4, bias=bias), nn.Linear(6, 4, bias=bias)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(torch.randint(-4, 5, parameter.shape))
    twin.load_state_dict(layer.state_dict())
    learn_in_bfloat16(layer)
    assert type(layer) is Bfloat16Linear
    return layer, twin


def slopes_of(layer: nn.Linear, x: Tensor) -> list[Tensor]:
    """Return the output and the derivatives of a weighted sum of it."""
    leaf = x.clone().requires_grad_()
    found = layer(leaf)
    weights = torch.arange(found.numel()).reshape(found.shape) % 5 - 2.0
    return [found.detach(), *torch.autograd.grad((found * weights).sum(), [leaf, *layer.parameters()])]


@pytest.mark.parametrize("bias", [True, False])
def test_what_bfloat16_holds_exactly_is_multiplied_exactly_with_its_derivatives(bias: bool) -> None:
    layer, twin = layer_and_twin(bias)
    x = torch.randint(-3, 4, (9, 6)).float()
    for found, expected in zip(slopes_of(layer, x), slopes_of(twin, x), strict=True):
        assert found.dtype == torch.float32
        assert torch.equal(found, expected)


def test_it_rounds_while_it_learns_and_not_when_it_answers() -> None:
    layer, twin = layer_and_twin(bias=True)
    x = torch.full((3, 6), 1 + 2**-10)  # bfloat16 holds 1 and 1 + 2**-7
    with torch.no_grad():
        assert torch.equal(layer(x), twin(x))
        assert torch.equal(layer(x[None]), twin(x[None]))
    assert torch.equal(layer(x), twin(torch.ones(3, 6)))


def test_the_parameters_stay_the_ones_that_an_optimizer_knows() -> None:
    model = nn.Sequential(nn.Linear(3, 5), nn.LayerNorm(5), nn.Linear(5, 2))
    before = list(model.parameters())
    learn_in_bfloat16(model)
    assert [type(each) for each in model] == [Bfloat16Linear, nn.LayerNorm, Bfloat16Linear]
    assert all(a is b for a, b in zip(before, model.parameters(), strict=True))
