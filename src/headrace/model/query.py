"""The query attention: from cached states and the time of the request to the user vector.

The request's time enters here and nowhere else, so that no cached key changes when the next event arrives.

Shapes: B histories, S slots of states, N packed events, D width, G groups, Q queries and K keys of a group.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from headrace.core.formats import Shape
from headrace.core.time_buckets import TIME_BUCKETS, UNKNOWN_BUCKET
from headrace.model.attention import (
    Layout,
    RelativeBias,
    attend,
    split_heads,
    time_buckets,
    window_layout,
)
from headrace.model.dropout import Dropout
from headrace.model.encoder import FeedForward
from headrace.model.packed import Stream, attend_packed

_HOUR_US = 3_600_000_000
_DAY_US = 24 * _HOUR_US
_UNKNOWN_HOUR = 24
_UNKNOWN_DAY = 7


class RequestTime(nn.Module):
    """Features of the request's time: since the last event, hour of the day, day of the week (UTC), or unknown."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gap = nn.Parameter(torch.zeros(TIME_BUCKETS + 1, width))
        self.hour = nn.Parameter(torch.zeros(_UNKNOWN_HOUR + 1, width))
        self.day = nn.Parameter(torch.zeros(_UNKNOWN_DAY + 1, width))

    def forward(self, requests: Tensor, last: Tensor) -> Tensor:
        """Return (M, D) from request times and times of the last event, (M,) int64 microseconds; -1 is unknown."""
        unknown = requests < 0
        gap = torch.where(unknown, UNKNOWN_BUCKET, time_buckets(requests, last))
        hour = torch.where(unknown, _UNKNOWN_HOUR, _whole(requests % _DAY_US, _HOUR_US))
        day = torch.where(unknown, _UNKNOWN_DAY, _whole(requests % (7 * _DAY_US), _DAY_US))
        return F.embedding(gap, self.gap) + F.embedding(hour, self.hour) + F.embedding(day, self.day)


def _whole(times: Tensor, unit: int) -> Tensor:
    """Return how many whole units times hold, int64 of at least 0.

    The exported graph divides floats, which makes a little less than 5 out of some 5 hours: so the middle of the unit
    is divided.
    """
    return torch.div(times - times % unit + unit // 2, unit, rounding_mode="floor")


class Query(nn.Module):
    """One attention over the states of the window, asked at a time, then a feed-forward layer."""

    def __init__(self, shape: Shape, drop: Dropout) -> None:
        super().__init__()
        width = shape.width
        self.shape = shape
        self.drop = drop
        self.time = RequestTime(width)
        self.bias = RelativeBias(shape.heads, shape.window)
        self.query_norm = nn.LayerNorm(width)
        self.memory_norm = nn.LayerNorm(width)
        self.ask = nn.Linear(width, width)
        self.gate = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.combine = nn.Linear(width, width, bias=False)
        self.feed = FeedForward(width, drop)
        self.start = nn.Parameter(torch.zeros(width))
        self.out_norm = nn.LayerNorm(width)

    def packed(self, states: Tensor, times: Tensor, requests: Tensor, stream: Stream) -> Tensor:
        """Ask at every place of a packed stream: (N, D) states, (N,) times and requests, to (N, D)."""
        memory = self.memory_norm(states)
        asking = states + self.time(requests, times)
        normed = self.query_norm(asking)
        mixed = attend_packed(self.ask(normed), self.key(memory), self.value(memory), self.bias, stream.at(requests))
        return self._finish(asking, normed, mixed)

    def forward(self, states: Tensor, times: Tensor, ages: Tensor, requests: Tensor) -> Tensor:
        """Return the user vectors.

        Args:
            states: (B, S, D) states in any order of slots.
            times: (B, S) int64 microseconds.
            ages: (B, S) int64, events from the slot to the last event: 0 for the last; below 0 marks an empty slot. A
                user without a slot of age 0 has no history.
            requests: (B,) int64 microseconds, -1 for unknown.

        Returns:
            (B, D): user vectors; their product with an item's output vector is its score.
        """
        last = ages == 0
        state = (states * last.unsqueeze(-1).to(states.dtype)).sum(1)
        last_time = torch.where(last, times, torch.zeros_like(times)).sum(1)
        buckets = time_buckets(requests[:, None], times)
        buckets = torch.where((requests < 0)[:, None], UNKNOWN_BUCKET, buckets)[:, None, :]
        # An empty history keeps its slots readable, so that none gives NaN; `start` replaces the result.
        slot_ages = torch.where(last.any(1, keepdim=True), ages, torch.zeros_like(ages))[:, None, :]
        layout = window_layout(slot_ages, buckets, torch.ones_like(buckets, dtype=torch.bool), self.shape.window)
        asking = state + self.time(requests, last_time)
        memory = self.memory_norm(states)
        normed = self.query_norm(asking)
        mixed = self._mix(self.ask(normed)[:, None], self.key(memory), self.value(memory), layout)[:, 0]
        return torch.where(last.any(1, keepdim=True), self._finish(asking, normed, mixed), self.beginning())

    def beginning(self) -> Tensor:
        """Return (1, D), the vector of a user without a history."""
        began: Tensor = self.out_norm(self.start).unsqueeze(0)
        return began

    def _mix(self, query: Tensor, keys: Tensor, values: Tensor, layout: Layout) -> Tensor:
        query, keys, values = (split_heads(x, self.shape.heads) for x in (query, keys, values))
        return attend(query, keys, values, self.bias(layout))

    def _finish(self, asking: Tensor, normed: Tensor, mixed: Tensor) -> Tensor:
        x = self.drop.add_gated(asking, self.gate(normed), self.combine(mixed))
        finished: Tensor = self.out_norm(self.feed(x))
        return finished
