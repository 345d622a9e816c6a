"""Attention over a packed stream: histories of any length one behind the other, without padding.

Each place reads the few places before it in a loop. Cut into blocks and multiplied as matrices, the same took seven
times as long for histories of 7 events, and 1.4 times as long where 100 events are read (docs/log.md).

Shapes: N places, H heads, D width, W window, M pairs of a place and one that it reads.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from headrace.core.compiled import exponential, fused
from headrace.core.time_buckets import request_bucket
from headrace.model.attention import RelativeBias
from headrace.model.gradients import Gradients, differentiable
from headrace.model.parts import Floats, Longs, Part, floats, in_parts, parts_of


class Stream(NamedTuple):
    """Who reads whom in a packed stream, (N,) int64 each.

    Args:
        times: microseconds.
        asked: microseconds, when each place is asked, -1 for unknown.
        begins: the first place that each place reads; the last is itself.
        ends: one past the last place that reads it.
        pairs: the number of its first pair, counted through the stream.
    """

    times: Longs
    asked: Longs
    begins: Longs
    ends: Longs
    pairs: Longs

    @classmethod
    def of(cls, times: Tensor, segments: Tensor, window: int) -> Stream:
        """Lay out a stream whose places are asked at their own time.

        Args:
            times: (N,) int64 microseconds.
            segments: (N,) int64 ascending, a number per history; a place reads its own history only.
            window: W.
        """
        number, moments = segments.numpy(), times.numpy()
        places = np.arange(len(number))
        begins = np.maximum(np.searchsorted(number, number, side="left"), places - window + 1)
        ends = np.minimum(np.searchsorted(number, number, side="right"), places + window)
        counts = places - begins + 1
        return cls(moments, moments, begins, ends, np.cumsum(counts) - counts)

    def at(self, requests: Tensor) -> Stream:
        """Return the same stream asked at other times, (N,) int64 microseconds, -1 for unknown."""
        return self._replace(asked=requests.numpy())


def attend_packed(queries: Tensor, keys: Tensor, values: Tensor, bias: RelativeBias, stream: Stream) -> Tensor:
    """Softmax attention, as `attend`, of queries, keys and values (N, D) to (N, D)."""
    (mixed,) = differentiable(_Attention(stream), queries, keys, values, bias.age, bias.time)
    return mixed


class _Attention:
    """The operation over one stream."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream

    def __call__(
        self, queries: Tensor, keys: Tensor, values: Tensor, age: Tensor, time: Tensor
    ) -> tuple[tuple[Tensor], Gradients]:
        stream, parts = self.stream, parts_of(len(queries))
        inputs = tuple(floats(queries, keys, values))
        tables = tuple(floats(age, time))
        pairs = int(stream.pairs[-1] + len(queries) - stream.begins[-1]) if len(queries) else 0
        mixed = torch.empty(queries.shape)
        outputs = (*floats(mixed), np.empty((len(age), pairs), np.float32))
        in_parts(_mix, parts, stream, inputs, tables, outputs)

        def gradients(grad: Tensor) -> tuple[Tensor, ...]:
            by_input = [torch.empty(queries.shape) for _ in inputs]
            by_table = [torch.zeros(len(parts), *table.shape) for table in (age, time)]
            upwards = (*floats(grad), np.empty_like(outputs[1]))
            found = floats(*by_input)
            in_parts(_to_queries, parts, stream, (*inputs, *outputs), upwards, (found[0], *floats(*by_table)))
            in_parts(_to_memory, parts, stream, inputs[0], (outputs[1], *upwards), tuple(found[1:]))
            return (*by_input, *(table.sum(0) for table in by_table))

        return (mixed,), gradients


@fused
def _mix(
    part: Part,
    stream: Stream,
    inputs: tuple[Floats, Floats, Floats],
    tables: tuple[Floats, Floats],
    outputs: tuple[Floats, Floats],
) -> None:
    """Write what each place reads, and (H, M) the weight of each pair."""
    queries, keys, values = inputs
    by_age, by_time = tables
    mixed, weights = outputs
    heads = len(by_age)
    size = queries.shape[1] // heads
    scale = np.float32(1.0 / math.sqrt(size))
    for place in range(part.start, part.stop):
        begin, pair = stream.begins[place], stream.pairs[place] - stream.begins[place]
        for head in range(heads):
            first = head * size
            top = np.float32(-np.inf)
            for other in range(begin, place + 1):
                score = np.float32(0.0)
                for e in range(size):
                    score += queries[place, first + e] * keys[other, first + e]
                bucket = request_bucket(stream.asked[place], stream.times[other])
                score = score * scale + by_age[head, place - other] + by_time[head, bucket]
                weights[head, pair + other] = score
                top = score if score > top else top
            total = np.float32(0.0)
            for other in range(begin, place + 1):
                weight = exponential(weights[head, pair + other] - top)
                weights[head, pair + other] = weight
                total += weight
            for e in range(size):
                mixed[place, first + e] = np.float32(0.0)
            for other in range(begin, place + 1):
                weight = weights[head, pair + other] / total
                weights[head, pair + other] = weight
                for e in range(size):
                    mixed[place, first + e] += weight * values[other, first + e]


@fused
def _to_queries(
    part: Part,
    stream: Stream,
    forward: tuple[Floats, Floats, Floats, Floats, Floats],
    upwards: tuple[Floats, Floats],
    found: tuple[Floats, Floats, Floats],
) -> None:
    """Write the gradient of the scaled products (H, M) and of the queries; add up those of the tables."""
    _, keys, values, mixed, weights = forward
    grad, by_product = upwards
    by_query, by_age, by_time = found
    heads = len(weights)
    size = keys.shape[1] // heads
    scale = np.float32(1.0 / math.sqrt(size))
    for place in range(part.start, part.stop):
        begin, pair = stream.begins[place], stream.pairs[place] - stream.begins[place]
        for head in range(heads):
            first = head * size
            mean = np.float32(0.0)
            for e in range(size):
                mean += grad[place, first + e] * mixed[place, first + e]
                by_query[place, first + e] = np.float32(0.0)
            for other in range(begin, place + 1):
                product = np.float32(0.0)
                for e in range(size):
                    product += grad[place, first + e] * values[other, first + e]
                by_score = weights[head, pair + other] * (product - mean)
                by_age[part.number, head, place - other] += by_score
                by_time[part.number, head, request_bucket(stream.asked[place], stream.times[other])] += by_score
                by_score *= scale
                by_product[head, pair + other] = by_score
                for e in range(size):
                    by_query[place, first + e] += by_score * keys[other, first + e]


@fused
def _to_memory(
    part: Part,
    stream: Stream,
    queries: Floats,
    upwards: tuple[Floats, Floats, Floats],
    found: tuple[Floats, Floats],
) -> None:
    """Write the gradients of the keys and the values, each from the places that read it."""
    weights, grad, by_product = upwards
    by_key, by_value = found
    heads = len(weights)
    size = queries.shape[1] // heads
    for place in range(part.start, part.stop):
        for head in range(heads):
            first = head * size
            for e in range(size):
                by_key[place, first + e] = np.float32(0.0)
                by_value[place, first + e] = np.float32(0.0)
            for reader in range(place, stream.ends[place]):
                pair = stream.pairs[reader] + place - stream.begins[reader]
                weight, by_score = weights[head, pair], by_product[head, pair]
                for e in range(size):
                    by_key[place, first + e] += by_score * queries[reader, first + e]
                    by_value[place, first + e] += weight * grad[reader, first + e]
