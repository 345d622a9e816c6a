"""Losses as pure functions: softmax over the target and negatives shared by the whole batch.

Shapes: Q queries, S negatives, P pairs of a query and a target (a query may have several targets), D width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import BackwardCFunction, Function, FunctionCtx

_CHUNK_NUMBERS = 524_288
"""Scores computed at once: 2 MB of float32 stay in the caches, which is 3 times faster than one large matrix."""


@dataclass(frozen=True)
class Pairs:
    """Which target belongs to which query.

    Args:
        queries: (P,) int64 places in 0..Q-1, ascending.
        weights: (P,) float32, what each pair counts.
        hit_queries: (X,) int64 queries, ascending, and
        hit_negatives: (X,) int64 places in 0..S-1: negatives that are a target of that query, left out of its sum.
    """

    queries: Tensor
    weights: Tensor
    hit_queries: Tensor
    hit_negatives: Tensor


def softmax_loss(users_QD: Tensor, targets_PD: Tensor, negatives_SD: Tensor, shift_S: Tensor, pairs: Pairs) -> Tensor:
    """Return the summed weighted cross-entropy of each target against the negatives.

    With every item as a negative and `shift_S` of 0 this is full cross-entropy. With S drawn from q, `shift_S` is
    log(S q(item)): subtracted from the negatives' scores only, since the target is in the sum for certain (Yi et al.
    2019, corrected by Khrylchenko et al. 2025).

    Args:
        users_QD: user vectors.
        targets_PD: output vectors of the targets.
        negatives_SD: output vectors of the negatives, shared by all queries.
        shift_S: log-Q correction.
        pairs: which target belongs to which query.
    """
    scores_P = (users_QD[pairs.queries] * targets_PD).sum(-1)
    # PyTorch's own stubs leave Function.apply and the context untyped; this file is the only one that meets them.
    loss: Tensor = _SharedNegatives.apply(users_QD, negatives_SD, shift_S, scores_P, pairs)  # type: ignore[no-untyped-call]
    return loss


class _SharedNegatives(Function):
    """Computes the gradients with the loss, chunk by chunk, so that no (Q, S) matrix is ever written to memory."""

    @staticmethod
    def forward(
        ctx: FunctionCtx, users: Tensor, negatives: Tensor, shift: Tensor, scores: Tensor, pairs: Pairs
    ) -> Tensor:
        grad_users = torch.empty_like(users)
        grad_negatives = torch.zeros_like(negatives)
        grad_scores = torch.empty_like(scores)
        total = scores.new_zeros(())
        chunk = max(16, _CHUNK_NUMBERS // max(1, len(negatives)))
        starts = torch.arange(0, len(users) + chunk, chunk)
        pair_places = torch.searchsorted(pairs.queries, starts).tolist()
        hit_places = torch.searchsorted(pairs.hit_queries, starts).tolist()
        buffer = users.new_empty(min(chunk, len(users)), len(negatives))
        for number, start in enumerate(range(0, len(users), chunk)):
            block = users[start : start + chunk]
            logits = torch.addmm(shift.neg(), block, negatives.T, out=buffer[: len(block)])
            hits = slice(hit_places[number], hit_places[number + 1])
            logits[pairs.hit_queries[hits] - start, pairs.hit_negatives[hits]] = -torch.inf
            own = slice(pair_places[number], pair_places[number + 1])
            rows = pairs.queries[own] - start
            top = logits.amax(1, keepdim=True).clamp(min=-1e30)
            logits.sub_(top).exp_()
            sums = logits.sum(1, keepdim=True).clamp(min=1e-30)
            against = (sums.log() + top).squeeze(1)[rows] - scores[own]
            total += (F.softplus(against) * pairs.weights[own]).sum()
            share = torch.sigmoid(against) * pairs.weights[own]
            grad_scores[own] = -share
            per_query = scores.new_zeros(len(block)).index_add_(0, rows, share)
            logits.mul_(per_query.unsqueeze(1) / sums)
            torch.mm(logits, negatives, out=grad_users[start : start + chunk])
            grad_negatives.addmm_(logits.T, block)
        ctx.save_for_backward(grad_users, grad_negatives, grad_scores)
        return total

    @staticmethod
    def backward(ctx: BackwardCFunction, *grads: Tensor) -> tuple[Tensor | None, ...]:
        grad_users, grad_negatives, grad_scores = ctx.saved_tensors  # type: ignore[misc]
        scale = grads[0]
        return grad_users * scale, grad_negatives * scale, None, grad_scores * scale, None
