"""Attention inside a sliding window of events, with relative position and relative time as bias.

One function serves two layouts: padded histories (encoding at once) and slots of a cache plus new events (stepping).
A layout says for each pair of a query and a key how many events lie between them, how much time, and whether the query
may read the key. `packed.py` computes the same for training, without matrices.

Shapes: G groups, Q queries and K keys of a group, D width, H heads, E = D / H, W window.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from headrace.core.time_buckets import BUCKET_SHIFT, TIME_BUCKETS


@dataclass(frozen=True)
class Layout:
    """Who reads whom.

    Args:
        ages: (Q, K) or (G, Q, K) int64, events from key to query, 0 for itself, held within 0..W-1.
        buckets: (G, Q, K) int64 time buckets, see `time_buckets`.
        hidden: (G, 1, Q, K) True where the query must not read the key.
    """

    ages: Tensor
    buckets: Tensor
    hidden: Tensor


def time_buckets(later: Tensor, earlier: Tensor) -> Tensor:
    """Return the bucket of each difference of two times (int64 microseconds; they broadcast); negative counts as 0."""
    seconds = (later - earlier).clamp(min=0).to(torch.float32) * 1e-6
    return (torch.log2(seconds + 1.0) + BUCKET_SHIFT).clamp(max=TIME_BUCKETS - 1).to(torch.int64)


def window_layout(ages: Tensor, buckets: Tensor, allowed: Tensor, window: int) -> Layout:
    """Make a layout from raw ages; a pair outside `0 <= age < window`, or not `allowed`, is hidden.

    Args:
        ages: (Q, K) or (G, Q, K) int64, any sign.
        buckets: (G, Q, K) int64.
        allowed: (G, Q, K) bool.
        window: W.
    """
    # Age 0 is always readable, so that a padding place has something to attend to and gives no NaN.
    visible = (allowed & (ages >= 0) & (ages < window)) | (ages == 0)
    return Layout(ages.clamp(0, window - 1), buckets, ~visible.unsqueeze(1))


class RelativeBias(nn.Module):
    """A learned bias per head for each age and each time bucket."""

    def __init__(self, heads: int, window: int) -> None:
        super().__init__()
        self.age = nn.Parameter(torch.zeros(heads, window))
        self.time = nn.Parameter(torch.zeros(heads, TIME_BUCKETS + 1))

    def forward(self, layout: Layout) -> Tensor:
        """Return (G, H, Q, K), or (1, H, Q, K) where it broadcasts; minus infinity where the key is hidden."""
        by_age = self._gather(self.age, layout.ages)
        by_time = self._gather(self.time, layout.buckets)
        return (by_time + by_age).masked_fill(layout.hidden, -math.inf)

    @staticmethod
    def _gather(table: Tensor, index: Tensor) -> Tensor:
        # index_select on the flat index: its gradient takes 0.6 ms for 800 k places where embedding's takes 80 ms.
        flat = table.index_select(1, index.reshape(-1)).reshape(table.shape[0], *index.shape)
        return flat.movedim(0, -3)


def attend(queries: Tensor, keys: Tensor, values: Tensor, bias: Tensor) -> Tensor:
    """Softmax attention.

    Args:
        queries: (G, Q, H, E).
        keys: (G, K, H, E).
        values: (G, K, H, E).
        bias: (G, H, Q, K), added to the scaled products.

    Returns:
        (G, Q, H * E).
    """
    q = queries.transpose(1, 2) * (1.0 / math.sqrt(queries.shape[-1]))
    scores = torch.matmul(q, keys.permute(0, 2, 3, 1)) + bias
    mixed = torch.matmul(torch.softmax(scores, dim=-1), values.transpose(1, 2))
    return mixed.transpose(1, 2).flatten(2)


def split_heads(x: Tensor, heads: int) -> Tensor:
    """Return (..., H, E) from (..., D)."""
    return x.reshape(*x.shape[:-1], heads, x.shape[-1] // heads)


def padded_layout(times: Tensor, window: int) -> Layout:
    """Lay out histories padded on the right, (B, T) int64 microseconds; padding comes last, so it is hidden."""
    places = torch.arange(times.shape[1])
    ages = places[:, None] - places[None, :]
    buckets = time_buckets(times[:, :, None], times[:, None, :])
    return window_layout(ages, buckets, torch.ones_like(buckets, dtype=torch.bool), window)


def step_layout(slot_ages: Tensor, slot_times: Tensor, times: Tensor, window: int) -> Layout:
    """Lay out n new events behind the slots of a cache.

    Args:
        slot_ages: (B, S) int64, events from the slot to the first new event: 1 for the one just before it; 0 or less
            marks an empty slot. Slots stand in any order.
        slot_times: (B, S) int64 microseconds.
        times: (B, n) int64 microseconds of the new events, oldest first.
        window: W.
    """
    new = torch.arange(times.shape[1])
    among = (new[:, None] - new[None, :]).expand(times.shape[0], -1, -1)
    from_slots = torch.where(slot_ages > 0, slot_ages, window)[:, None, :] + new[:, None]
    ages = torch.cat([from_slots, among], dim=2)
    buckets = time_buckets(times[:, :, None], torch.cat([slot_times, times], dim=1)[:, None, :])
    return window_layout(ages, buckets, torch.ones_like(buckets, dtype=torch.bool), window)
