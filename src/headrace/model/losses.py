"""Losses as pure functions: softmax over the target and negatives shared by the whole batch.

Shapes: Q queries, S negatives, P pairs of a query and a target (a query may have several targets), D width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from headrace.core.compiled import exponential, fused, inlined
from headrace.model.gradients import Gradients, differentiable
from headrace.model.parts import Floats, Longs, Part, floats, in_parts, parts_of

_CHUNK_NUMBERS = 1_048_576
"""Scores computed at once: 4 MB of float32 stay in the caches, which is 3 times faster than one large matrix."""


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
    (loss,) = differentiable(_SharedNegatives(shift_S, pairs), users_QD, negatives_SD, scores_P)
    return loss


class _SharedNegatives:
    """Computes the gradients with the loss, chunk by chunk, so that no (Q, S) matrix is ever written to memory."""

    def __init__(self, shift: Tensor, pairs: Pairs) -> None:
        self._shift = shift
        self._pairs = pairs

    def __call__(self, users: Tensor, negatives: Tensor, scores: Tensor) -> tuple[tuple[Tensor], Gradients]:
        places = np.arange(len(users) + 1)
        weights, values, shift = floats(self._pairs.weights, scores, self._shift)
        given = _Given(
            np.searchsorted(self._pairs.queries.numpy(), places),
            weights,
            values,
            np.searchsorted(self._pairs.hit_queries.numpy(), places),
            self._pairs.hit_negatives.numpy(),
            shift,
        )
        losses, by_score, by_user = torch.empty(len(users)), torch.empty(len(scores)), torch.empty(users.shape)
        # Transposed: MKL multiplies this way round a third faster at 64 numbers a vector.
        by_negative = torch.zeros(negatives.T.shape)
        size = min(max(16, _CHUNK_NUMBERS // max(1, len(negatives))), len(users))
        buffer = torch.empty(size, len(negatives))
        for start in range(0, len(users), max(1, size)):
            block = users[start : start + size]
            logits = torch.mm(block, negatives.T, out=buffer[: len(block)])
            in_parts(_to_logits, parts_of(len(block)), start, given, *floats(logits, losses, by_score))
            torch.mm(logits, negatives, out=by_user[start : start + size])
            by_negative.addmm_(block.T, logits)

        def gradients(grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            return by_user * grad, by_negative.T * grad, by_score * grad

        return (losses.sum(),), gradients


class _Given(NamedTuple):
    """Pairs `pairs[q]:pairs[q + 1]` and hits `hits[q]:hits[q + 1]` belong to query q; `shift` is of the negatives."""

    pairs: Longs
    weights: Floats
    scores: Floats
    hits: Longs
    negatives: Longs
    shift: Floats


@inlined
def _ordered(bits: np.int32) -> np.int32:
    """Turn the bits of a float into a whole number of the same order, or back; the largest of those is vector code."""
    return np.int32(bits ^ ((bits >> np.int32(31)) & np.int32(0x7FFFFFFF)))


@fused
def _to_logits(part: Part, start: int, given: _Given, logits: Floats, losses: Floats, by_score: Floats) -> None:
    """Replace the products of the queries from `start` on by their gradients; write losses and gradients of scores."""
    for row in range(part.start, part.stop):
        query = start + row
        for hit in range(given.hits[query], given.hits[query + 1]):
            logits[row, given.negatives[hit]] = np.float32(-np.inf)
        largest = _ordered(np.float32(-1e30).view(np.int32))
        for column in range(logits.shape[1]):
            logit = np.float32(logits[row, column] - given.shift[column])
            largest = max(largest, _ordered(logit.view(np.int32)))
        top = _ordered(largest).view(np.float32)
        total = np.float32(0.0)
        for column in range(logits.shape[1]):
            power = exponential(logits[row, column] - given.shift[column] - top)
            logits[row, column] = power
            total += power
        least = np.float32(1e-30)
        total = least if total < least else total  # NaN stays
        loss, share = np.float32(0.0), np.float32(0.0)
        for pair in range(given.pairs[query], given.pairs[query + 1]):
            against = np.log(total) + top - given.scores[pair]
            odds = np.exp(-abs(against))
            loss += given.weights[pair] * (max(against, np.float32(0.0)) + np.log1p(odds))
            chance = (np.float32(1.0) if against > 0 else odds) / (np.float32(1.0) + odds)
            by_score[pair] = -given.weights[pair] * chance
            share -= by_score[pair]
        losses[query] = loss
        for column in range(logits.shape[1]):
            logits[row, column] *= share / total
