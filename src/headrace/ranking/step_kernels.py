"""The encoder for the newest events alone, and the query, on the kept states of many users.

What was computed of each event, the keys and the values of every layer, stands in a slot; slots come in pages of
`PAGE`, and a user's pages are a ring: the event at place p stands in slot p modulo S, so that a new one takes the slot
of one that no later event reads. Keys of a page lie with its slots side by side, values with their numbers side by
side, so that both are read as vectors.

Shapes: N pages, R rows (new events), B requests, S slots of a ring, L layers (the query is one more), D width, H heads,
W window.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from headrace.core.compiled import Whole, exponential, fused
from headrace.core.time_buckets import UNKNOWN_BUCKET, request_bucket, time_bucket
from headrace.data.log import Floats, Ints, Longs
from headrace.ranking.layer_kernels import add_gated, gelu, layer_norm, linear
from headrace.ranking.processor import CACHE_LINE, Stored, narrowed, prefetch, widened

PAGE = 16
"""Slots of a page."""

_AHEAD = 4
"""Pages that are asked for before they are read. A user's states are cold: half of the time would go into waiting."""
_HOUR_US = 3_600_000_000
_HIDDEN = np.float32(-3e38)

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


class Pages(NamedTuple):
    """The kept states of all users; a user is known by the number of their first page, their seat.

    Args:
        rows: (N, L + 1, 2, D * PAGE) keys and values.
        times: (N, PAGE) int64 microseconds of the events.
        tables: (N, S / PAGE) the pages of each seat.
        states: (N, D) what the encoder says after the last event of each seat.
    """

    rows: Stored
    times: Longs
    tables: Ints
    states: Floats


class NewEvents(NamedTuple):
    """Events to be read: at most `PAGE` of one seat, a seat's own in order of their places.

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


class Sight(NamedTuple):
    """What a place sees of each slot: `ages` (S,) in events, and `buckets` (S,) of the time passed."""

    ages: Longs
    buckets: Longs


@fused
def extend(weights: Weights, pages: Pages, events: NewEvents) -> None:
    """Read new events: their keys, values and times go into their slots, and each seat's last state is set anew."""
    x = _embedded(weights, events)
    layers = weights.squares.shape[0] - 1
    slots = pages.tables.shape[1] * PAGE
    for row in range(len(x)):
        slot = events.places[row] % slots
        pages.times[pages.tables[events.seats[row], slot // PAGE], slot % PAGE] = events.times[row]
    ages, buckets = np.empty((len(x), slots), np.int64), np.empty((len(x), slots), np.int64)
    for row in range(len(x)):
        _look(pages, (events.seats[row], events.places[row]), events.times[row], Sight(ages[row], buckets[row]))
    for layer in range(layers):
        normed = layer_norm(x, weights.attention_norms[layer])
        _keep(normed, layer, weights, pages, events)
        queries = linear(normed, weights.squares[layer, QUERY], weights.square_biases[layer, QUERY])
        for row in range(len(x)):
            sight = Sight(ages[row], buckets[row])
            _attend(queries[row], layer, weights, pages, (events.seats[row], events.places[row]), sight)
        _finish(x, normed, queries, layer, weights)
    _keep(layer_norm(x, weights.memory_norm), layers, weights, pages, events)
    for row in range(len(x)):
        pages.states[events.seats[row]] = x[row]


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
    sight = Sight(np.empty(slots, np.int64), np.empty(slots, np.int64))
    for row in range(len(seats)):
        if places[row] >= 0:
            _look(pages, (seats[row], places[row]), requests[row], sight)
            if requests[row] < 0:
                sight.buckets[:] = UNKNOWN_BUCKET
            _attend(queries[row], layer, weights, pages, (seats[row], places[row]), sight)
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
def _look(pages: Pages, where: tuple[np.int32, np.int64], time: np.int64, sight: Sight) -> None:
    """Write what a place sees at a time; a slot without an event has some age and bucket too."""
    seat, place = where
    table = pages.tables[seat]
    slots = len(table) * PAGE
    newest = place % slots
    for number in range(_pages_read(place, slots)):
        times = pages.times[table[number]]
        for slot in range(PAGE):
            age = newest - number * PAGE - slot
            sight.ages[number * PAGE + slot] = age + slots if age < 0 else age
            sight.buckets[number * PAGE + slot] = time_bucket(time, times[slot])


@fused
def _pages_read(place: np.int64, slots: Whole) -> Whole:
    """Return how many pages hold what the event at a place may read."""
    return (min(place + 1, slots) + PAGE - 1) // PAGE


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
def _attend(
    query: Floats, layer: Whole, weights: Weights, pages: Pages, where: tuple[np.int32, np.int64], sight: Sight
) -> None:
    """Put in the place of a query (D,) what its place reads, (D,)."""
    seat, place = where
    table = pages.tables[seat]
    count = _pages_read(place, len(table) * PAGE)
    by_age, by_time = weights.by_age[layer], weights.by_time[layer]
    scores = np.zeros((by_age.shape[0], count * PAGE), np.float32)
    for number in range(-_AHEAD, count):
        if number + _AHEAD < count:
            _fetch(pages.rows, table[number + _AHEAD], layer, 0)
        if number >= 0:
            _fetch(pages.rows, table[number], layer, 1)
            keys = pages.rows[table[number], layer, 0].reshape(query.shape[0], PAGE)
            _compare(query, keys, scores, number * PAGE)
    for head in range(len(scores)):
        _to_shares(scores[head], sight, by_age[head], by_time[head])
    query[:] = 0
    for number in range(count):
        values = pages.rows[table[number], layer, 1].reshape(PAGE, query.shape[0])
        _mix(scores, number * PAGE, values, query)


@fused
def _fetch(rows: Stored, page: np.int32, layer: Whole, kind: Whole) -> None:
    """Ask for the keys (0) or the values (1) of a page."""
    first = ((page * rows.shape[1] + layer) * rows.shape[2] + kind) * rows.shape[3]
    step = CACHE_LINE // rows.itemsize
    for number in range(rows.shape[3] // step):
        prefetch(rows, first + number * step)


@fused
def _compare(query: Floats, keys: Stored, scores: Floats, start: Whole) -> None:
    """Add the products of the query (D,) and the keys of a page (D, PAGE) to scores (H, n) from `start` on."""
    size = len(query) // len(scores)
    whole = size - size % 4
    for head in range(len(scores)):
        found, first = scores[head, start : start + PAGE], head * size
        for d in range(first, first + whole, 4):
            q0, q1, q2, q3 = query[d], query[d + 1], query[d + 2], query[d + 3]
            k0, k1, k2, k3 = keys[d], keys[d + 1], keys[d + 2], keys[d + 3]
            for slot in range(PAGE):
                near = q0 * widened(k0[slot]) + q1 * widened(k1[slot])
                found[slot] += near + (q2 * widened(k2[slot]) + q3 * widened(k3[slot]))
        for d in range(first + whole, first + size):
            for slot in range(PAGE):
                found[slot] += query[d] * widened(keys[d, slot])


@fused
def _to_shares(scores: Floats, sight: Sight, by_age: Floats, by_time: Floats) -> None:
    """Turn the scores of a head (n,) into shares that sum to 1, 0 for a slot outside the window.

    A slot without an event is outside too: it lies at most 15 places ahead, and seen round the ring that is an age of
    at least the window.
    """
    top, window = _HIDDEN, len(by_age)
    for slot in range(len(scores)):
        age = sight.ages[slot]
        biased = scores[slot] + by_age[min(age, window - 1)] + by_time[sight.buckets[slot]]
        scores[slot] = biased if age < window else _HIDDEN
        top = max(top, scores[slot])
    total = np.float32(0)
    for slot in range(len(scores)):
        power = exponential(scores[slot] - top)
        scores[slot] = power if sight.ages[slot] < window else np.float32(0)
        total += scores[slot]
    for slot in range(len(scores)):
        scores[slot] /= total


@fused
def _mix(shares: Floats, start: Whole, values: Stored, mixed: Floats) -> None:
    """Add the values of a page (PAGE, D), in the shares (H, n) from `start` on, to what is mixed (D,)."""
    size = len(mixed) // len(shares)
    for head in range(len(shares)):
        of_head, first = mixed[head * size : head * size + size], head * size
        for slot in range(0, PAGE, 4):
            s0, s1 = shares[head, start + slot], shares[head, start + slot + 1]
            s2, s3 = shares[head, start + slot + 2], shares[head, start + slot + 3]
            if s0 + s1 + s2 + s3 == 0:
                continue
            v0, v1, v2, v3 = values[slot], values[slot + 1], values[slot + 2], values[slot + 3]
            for d in range(size):
                near = s0 * widened(v0[first + d]) + s1 * widened(v1[first + d])
                of_head[d] += near + (s2 * widened(v2[first + d]) + s3 * widened(v3[first + d]))


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
