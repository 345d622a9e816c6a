"""The encoder: events in, one state per event out, in parallel or one at a time.

Pre-norm blocks with gated residuals, x + sigmoid(gate(norm(x))) * sublayer(norm(x)), as in LiGR (Borisyuk et al. 2025).

Shapes: B histories, T events, N packed events, n new events, S slots of a cache, D width, L layers.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from headrace.core.formats import Shape
from headrace.data.values import VALUE_KNOTS
from headrace.model.attention import Layout, RelativeBias, attend, padded_layout, split_heads
from headrace.model.dropout import Dropout
from headrace.model.packed import Stream, attend_packed

Cut = Callable[[Tensor, int], Tensor]


class EventInput(nn.Module):
    """Item vector, type and value of an event to one vector."""

    def __init__(self, width: int, types: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(float(width) ** 0.5))
        self.type_vectors = nn.Parameter(torch.zeros(types + 1, width))
        self.value_vectors = nn.Parameter(torch.zeros(VALUE_KNOTS + 1, width))
        self.norm = nn.LayerNorm(width)

    def forward(self, items: Tensor, types: Tensor, values: Tensor) -> Tensor:
        """Return (..., D) from item vectors (..., D), type indices (...) and values (...): 0..1, below 0 for none.

        A type that was unknown when the model was trained reads as the last row.
        """
        known = self.type_vectors.shape[0] - 1
        rows = torch.where((types < 0) | (types > known), known, types)
        place = values.clamp(0.0, 1.0).unsqueeze(-1) * (VALUE_KNOTS - 1)
        hats = (1.0 - (place - torch.arange(VALUE_KNOTS)).abs()).clamp(min=0.0)
        has = (values >= 0).unsqueeze(-1).to(hats.dtype)
        weights = torch.cat([hats * has, 1.0 - has], dim=-1)
        embedded: Tensor = self.norm(
            items * self.scale + F.embedding(rows, self.type_vectors) + weights @ self.value_vectors
        )
        return embedded


class Block(nn.Module):
    """Attention, then a feed-forward layer, each with a gated residual."""

    def __init__(self, width: int, heads: int, window: int, drop: Dropout) -> None:
        super().__init__()
        self.heads = heads
        self.drop = drop
        self.bias = RelativeBias(heads, window)
        self.attention_norm = nn.LayerNorm(width)
        # One layer each: as one wide layer that is split, the gradient must be put together again (a fifth of a step).
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.gate = nn.Linear(width, width)
        self.combine = nn.Linear(width, width, bias=False)
        self.feed = FeedForward(width, drop)

    def forward(self, x: Tensor, layout: Layout, memory: Cut) -> tuple[Tensor, Tensor, Tensor]:
        """Return the next (B, n, D), and the keys and the values (B, n, D) of the events in `x`.

        Args:
            x: (B, n, D) events.
            layout: who reads whom.
            memory: for 0 the keys, for 1 the values: takes those of `x` (B, n, D) to all that they may read, (B, K, D).
        """
        normed = self.attention_norm(x)
        keys, values = self.key(normed), self.value(normed)
        mixed = attend(
            split_heads(self.query(normed), self.heads),
            split_heads(memory(keys, 0), self.heads),
            split_heads(memory(values, 1), self.heads),
            self.bias(layout),
        )
        return self._finish(x, normed, mixed), keys, values

    def packed(self, x: Tensor, stream: Stream) -> Tensor:
        """Return the next (N, D) of a packed stream."""
        normed = self.attention_norm(x)
        mixed = attend_packed(self.query(normed), self.key(normed), self.value(normed), self.bias, stream)
        return self._finish(x, normed, mixed)

    def _finish(self, x: Tensor, normed: Tensor, mixed: Tensor) -> Tensor:
        finished: Tensor = self.feed(self.drop.add_gated(x, self.gate(normed), self.combine(mixed)))
        return finished


class FeedForward(nn.Module):
    """Two layers with a GELU between them, and a gated residual."""

    def __init__(self, width: int, drop: Dropout) -> None:
        super().__init__()
        self.drop = drop
        self.norm = nn.LayerNorm(width)
        self.expand = nn.Linear(width, 2 * width)
        self.gate = nn.Linear(width, width)
        self.contract = nn.Linear(2 * width, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return (..., D) from (..., D)."""
        normed = self.norm(x)
        fed = self.contract(F.gelu(self.expand(normed)))
        return self.drop.add_gated(x, self.gate(normed), fed)


class Encoder(nn.Module):
    """The causal Transformer. `packed`, `forward` and `step` compute one function."""

    def __init__(self, shape: Shape, drop: Dropout) -> None:
        super().__init__()
        self.shape = shape
        self.drop = drop
        self.events = EventInput(shape.width, len(shape.types))
        self.blocks = nn.ModuleList(Block(shape.width, shape.heads, shape.window, drop) for _ in range(shape.layers))

    def packed(self, x: Tensor, stream: Stream) -> Tensor:
        """Encode a packed stream: (N, D) embedded events to (N, D) states."""
        x = self.drop(x)
        for block in self.blocks:
            assert isinstance(block, Block)
            x = block.packed(x, stream)
        return x

    def forward(self, x: Tensor, times: Tensor) -> tuple[Tensor, Tensor]:
        """Encode every prefix of padded histories.

        Args:
            x: (B, T, D) embedded events, padded on the right with anything finite.
            times: (B, T) int64 microseconds.

        Returns:
            states (B, T, D): place t holds the state after events 0..t and knows nothing later; padding means nothing.
            caches (B, L, 2, T, D): keys and values, what `step` continues from.
        """
        layout = padded_layout(times, self.shape.window)
        caches = []
        for block in self.blocks:
            x, keys, values = block(x, layout, _same)
            caches.append(torch.stack([keys, values], dim=1))
        return x, torch.stack(caches, dim=1)

    def step(self, x: Tensor, slots: Tensor, layout: Layout) -> tuple[Tensor, Tensor]:
        """Encode n new events behind cached ones.

        Args:
            x: (B, n, D) embedded events, oldest first.
            slots: (B, L, 2, S, D) keys and values of earlier events, in any order.
            layout: from `step_layout`.

        Returns:
            states (B, n, D) and the new keys and values (B, L, 2, n, D).
        """
        caches = []
        for number, block in enumerate(self.blocks):
            of_layer = slots[:, number]
            x, keys, values = block(x, layout, lambda new, kind, of=of_layer: torch.cat([of[:, kind], new], dim=1))
            caches.append(torch.stack([keys, values], dim=1))
        return x, torch.stack(caches, dim=1)


def _same(x: Tensor, _: int) -> Tensor:
    return x
