"""The encoder for the newest events alone, and the query, on the kept states of many users (`page_kernels.py`).

Shapes: R rows (new events), B requests, S slots of a ring, L layers (the query is one more), D width, H heads,
W window.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from headrace.core.compiled import Whole, fused
from headrace.core.time_buckets import UNKNOWN_BUCKET
from headrace.data.log import Floats, Ints, Longs
from headrace.ranking.layer_kernels import add_gated, layer_norm, linear
from headrace.ranking.page_kernels import attend, attend_together, look
from headrace.ranking.processor import narrowed
from headrace.ranking.state_kernels import PAGE, Common, NewEvents, Pages, answered, asking, embedded, feed

_TOGETHER = 32
"""Events of one seat that are compared together: those of a longer history would look at many pages that come later."""

QUERY, KEY, VALUE, GATE, COMBINE = range(5)
"""The order of a layer's square matrices."""


class Weights(NamedTuple):
    """The network; its matrices are (in, out), and a pair of rows is weight and bias of a layer norm.

    Args:
        common: all that no mixer is part of.
        attention_norms: (L + 1, 2, D).
        squares: (L + 1, 5, D, D), see `QUERY`; `square_biases` (L + 1, 5, D).
        by_age: (L + 1, H, W).
        by_time: (L + 1, H, buckets).
    """

    common: Common
    attention_norms: Floats
    squares: Floats
    square_biases: Floats
    by_age: Floats
    by_time: Floats


@fused
def extend(weights: Weights, pages: Pages, events: NewEvents) -> None:
    """Read new events: their keys, values and times go into their slots, and each seat's last state is set anew."""
    x = embedded(weights.common, events)
    layers = weights.squares.shape[0] - 1
    slots = pages.tables.shape[1] * PAGE
    for row in range(len(x)):
        slot = events.places[row] % slots
        pages.times[pages.tables[events.seats[row], slot // PAGE], slot % PAGE] = events.times[row]
    ends = _ends(events.seats)
    for layer in range(layers):
        normed = layer_norm(x, weights.attention_norms[layer])
        _keep(normed, layer, weights, pages, events)
        queries = linear(normed, weights.squares[layer, QUERY], weights.square_biases[layer, QUERY])
        _attend_all(queries, layer, weights, pages, events, ends)
        _finish(x, normed, queries, layer, weights)
    _keep(layer_norm(x, weights.common.memory_norm), layers, weights, pages, events)
    for row in range(len(x)):
        pages.states[events.seats[row]] = x[row]


@fused
def _attend_all(queries: Floats, layer: Whole, weights: Weights, pages: Pages, events: NewEvents, ends: Longs) -> None:
    """Put in the place of queries (R, D) what the places of the events read."""
    biases, slots, first = (weights.by_age[layer], weights.by_time[layer]), pages.tables.shape[1] * PAGE, 0
    ages, buckets = np.empty((_TOGETHER, slots), np.int64), np.empty((_TOGETHER, slots), np.int64)
    while first < len(queries):
        end = ends[first]
        seat, newest, n = events.seats[first], events.places[end - 1], end - first
        for row in range(n):
            place, time = events.places[first + row], events.times[first + row]
            look(pages, (seat, place, newest), time, (ages[row], buckets[row]))
        if n == 1:
            attend(queries[first], layer, pages, (seat, newest), ((ages[0], buckets[0]), biases))
        else:
            attend_together(queries[first:end], layer, pages, (seat, newest), ((ages[:n], buckets[:n]), biases))
        first = end


@fused
def _ends(seats: Ints) -> Longs:
    """Return (R,) where the rows end that are compared together: those of one seat, `_TOGETHER` at most."""
    ends, first = np.empty(len(seats), np.int64), 0
    for row in range(len(seats)):
        if row + 1 == len(seats) or seats[row + 1] != seats[row] or row + 1 - first == _TOGETHER:
            ends[first : row + 1] = row + 1
            first = row + 1
    return ends


@fused
def ask(weights: Weights, pages: Pages, seats: Ints, places: Longs, requests: Longs) -> Floats:
    """Return (B, D) user vectors.

    Args:
        weights: of the network.
        pages: the kept states.
        seats: (B,).
        places: (B,) of the last event of each seat; below 0 for a user without a history.
        requests: (B,) int64 microseconds; below 0 for a hidden time.
    """
    layer = weights.squares.shape[0] - 1
    slots = pages.tables.shape[1] * PAGE
    lasts = np.zeros(len(seats), np.int64)
    for row in range(len(seats)):
        if places[row] >= 0:
            slot = places[row] % slots
            lasts[row] = pages.times[pages.tables[seats[row], slot // PAGE], slot % PAGE]
    x = asking(weights.common, pages.states, (seats, places), lasts, requests)
    normed = layer_norm(x, weights.attention_norms[layer])
    queries = linear(normed, weights.squares[layer, QUERY], weights.square_biases[layer, QUERY])
    biases = weights.by_age[layer], weights.by_time[layer]
    ages, buckets = np.empty(slots, np.int64), np.empty(slots, np.int64)
    for row in range(len(seats)):
        if places[row] >= 0:
            look(pages, (seats[row], places[row], places[row]), requests[row], (ages, buckets))
            if requests[row] < 0:
                buckets[:] = UNKNOWN_BUCKET
            attend(queries[row], layer, pages, (seats[row], places[row]), ((ages, buckets), biases))
    _finish(x, normed, queries, layer, weights)
    return answered(weights.common, x, places)


@fused
def _keep(normed: Floats, layer: Whole, weights: Weights, pages: Pages, events: NewEvents) -> None:
    """Write the keys and the values of a layer into the events' slots."""
    keys = linear(normed, weights.squares[layer, KEY], weights.square_biases[layer, KEY])
    values = linear(normed, weights.squares[layer, VALUE], weights.square_biases[layer, VALUE])
    slots, width = pages.tables.shape[1] * PAGE, normed.shape[1]
    like = pages.rows[0, 0, 0, 0]
    for row in range(len(normed)):
        slot = events.places[row] % slots
        page = pages.tables[events.seats[row], slot // PAGE]
        kept_keys = pages.rows[page, layer, 0].reshape(width, PAGE)
        kept_values = pages.rows[page, layer, 1].reshape(PAGE, width)
        for d in range(width):
            kept_keys[d, slot % PAGE] = narrowed(keys[row, d], like)
            kept_values[slot % PAGE, d] = narrowed(values[row, d], like)


@fused
def _finish(x: Floats, normed: Floats, mixed: Floats, layer: Whole, weights: Weights) -> None:
    """Add what was read, and the feed-forward layer, to x (R, D)."""
    gates = linear(normed, weights.squares[layer, GATE], weights.square_biases[layer, GATE])
    add_gated(x, gates, linear(mixed, weights.squares[layer, COMBINE], weights.common.nothing))
    feed(x, layer, weights.common)
