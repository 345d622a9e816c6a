"""The encoder with retention for the newest events alone, and the query, on the kept matrices of many users.

What is kept of a user is a matrix for each head of each layer, the time of the last event and the state after it: one
page, which an event changes as a whole, in float32: half precision would round at each question, and the errors add up
(docs/log.md).

Shapes: N pages, R rows (new events), B requests, L layers (the query is one more), D width, H heads of E numbers,
I = H * E.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from headrace.core.compiled import Whole, fused
from headrace.core.formats import RETENTION_HEAD as HEAD
from headrace.core.time_buckets import time_bucket
from headrace.data.log import Floats, Ints, Longs
from headrace.ranking.layer_kernels import add_gated, layer_norm, linear
from headrace.ranking.processor import CACHE_LINE, Stored, prefetch
from headrace.ranking.state_kernels import Common, NewEvents, Pages, answered, asking, embedded, feed

_SCALE = np.float32(1.0 / math.sqrt(HEAD))

QUERY, KEY, VALUE = range(3)
"""The order of what is made of an event in each layer."""


class RetentionWeights(NamedTuple):
    """The network; its matrices are (in, out), and a pair of rows is weight and bias of a layer norm.

    Args:
        common: all that no mixer is part of.
        norms: (L + 1, 2, D).
        made: (L + 1, 3, D, I), see `QUERY`; `made_biases` (L + 1, 3, I).
        decays: (L + 1, H, buckets) what is left at an event after so much time.
        gates: (L + 1, D, D); `gate_biases` (L + 1, D).
        combine: (L + 1, I, D).
    """

    common: Common
    norms: Floats
    made: Floats
    made_biases: Floats
    decays: Floats
    gates: Floats
    gate_biases: Floats
    combine: Floats


@fused
def extend(weights: RetentionWeights, pages: Pages, events: NewEvents) -> None:
    """Read new events into each seat's matrices and set its last state and time anew."""
    for row in range(len(events.seats)):
        if row == 0 or events.seats[row] != events.seats[row - 1]:
            _fetch(pages.rows, events.seats[row])
    x = embedded(weights.common, events)
    layers = weights.norms.shape[0] - 1
    buckets = _buckets(pages, events)
    for layer in range(layers):
        normed = layer_norm(x, weights.norms[layer])
        queries = linear(normed, weights.made[layer, QUERY], weights.made_biases[layer, QUERY])
        _take_in(normed, layer, weights, pages.rows, (events, buckets), queries)
        _finish(x, normed, queries, layer, weights)
    memory = layer_norm(x, weights.common.memory_norm)
    nobody = np.zeros((len(x), weights.made.shape[3]), np.float32)  # asks yet, see `ask`
    _take_in(memory, layers, weights, pages.rows, (events, buckets), nobody)
    for row in range(len(x)):
        pages.states[events.seats[row]] = x[row]
        pages.times[events.seats[row], 0] = events.times[row]


@fused
def ask(weights: RetentionWeights, pages: Pages, seats: Ints, places: Longs, requests: Longs) -> Floats:
    """Return (B, D) user vectors.

    Args:
        weights: of the network.
        pages: the kept states.
        seats: (B,).
        places: (B,) of the last event of each seat; below 0 for a user without a history.
        requests: (B,) int64 microseconds; below 0 for a hidden time.
    """
    layer = weights.norms.shape[0] - 1
    lasts = np.zeros(len(seats), np.int64)
    for row in range(len(seats)):
        lasts[row] = pages.times[seats[row], 0]
    x = asking(weights.common, pages.states, (seats, places), lasts, requests)
    normed = layer_norm(x, weights.norms[layer])
    queries = linear(normed, weights.made[layer, QUERY], weights.made_biases[layer, QUERY])
    for row in range(len(seats)):
        if places[row] >= 0:
            _tell(pages.rows[seats[row], layer], queries[row])
    _finish(x, normed, queries, layer, weights)
    return answered(weights.common, x, places)


@fused
def _buckets(pages: Pages, events: NewEvents) -> Longs:
    """Return (R,) the bucket of the time between each event and the one before it."""
    buckets = np.empty(len(events.seats), np.int64)
    for row in range(len(events.seats)):
        goes_on = row > 0 and events.seats[row] == events.seats[row - 1]
        before = events.times[row - 1] if goes_on else pages.times[events.seats[row], 0]
        buckets[row] = time_bucket(events.times[row], before)
    return buckets


@fused
def _take_in(
    normed: Floats,
    layer: Whole,
    weights: RetentionWeights,
    rows: Stored,
    read: tuple[NewEvents, Longs],
    queries: Floats,
) -> None:
    """Change the matrices of a layer by events, and put in the place of each query (R, I) what its event reads."""
    events, buckets = read
    keys = linear(normed, weights.made[layer, KEY], weights.made_biases[layer, KEY])
    values = linear(normed, weights.made[layer, VALUE], weights.made_biases[layer, VALUE])
    told, value = np.empty(HEAD, np.float32), np.empty(HEAD, np.float32)
    for row in range(len(keys)):
        kept = rows[events.seats[row], layer]
        for head in range(len(kept)):
            decay, flat, first = weights.decays[layer, head, buckets[row]], kept[head], head * HEAD
            for j in range(HEAD):
                told[j], value[j] = np.float32(0), values[row, first + j]
            for i in range(0, HEAD, 4):  # four rows in one loop take a third of the time of one
                e = first + i
                k0, k1, k2, k3 = keys[row, e], keys[row, e + 1], keys[row, e + 2], keys[row, e + 3]
                q0, q1, q2, q3 = queries[row, e], queries[row, e + 1], queries[row, e + 2], queries[row, e + 3]
                r0, r1, r2, r3 = _row(flat, i), _row(flat, i + 1), _row(flat, i + 2), _row(flat, i + 3)
                for j in range(HEAD):
                    n0, n1 = decay * r0[j] + k0 * value[j], decay * r1[j] + k1 * value[j]
                    n2, n3 = decay * r2[j] + k2 * value[j], decay * r3[j] + k3 * value[j]
                    r0[j], r1[j], r2[j], r3[j] = n0, n1, n2, n3
                    told[j] += q0 * n0 + q1 * n1 + (q2 * n2 + q3 * n3)
            _hold(told, queries[row], first)


@fused
def _tell(kept: Stored, query: Floats) -> None:
    """Put in the place of a query (I,) what it reads of the matrices (H, E * E)."""
    told = np.empty(HEAD, np.float32)
    for head in range(len(kept)):
        told[:] = 0
        for i in range(HEAD):
            asked, row = query[head * HEAD + i], _row(kept[head], i)
            for j in range(HEAD):
                told[j] += asked * row[j]
        _hold(told, query, head * HEAD)


@fused
def _row(flat: Stored, i: Whole) -> Stored:
    return flat[i * HEAD : i * HEAD + HEAD]


@fused
def _hold(told: Floats, query: Floats, first: Whole) -> None:
    """Write over a query (I,), from `first` on, what it was told (E,), held small; see `model.retention.Retention`."""
    square = np.float32(0)
    for j in range(HEAD):
        told[j] *= _SCALE
        square += told[j] * told[j]
    factor = np.float32(1) / np.sqrt(square / np.float32(HEAD) + np.float32(1))
    for j in range(HEAD):
        query[first + j] = told[j] * factor


@fused
def _fetch(rows: Stored, seat: np.int32) -> None:
    """Ask for all the matrices of a seat."""
    size = rows.shape[1] * rows.shape[2] * rows.shape[3]
    step = CACHE_LINE // rows.itemsize
    for number in range(size // step):
        prefetch(rows, seat * size + number * step)


@fused
def _finish(x: Floats, normed: Floats, mixed: Floats, layer: Whole, weights: RetentionWeights) -> None:
    """Add what was read, and the feed-forward layer, to x (R, D)."""
    gates = linear(normed, weights.gates[layer], weights.gate_biases[layer])
    add_gated(x, gates, linear(mixed, weights.combine[layer], weights.common.nothing))
    feed(x, layer, weights.common)
