"""Dropout keeps the mean, draws anew, and its gradient drops the same numbers."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from headrace.model.dropout import Dropout

ROWS, WIDTH = 700, 64


def dropping(share: float) -> Dropout:
    drop = Dropout(share)
    drop.generator = np.random.default_rng(1)
    return drop


def test_without_a_generator_nothing_is_dropped() -> None:
    x, gate, added = torch.randn(3, 5, 4)
    drop = Dropout(0.5)
    assert torch.equal(drop(x), x)
    assert torch.equal(drop.add_gated(x, gate, added), x + torch.sigmoid(gate) * added)


def test_the_share_is_dropped_in_every_row_and_column_and_the_others_are_scaled() -> None:
    left = dropping(0.2)(torch.ones(ROWS, WIDTH))
    assert sorted(left.unique().tolist()) == [0.0, 1.25]
    dropped = (left == 0).float()
    assert dropped.mean().item() == pytest.approx(0.2, abs=0.01)
    # Five standard deviations of a share of so many draws.
    assert (dropped.mean(0) - 0.2).abs().max() < 5 * (0.16 / ROWS) ** 0.5
    assert (dropped.mean(1) - 0.2).abs().max() < 5 * (0.16 / WIDTH) ** 0.5


def test_each_call_draws_anew_and_the_same_generator_draws_the_same() -> None:
    drop, again = dropping(0.3), dropping(0.3)
    x = torch.ones(ROWS, WIDTH)
    first, second = drop(x), drop(x)
    assert not torch.equal(first, second)
    assert torch.equal(first, again(x))


def test_the_gradient_drops_what_was_dropped() -> None:
    x = torch.ones(ROWS, WIDTH, requires_grad=True)
    left = dropping(0.3)(x)
    (gradient,) = torch.autograd.grad(left, x, torch.ones_like(left))
    assert torch.equal(gradient, left)


@pytest.mark.parametrize("share", [0.0, 0.2])
def test_a_gated_residual_has_the_values_and_gradients_of_the_formula(share: float) -> None:
    torch.manual_seed(0)
    leaves = [torch.randn(ROWS, WIDTH).mul_(3).requires_grad_() for _ in range(3)]
    x, gate, added = leaves
    found = dropping(share).add_gated(x, gate, added)
    kept = dropping(share)(torch.ones(ROWS, WIDTH))
    expected = x + torch.sigmoid(gate) * (kept * added)
    weight = torch.randn_like(found)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(
        torch.autograd.grad(found, leaves, weight), torch.autograd.grad(expected, leaves, weight)
    )


def test_a_thread_without_a_generator_of_its_own_drops_nothing() -> None:
    drop, x = dropping(0.5), torch.ones(ROWS, WIDTH)
    with ThreadPoolExecutor(1) as other:
        assert torch.equal(other.submit(drop, x).result(), x)
    assert not torch.equal(drop(x), x)
