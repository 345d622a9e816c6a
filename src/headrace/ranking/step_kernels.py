"""The encoder for the newest events alone, and the query, on the kept states of many users (`page_kernels.py`).

Shapes: R rows (new events), B requests, S slots of a ring, L layers (the query is one more), D width, H heads,
W window.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from headrace.core.compiled import Whole, fused
from headrace.core.time_buckets import UNKNOWN_BUCKET, request_bucket
from headrace.data.log import Floats, Ints, Longs
from headrace.ranking.layer_kernels import add_gated, gelu, layer_norm, linear
from headrace.ranking.page_kernels import PAGE, Pages, attend, attend_together, look
from headrace.ranking.processor import narrowed

_HOUR_US = 3_600_000_000
_TOGETHER = 32
"""Events of one seat that are compared together: those of a longer history would look at many pages that come later."""

QUERY, KEY, VALUE, GATE, COMBINE = range(5)
"""The order of a layer's square matrices."""


class Weights(NamedTuple):
    """The network; its matrices are (in, out), and a pair of rows is weight and bias of a layer norm.

    Args:
        attention_norms: (L + 1, 2, D).
        squares: (L + 1, 5, D, D), see `QUERY`; `square_biases` (L + 1, 5, D).
        by_age: (L + 1, H, W).
        by_time: (L + 1, H, buckets).
        feed_norms: (L + 1, 2, D).
        expand: (L + 1, D, 2 D); `expand_biases` (L + 1, 2 D).
        feed_gates: (L + 1, D, D); `feed_gate_biases` (L + 1, D).
        contract: (L + 1, 2 D, D).
        nothing: (D,) zeros.
        types: (types + 1, D), the last for one that the network does not know.
        values: (knots + 1, D), the last for no value.
        scale: (1,) of the item's vector.
        event_norm: (2, D).
        memory_norm: (2, D) of the states that the query reads.
        out_norm: (2, D) of the user vector.
        start: (D,) the user vector without a history.
        gaps: (buckets, D); `hours` (25, D) and `days` (8, D), the last of each for a hidden time.
    """

    attention_norms: Floats
    squares: Floats
    square_biases: Floats
    by_age: Floats
    by_time: Floats
    feed_norms: Floats
    expand: Floats
    expand_biases: Floats
    feed_gates: Floats
    feed_gate_biases: Floats
    contract: Floats
    nothing: Floats
    types: Floats
    values: Floats
    scale: Floats
    event_norm: Floats
    memory_norm: Floats
    out_norm: Floats
    start: Floats
    gaps: Floats
    hours: Floats
    days: Floats


class NewEvents(NamedTuple):
    """Events to be read, a seat's own side by side and in order of their places.

    Of a seat whose ring has been full they are at most `PAGE`: another one would take the slot of one that is read.

    Args:
        seats: (R,).
        places: (R,) counted from 0 for the first event of the seat.
        items: (R, D) input vectors.
        types: (R,) the network's type, below 0 for one that it does not know.
        values: (R,) 0..1, below 0 for none.
        times: (R,) int64 microseconds.
    """

    seats: Ints
    places: Longs
    items: Floats
    types: Ints
    values: Floats
    times: Longs


@fused
def extend(weights: Weights, pages: Pages, events: NewEvents) -> None:
    """Read new events: their keys, values and times go into their slots, and each seat's last state is set anew."""
    x = _embedded(weights, events)
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
    _keep(layer_norm(x, weights.memory_norm), layers, weights, pages, events)
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
    x = np.empty((len(seats), weights.start.shape[0]), np.float32)
    for row in range(len(seats)):
        if places[row] < 0:
            x[row] = weights.start
            continue
        slot = places[row] % slots
        last = pages.times[pages.tables[seats[row], slot // PAGE], slot % PAGE]
        x[row] = pages.states[seats[row]] + weights.gaps[request_bucket(requests[row], last)]
        hours = requests[row] // _HOUR_US
        x[row] += weights.hours[hours % 24 if requests[row] >= 0 else 24]
        x[row] += weights.days[hours // 24 % 7 if requests[row] >= 0 else 7]
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
    for row in range(len(seats)):
        if places[row] < 0:
            x[row] = weights.start
    return layer_norm(x, weights.out_norm)


@fused
def _embedded(weights: Weights, events: NewEvents) -> Floats:
    """Return (R, D) item, type and value as one vector; see `model.encoder.EventInput`."""
    x = np.empty_like(events.items)
    unknown, knots = len(weights.types) - 1, len(weights.values) - 1
    for row in range(len(x)):
        kind, value = events.types[row], events.values[row]
        by_type = weights.types[kind if 0 <= kind < unknown else unknown]
        place = min(value, np.float32(1)) * np.float32(knots - 1)
        below = min(int(place), knots - 2) if value >= 0 else knots
        part = place - np.float32(below) if value >= 0 else np.float32(0)
        low, high = weights.values[below], weights.values[min(below + 1, knots)]
        for d in range(x.shape[1]):
            by_value = low[d] * (np.float32(1) - part) + high[d] * part
            x[row, d] = events.items[row, d] * weights.scale[0] + by_type[d] + by_value
    return layer_norm(x, weights.event_norm)


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
    add_gated(x, gates, linear(mixed, weights.squares[layer, COMBINE], weights.nothing))
    normed = layer_norm(x, weights.feed_norms[layer])
    wide = linear(normed, weights.expand[layer], weights.expand_biases[layer])
    gelu(wide)
    gates = linear(normed, weights.feed_gates[layer], weights.feed_gate_biases[layer])
    add_gated(x, gates, linear(wide, weights.contract[layer], weights.nothing))
