"""What the compiled steps of both mixers share: kept states, new events, and the layers that no mixer is part of.

Shapes: N pages, R rows (new events), B requests, S slots of a ring, L layers (the query is one more), D width; for
retention H heads of E numbers.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from headrace.core.compiled import Whole, inlined
from headrace.core.time_buckets import request_bucket
from headrace.data.log import Floats, Ints, Longs
from headrace.ranking.layer_kernels import add_gated, gelu, layer_norm, linear
from headrace.ranking.processor import Stored

PAGE = 16
"""Slots of a page."""
_HOUR_US = 3_600_000_000


class Common(NamedTuple):
    """The weights that no mixer is part of; matrices are (in, out), a pair of rows is weight and bias of a layer norm.

    Args:
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


class Pages(NamedTuple):
    """The kept states of all users; a user is known by the number of their first page, their seat.

    Args:
        rows: attention: (N, L + 1, 2, D * PAGE) keys and values; retention: (N, L + 1, H, E * E) matrices.
        times: int64 microseconds; attention: (N, PAGE) of the events; retention: (N, 1) of the last event.
        tables: the pages of each seat; attention: (N, S / PAGE); retention: (N, 1).
        states: (N, D) what the encoder says after the last event of each seat.
    """

    rows: Stored
    times: Longs
    tables: Ints
    states: Floats


class NewEvents(NamedTuple):
    """Events to be read, a seat's own side by side and in order of their places.

    Of a seat whose slots have all been written they are at most `PAGE`: another one would take the slot of one that is
    read.

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


@inlined
def embedded(weights: Common, events: NewEvents) -> Floats:
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


@inlined
def asking(weights: Common, states: Floats, whom: tuple[Ints, Longs], lasts: Longs, requests: Longs) -> Floats:
    """Return (B, D), what the query asks with; `start` for a user without a history.

    Args:
        weights: of the network.
        states: (N, D) what the encoder says after the last event of each seat.
        whom: seats (B,), and the places of their last events (B,); below 0 for a user without a history.
        lasts: (B,) int64 microseconds of those events.
        requests: (B,) int64 microseconds; below 0 for a hidden time.
    """
    seats, places = whom
    x = np.empty((len(seats), weights.start.shape[0]), np.float32)
    for row in range(len(seats)):
        if places[row] < 0:
            x[row] = weights.start
            continue
        x[row] = states[seats[row]] + weights.gaps[request_bucket(requests[row], lasts[row])]
        hours = requests[row] // _HOUR_US
        x[row] += weights.hours[hours % 24 if requests[row] >= 0 else 24]
        x[row] += weights.days[hours // 24 % 7 if requests[row] >= 0 else 7]
    return x


@inlined
def answered(weights: Common, x: Floats, places: Longs) -> Floats:
    """Return (B, D) user vectors from what the query has found, x (B, D)."""
    for row in range(len(places)):
        if places[row] < 0:
            x[row] = weights.start
    return layer_norm(x, weights.out_norm)


@inlined
def feed(x: Floats, layer: Whole, weights: Common) -> None:
    """Add the feed-forward layer to x (R, D)."""
    normed = layer_norm(x, weights.feed_norms[layer])
    wide = linear(normed, weights.expand[layer], weights.expand_biases[layer])
    gelu(wide)
    gates = linear(normed, weights.feed_gates[layer], weights.feed_gate_biases[layer])
    add_gated(x, gates, linear(wide, weights.contract[layer], weights.nothing))
