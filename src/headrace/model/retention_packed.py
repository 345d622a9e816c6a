"""Retention over a packed stream: histories of any length one behind the other, without padding.

One recurrence computes all: what is kept decays and takes in a product of a key and a value, and is asked. Read
backwards, the same gives the gradients of keys and values, so that nothing is remembered of any place.

Shapes: N places, H heads of `HEAD` numbers, I = H * HEAD.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from headrace.core.compiled import Whole, fused
from headrace.core.formats import RETENTION_HEAD as HEAD
from headrace.core.time_buckets import time_bucket
from headrace.model.gradients import Gradients, differentiable
from headrace.model.packed import Stream
from headrace.model.parts import Floats, Part, floats, in_parts, parts_of

_SCALE = np.float32(1.0 / math.sqrt(HEAD))


def retain_packed(queries: Tensor, keys: Tensor, values: Tensor, decays: Tensor, stream: Stream) -> Tensor:
    """Return (N, I), what each place reads of its own history, as `retain` does.

    Args:
        queries: (N, I), as are `keys` and `values`.
        keys: of every place.
        values: of every place.
        decays: (H, buckets) logarithms.
        stream: in which every place reads its whole history.
    """
    (mixed,) = differentiable(_Retention(stream), queries, keys, values, decays)
    return mixed


class _Way(NamedTuple):
    """Through the places from `first` on in steps of 1 or -1; `shift` from a place to the decay before it is read."""

    first: Whole
    step: Whole
    shift: Whole


class _Retention:
    """The operation over one stream."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream

    def __call__(
        self, queries: Tensor, keys: Tensor, values: Tensor, decays: Tensor
    ) -> tuple[tuple[Tensor], Gradients]:
        stream, parts = self.stream, _parts(len(decays), len(queries))
        asked, known, worth = floats(queries, keys, values)
        along = np.zeros((len(decays), len(queries) + 1), np.float32)
        in_parts(_spread, parts, stream, *floats(decays.exp()), along)
        forwards, backwards = _Way(0, 1, 0), _Way(len(queries) - 1, -1, 1)
        mixed = torch.empty(queries.shape)
        in_parts(_retain, parts, forwards, along, asked, (known, worth), *floats(mixed))

        def gradients(grad: Tensor) -> tuple[Tensor, ...]:
            (above,) = floats(grad)
            found = [torch.empty(queries.shape) for _ in range(3)]
            by_query, by_key, by_value = floats(*found)
            in_parts(_retain, parts, forwards, along, above, (worth, known), by_query)
            in_parts(_retain, parts, backwards, along, worth, (above, asked), by_key)
            in_parts(_retain, parts, backwards, along, known, (asked, above), by_value)
            by_decay = torch.zeros(decays.shape)
            in_parts(_to_decays, parts, stream, (asked, by_query), (known, by_key), *floats(by_decay))
            return (*found, by_decay)

        return (mixed,), gradients


def _parts(heads: int, places: int) -> list[Part]:
    """Share out heads to threads: the places of a head are read one after the other."""
    count = min(heads, len(parts_of(places)))
    return [Part(number, heads * number // count, heads * (number + 1) // count) for number in range(count)]


@fused
def _spread(part: Part, stream: Stream, decays: Floats, along: Floats) -> None:
    """Write to (H, N + 1) the decay before each place, 0 where a history begins or ends."""
    for head in range(part.start, part.stop):
        for place in range(len(stream.times)):
            if stream.begins[place] < place:
                bucket = time_bucket(stream.times[place], stream.times[place - 1])
                along[head, place] = decays[head, bucket]


@fused
def _retain(part: Part, way: _Way, along: Floats, asked: Floats, taken: tuple[Floats, Floats], out: Floats) -> None:
    """Write for each place (N, I) what is kept up to it of the products of `taken`, asked with `asked`."""
    keys, values = taken
    kept, told, value = np.empty((HEAD, HEAD), np.float32), np.empty(HEAD, np.float32), np.empty(HEAD, np.float32)
    for head in range(part.start, part.stop):
        first = head * HEAD
        kept[:] = 0
        place = way.first
        for _ in range(len(asked)):
            decay = along[head, place + way.shift]
            for j in range(HEAD):
                value[j], told[j] = values[place, first + j], np.float32(0)
            for i in range(0, HEAD, 4):  # four rows in one loop take a third of the time of one
                e = first + i
                k0, k1, k2, k3 = keys[place, e], keys[place, e + 1], keys[place, e + 2], keys[place, e + 3]
                q0, q1, q2, q3 = asked[place, e], asked[place, e + 1], asked[place, e + 2], asked[place, e + 3]
                r0, r1, r2, r3 = kept[i], kept[i + 1], kept[i + 2], kept[i + 3]
                for j in range(HEAD):
                    n0, n1 = decay * r0[j] + k0 * value[j], decay * r1[j] + k1 * value[j]
                    n2, n3 = decay * r2[j] + k2 * value[j], decay * r3[j] + k3 * value[j]
                    r0[j], r1[j], r2[j], r3[j] = n0, n1, n2, n3
                    told[j] += q0 * n0 + q1 * n1 + (q2 * n2 + q3 * n3)
            for j in range(HEAD):
                out[place, first + j] = told[j] * _SCALE
            place += way.step


@fused
def _to_decays(
    part: Part, stream: Stream, queries: tuple[Floats, Floats], keys: tuple[Floats, Floats], by_decay: Floats
) -> None:
    """Add up the gradient of the decays' logarithms (H, buckets) from queries and keys, each with its gradient.

    A decay acts on all that is read from its place on of what was kept before it: what queries from there on have to do
    with anything, but for what keys from there on have to do with it.
    """
    for head in range(part.start, part.stop):
        since = 0.0
        for place in range(len(stream.times) - 1, -1, -1):
            read = np.float32(0)
            for e in range(head * HEAD, head * HEAD + HEAD):
                read += queries[0][place, e] * queries[1][place, e] - keys[0][place, e] * keys[1][place, e]
            since += np.float64(read)
            if stream.begins[place] < place:
                by_decay[head, time_bucket(stream.times[place], stream.times[place - 1])] += np.float32(since)
            else:
                since = 0.0
