"""The loss against the formula written out with PyTorch's own functions."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from headrace.model import losses
from headrace.model.losses import Pairs, softmax_loss


def written_out(users: Tensor, targets: Tensor, negatives: Tensor, shift: Tensor, pairs: Pairs) -> Tensor:
    logits = users @ negatives.T - shift
    hidden = torch.zeros(logits.shape, dtype=torch.bool)
    hidden[pairs.hit_queries, pairs.hit_negatives] = True
    logits = logits.masked_fill(hidden, -math.inf)
    total = torch.zeros(())
    for place, query in enumerate(pairs.queries.tolist()):
        own = users[query] @ targets[place]
        against = torch.logsumexp(torch.cat([own[None], logits[query]]), 0)
        total = total + pairs.weights[place] * (against - own)
    return total


def test_the_loss_and_its_gradients_are_those_of_the_formula(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(losses, "_CHUNK_NUMBERS", 16 * 7)
    torch.manual_seed(0)
    leaves = [torch.randn(n, 8, requires_grad=True) for n in (50, 70, 7)]
    shift = torch.randn(7)
    pairs = Pairs(
        queries=torch.sort(torch.randint(0, 50, (70,))).values,
        weights=torch.rand(70),
        hit_queries=torch.tensor([0, 3, 3, 49]),
        hit_negatives=torch.tensor([6, 0, 1, 2]),
    )
    found = softmax_loss(leaves[0], leaves[1], leaves[2], shift, pairs)
    expected = written_out(leaves[0], leaves[1], leaves[2], shift, pairs)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(torch.autograd.grad(found, leaves), torch.autograd.grad(expected, leaves))


def test_one_target_against_two_even_negatives_costs_log_three() -> None:
    zeros = torch.zeros(1, 4)
    none = torch.zeros(0, dtype=torch.int64)
    pairs = Pairs(torch.zeros(1, dtype=torch.int64), torch.ones(1), none, none)
    loss = softmax_loss(zeros, zeros, torch.zeros(2, 4), torch.zeros(2), pairs)
    assert float(loss) == pytest.approx(math.log(3))


def test_a_query_whose_negatives_are_all_targets_costs_nothing() -> None:
    pairs = Pairs(
        torch.zeros(1, dtype=torch.int64),
        torch.ones(1),
        torch.zeros(1, dtype=torch.int64),
        torch.zeros(1, dtype=torch.int64),
    )
    users = torch.ones(1, 4, requires_grad=True)
    loss = softmax_loss(users, torch.ones(1, 4), torch.ones(1, 4), torch.zeros(1), pairs)
    (gradient,) = torch.autograd.grad(loss, users)
    assert float(loss.detach()) == 0.0
    assert torch.equal(gradient, torch.zeros(1, 4))
