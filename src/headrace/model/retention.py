"""Retention, the second mixer: linear attention with decay, which keeps a matrix for each head and no event's keys.

What is kept decays at each event by how much time has passed, and takes in the product of the event's key and value
(Sun et al. 2023, "Retentive Network"; with decays that depend on the data as in Mamba-2, Dao and Gu 2024). Packed,
at once and one event at a time compute one function.

Shapes: B histories, T events, N packed events, L layers, D width, H heads of E = `HEAD` numbers, I = H * E.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from headrace.core.formats import RETENTION_HEAD as HEAD
from headrace.core.formats import Shape
from headrace.core.time_buckets import TIME_BUCKETS
from headrace.model.attention import split_heads, time_buckets
from headrace.model.dropout import Dropout
from headrace.model.encoder import EventInput, FeedForward
from headrace.model.packed import Stream
from headrace.model.query import RequestTime
from headrace.model.retention_packed import retain_packed

_SHORTEST = 2.0
"""Events that the most forgetful head remembers at the start."""


class Decay(nn.Module):
    """How much of what is kept is left at the next event, by head and time passed: between 0 and W / (W + 2).

    The bound lets what lies far back vanish; see `Shape.reach`.
    """

    def __init__(self, heads: int, window: int) -> None:
        super().__init__()
        self.bound = math.log(window / (window + 2))
        longest = max(_SHORTEST, window)
        shares = 1 - torch.arange(heads) / max(1, heads - 1)
        remembered = _SHORTEST * (longest / _SHORTEST) ** shares
        self.base = nn.Parameter(torch.log(remembered - 1))
        self.time = nn.Parameter(torch.zeros(heads, TIME_BUCKETS))

    def forward(self) -> Tensor:
        """Return the logarithms (H, buckets)."""
        return self.bound + nn.functional.logsigmoid(self.base.unsqueeze(1) + self.time)


class Retention(nn.Module):
    """One layer of retention: who asks, what is kept of the events, and how it decays."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.heads = shape.retention_heads
        inner = self.heads * HEAD
        self.decay = Decay(self.heads, shape.window)
        self.query = nn.Linear(shape.width, inner)
        self.key = nn.Linear(shape.width, inner)
        self.value = nn.Linear(shape.width, inner)
        self.combine = nn.Linear(inner, shape.width, bias=False)

    def packed(self, asking: Tensor, memory: Tensor, stream: Stream) -> Tensor:
        """Return (N, D): what each place that asks reads of the memory (N, D) up to it."""
        mixed = retain_packed(self.query(asking), self.key(memory), self.value(memory), self.decay(), stream)
        return self._combined(split_heads(mixed, self.heads))

    def forward(self, asking: Tensor, memory: Tensor, buckets: Tensor, kept: Tensor) -> tuple[Tensor, Tensor]:
        """Return (B, T, D), what each place reads, and (B, H, E, E), what is kept after the last.

        Args:
            asking: (B, T, D).
            memory: (B, T, D).
            buckets: (B, T) of the time between each event and the one before it.
            kept: (B, H, E, E) from earlier events.
        """
        queries, keys, values = self._split(asking, memory)
        mixed, kept = retain(queries, keys, values, self._along(buckets), kept)
        return self._combined(mixed), kept

    def last(self, asking: Tensor, memory: Tensor, buckets: Tensor, ages: Tensor) -> Tensor:
        """Return (B, D), what one place reads of all events before it.

        Args:
            asking: (B, D).
            memory: (B, T, D), oldest first.
            buckets: (B, T) of the time between each event and the one before it.
            ages: (B, T) events from each to the last; below 0 marks padding.
        """
        queries, keys, values = self._split(asking.unsqueeze(1), memory)
        passed = self._along(buckets).double().cumsum(1)
        whole = (passed * (ages == 0).unsqueeze(-1)).sum(1, keepdim=True)
        left = (whole - passed).masked_fill((ages < 0).unsqueeze(-1), -math.inf).float().exp()
        shares = (queries * keys).sum(-1) * left / math.sqrt(HEAD)
        return self._combined((shares.unsqueeze(-1) * values).sum(1))

    def _split(self, asking: Tensor, memory: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        made = self.query(asking), self.key(memory), self.value(memory)
        queries, keys, values = (split_heads(x, self.heads) for x in made)
        return queries, keys, values

    def _along(self, buckets: Tensor) -> Tensor:
        """Return (B, T, H), the logarithm of the decay before each event."""
        decays: Tensor = self.decay()
        return decays.index_select(1, buckets.reshape(-1)).T.reshape(*buckets.shape, self.heads)

    def _combined(self, mixed: Tensor) -> Tensor:
        """Return (..., D) from what the heads read (..., H, E), which is held small and never made large.

        A norm that makes it large too would multiply what was left of events that are long forgotten.
        """
        held = mixed * torch.rsqrt(mixed.square().mean(-1, keepdim=True) + 1.0)
        combined: Tensor = self.combine(held.flatten(-2))
        return combined


def retain(queries: Tensor, keys: Tensor, values: Tensor, decays: Tensor, kept: Tensor) -> tuple[Tensor, Tensor]:
    """Read events behind what is kept: `kept = exp(decay) * kept + key value^T`, asked by `query kept / sqrt(E)`.

    Args:
        queries: (B, T, H, E), as are `keys` and `values`.
        keys: of the events.
        values: of the events.
        decays: (B, T, H) logarithms, before each event.
        kept: (B, H, E, E).

    Returns:
        (B, T, H, E), and what is kept after the last event.
    """
    # Sums over a thousand events; in float32 a difference of two would be wrong by a thousandth.
    passed = decays.double().cumsum(1).transpose(1, 2)
    ahead = torch.ones(decays.shape[1], decays.shape[1], dtype=torch.bool).triu(1)
    left = (passed.unsqueeze(3) - passed.unsqueeze(2)).masked_fill(ahead, -math.inf).to(keys.dtype).exp()
    q, k, v = (x.transpose(1, 2) for x in (queries, keys, values))
    whole = passed.unsqueeze(3).to(keys.dtype).exp()
    mixed = torch.matmul(torch.matmul(q, k.transpose(2, 3)) * left, v) + torch.matmul(q, kept) * whole
    after = torch.matmul((k * left[:, :, -1].unsqueeze(3)).transpose(2, 3), v) + kept * whole[:, :, -1:]
    return mixed.transpose(1, 2) / math.sqrt(HEAD), after


class RetentionBlock(nn.Module):
    """Retention, then a feed-forward layer, each with a gated residual."""

    def __init__(self, shape: Shape, drop: Dropout) -> None:
        super().__init__()
        self.drop = drop
        self.norm = nn.LayerNorm(shape.width)
        self.retention = Retention(shape)
        self.gate = nn.Linear(shape.width, shape.width)
        self.feed = FeedForward(shape.width, drop)

    def packed(self, x: Tensor, stream: Stream) -> Tensor:
        """Return the next (N, D) of a packed stream."""
        normed = self.norm(x)
        return self._finish(x, normed, self.retention.packed(normed, normed, stream))

    def forward(self, x: Tensor, buckets: Tensor, kept: Tensor) -> tuple[Tensor, Tensor]:
        """Return the next (B, T, D) and (B, H, E, E) what is kept; see `Retention.forward`."""
        normed = self.norm(x)
        mixed, kept = self.retention(normed, normed, buckets, kept)
        return self._finish(x, normed, mixed), kept

    def _finish(self, x: Tensor, normed: Tensor, mixed: Tensor) -> Tensor:
        finished: Tensor = self.feed(self.drop.add_gated(x, self.gate(normed), mixed))
        return finished


class RetentionEncoder(nn.Module):
    """The encoder with retention. `packed`, `forward` and `step` compute one function."""

    def __init__(self, shape: Shape, drop: Dropout) -> None:
        super().__init__()
        self.shape = shape
        self.drop = drop
        self.events = EventInput(shape.width, len(shape.types))
        self.blocks = nn.ModuleList(RetentionBlock(shape, drop) for _ in range(shape.layers))

    def packed(self, x: Tensor, stream: Stream) -> Tensor:
        """Encode a packed stream: (N, D) embedded events to (N, D) states."""
        x = self.drop(x)
        for block in self.blocks:
            assert isinstance(block, RetentionBlock)
            x = block.packed(x, stream)
        return x

    def forward(self, x: Tensor, times: Tensor) -> tuple[Tensor, Tensor]:
        """Encode every prefix of padded histories.

        Args:
            x: (B, T, D) embedded events, padded on the right with anything finite.
            times: (B, T) int64 microseconds.

        Returns:
            states (B, T, D): place t holds the state after events 0..t and knows nothing later; padding means nothing.
            kept (B, L, H, E, E) after the last place, padding or not: what `step` continues from.
        """
        kept = x.new_zeros(x.shape[0], self.shape.layers, self.shape.retention_heads, HEAD, HEAD)
        return self.step(x, kept, times, times[:, 0])

    def step(self, x: Tensor, kept: Tensor, times: Tensor, last: Tensor) -> tuple[Tensor, Tensor]:
        """Encode n new events behind what is kept.

        Args:
            x: (B, n, D) embedded events, oldest first.
            kept: (B, L, H, E, E) of earlier events, zeros for none.
            times: (B, n) int64 microseconds.
            last: (B,) int64 microseconds of the event before them; any time where there is none.

        Returns:
            states (B, n, D) and what is kept then.
        """
        buckets = gap_buckets(times, last)
        after = []
        for number, block in enumerate(self.blocks):
            x, of_layer = block(x, buckets, kept[:, number])
            after.append(of_layer)
        return x, torch.stack(after, dim=1)


def gap_buckets(times: Tensor, last: Tensor) -> Tensor:
    """Return (B, T) the bucket of the time between each event (B, T) and the one before it; before the first (B,)."""
    return time_buckets(times, torch.cat([last.unsqueeze(1), times[:, :-1]], dim=1))


class RetentionQuery(nn.Module):
    """Asks what was kept of the states, at a time, then a feed-forward layer; in the place of `Query`."""

    def __init__(self, shape: Shape, drop: Dropout) -> None:
        super().__init__()
        width = shape.width
        self.drop = drop
        self.time = RequestTime(width)
        self.query_norm = nn.LayerNorm(width)
        self.memory_norm = nn.LayerNorm(width)
        self.retention = Retention(shape)
        self.gate = nn.Linear(width, width)
        self.feed = FeedForward(width, drop)
        self.start = nn.Parameter(torch.zeros(width))
        self.out_norm = nn.LayerNorm(width)

    def packed(self, states: Tensor, times: Tensor, requests: Tensor, stream: Stream) -> Tensor:
        """Ask at every place of a packed stream: (N, D) states, (N,) times and requests, to (N, D)."""
        asking = states + self.time(requests, times)
        normed = self.query_norm(asking)
        return self._finish(asking, normed, self.retention.packed(normed, self.memory_norm(states), stream))

    def forward(self, states: Tensor, times: Tensor, ages: Tensor, requests: Tensor) -> Tensor:
        """Return the user vectors; see `Query.forward`, but that slots stand oldest first, the empty ones last."""
        last = ages == 0
        state = (states * last.unsqueeze(-1).to(states.dtype)).sum(1)
        asking = state + self.time(requests, torch.where(last, times, torch.zeros_like(times)).sum(1))
        normed = self.query_norm(asking)
        mixed = self.retention.last(normed, self.memory_norm(states), gap_buckets(times, times[:, 0]), ages)
        return torch.where(last.any(1, keepdim=True), self._finish(asking, normed, mixed), self.beginning())

    def beginning(self) -> Tensor:
        """Return (1, D), the vector of a user without a history."""
        began: Tensor = self.out_norm(self.start).unsqueeze(0)
        return began

    def _finish(self, asking: Tensor, normed: Tensor, mixed: Tensor) -> Tensor:
        finished: Tensor = self.out_norm(self.feed(self.drop.add_gated(asking, self.gate(normed), mixed)))
        return finished
