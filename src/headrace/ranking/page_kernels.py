"""Attention over the kept states of users, which stand in pages of slots.

What was computed of each event, the keys and the values of every layer, stands in a slot; slots come in pages of
`PAGE`, and a user's pages are a ring: the event at place p stands in slot p modulo S, so that a new one takes the slot
of one that no later event reads. Keys of a page lie with its slots side by side, values with their numbers side by
side, so that both are read as vectors.

Shapes: N pages, S slots of a ring, L layers (the query is one more), D width, H heads, W window.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np

from headrace.core.compiled import Whole, exponential, fused
from headrace.core.time_buckets import time_bucket
from headrace.data.log import Floats, Longs
from headrace.ranking.processor import CACHE_LINE, Stored, prefetch, widened
from headrace.ranking.state_kernels import PAGE, Pages

Sight: TypeAlias = tuple[Longs, Longs]
"""What a place sees of each slot, (S,) each: its age in events, and the bucket of the time passed."""
Sights: TypeAlias = tuple[Longs, Longs]
"""Those of several places, (n, S) each."""
Biases: TypeAlias = tuple[Floats, Floats]
"""Added to the score of a slot: (H, W) by age and (H, buckets) by time."""

_AHEAD = 4
"""Pages that are asked for before they are read. A user's states are cold: half of the time would go into waiting."""
_TOGETHER = 8
"""Pages whose keys are compared with several queries at once: short loops take several times as long."""
_HIDDEN = np.float32(-3e38)


@fused
def look(pages: Pages, where: tuple[np.int32, np.int64, np.int64], time: np.int64, sight: Sight) -> None:
    """Write what a place of a seat sees at a time, (S,) each, in all that the newest place may read.

    A slot without an event is as old as the ring is long.
    """
    seat, place, newest = where
    table = pages.tables[seat]
    slots = len(table) * PAGE
    own, (ages, buckets) = place % slots, sight
    for number in range(_pages_read(newest, slots)):
        times = pages.times[table[number]]
        for slot in range(PAGE):
            age = own - number * PAGE - slot
            age += slots if age < 0 else 0
            ages[number * PAGE + slot] = age if age <= place else slots
            buckets[number * PAGE + slot] = time_bucket(time, times[slot])


@fused
def _pages_read(place: np.int64, slots: Whole) -> Whole:
    """Return how many pages hold what the event at a place may read."""
    return (min(place + 1, slots) + PAGE - 1) // PAGE


@fused
def attend(
    query: Floats, layer: Whole, pages: Pages, where: tuple[np.int32, np.int64], seen: tuple[Sight, Biases]
) -> None:
    """Put in the place of a query (D,) what its place reads, (D,)."""
    seat, place = where
    table = pages.tables[seat]
    count = _pages_read(place, len(table) * PAGE)
    sight, biases = seen
    scores = np.zeros((len(biases[0]), count * PAGE), np.float32)
    for number in range(-_AHEAD, count):
        if number + _AHEAD < count:
            _fetch(pages.rows, table[number + _AHEAD], layer, 0)
        if number >= 0:
            _fetch(pages.rows, table[number], layer, 1)
            keys = pages.rows[table[number], layer, 0].reshape(query.shape[0], PAGE)
            _compare(query, keys, scores, number * PAGE)
    for head in range(len(scores)):
        _to_shares(scores[head], sight, (biases[0][head], biases[1][head]))
    query[:] = 0
    for number in range(count):
        values = pages.rows[table[number], layer, 1].reshape(PAGE, query.shape[0])
        _mix(scores, number * PAGE, values, query)


@fused
def attend_together(
    queries: Floats, layer: Whole, pages: Pages, where: tuple[np.int32, np.int64], seen: tuple[Sights, Biases]
) -> None:
    """Put in the place of queries (n, D), of one seat's last places up to `where`, what each place reads, (n, D)."""
    seat, place = where
    table, width = pages.tables[seat], queries.shape[1]
    count = _pages_read(place, len(table) * PAGE)
    sights, biases = seen
    scores = np.zeros((len(queries), len(biases[0]), count * PAGE), np.float32)
    keys, values = np.empty((width, _TOGETHER * PAGE), np.float32), np.empty((PAGE, width), np.float32)
    for start in range(-_TOGETHER, count, _TOGETHER):
        end = min(start + _TOGETHER, count)
        for number in range(start, end):
            if number + _TOGETHER < count:
                _fetch(pages.rows, table[number + _TOGETHER], layer, 0)
            if number >= 0:
                _fetch(pages.rows, table[number], layer, 1)
                _widen(pages.rows[table[number], layer, 0].reshape(width, PAGE), keys, (number - start) * PAGE)
        if start >= 0:
            _compare_together(queries, keys, scores, (start * PAGE, end * PAGE))
    for row in range(len(queries)):
        for head in range(scores.shape[1]):
            sight = sights[0][row], sights[1][row]
            _to_shares(scores[row, head], sight, (biases[0][head], biases[1][head]))
    queries[:] = 0
    for number in range(count):
        _widen(pages.rows[table[number], layer, 1].reshape(PAGE, width), values, 0)
        _mix_together(scores, number * PAGE, values, queries)


@fused
def _widen(stored: Stored, wide: Floats, start: Whole) -> None:
    """Write stored numbers (a, b) in full precision into the columns of `wide` from `start` on."""
    for row in range(len(stored)):
        for column in range(stored.shape[1]):
            wide[row, start + column] = widened(stored[row, column])


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
def _compare_together(queries: Floats, keys: Floats, scores: Floats, where: tuple[Whole, Whole]) -> None:
    """Add the products of queries (n, D) and keys (D, m or more) to the m scores (n, H, ...) of these slots."""
    (start, end), heads = where, scores.shape[1]
    size = queries.shape[1] // heads
    whole = size - size % 4
    for head in range(heads):
        first = head * size
        for d in range(first, first + whole, 4):
            k0, k1, k2, k3 = keys[d], keys[d + 1], keys[d + 2], keys[d + 3]
            for row in range(len(queries)):
                q0, q1, q2, q3 = queries[row, d], queries[row, d + 1], queries[row, d + 2], queries[row, d + 3]
                found = scores[row, head, start:end]
                for slot in range(len(found)):
                    found[slot] += (q0 * k0[slot] + q1 * k1[slot]) + (q2 * k2[slot] + q3 * k3[slot])
        for d in range(first + whole, first + size):
            for row in range(len(queries)):
                for slot in range(end - start):
                    scores[row, head, start + slot] += queries[row, d] * keys[d, slot]


@fused
def _to_shares(scores: Floats, sight: Sight, biases: Biases) -> None:
    """Turn the scores of a head (n,) into shares that sum to 1, 0 for a slot outside the window."""
    (ages, buckets), (by_age, by_time) = sight, biases
    top, window = _HIDDEN, len(by_age)
    for slot in range(len(scores)):
        age = ages[slot]
        biased = scores[slot] + by_age[min(age, window - 1)] + by_time[buckets[slot]]
        scores[slot] = biased if age < window else _HIDDEN
        top = max(top, scores[slot])
    total = np.float32(0)
    for slot in range(len(scores)):
        power = exponential(scores[slot] - top)
        scores[slot] = power if ages[slot] < window else np.float32(0)
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
def _mix_together(shares: Floats, start: Whole, values: Floats, mixed: Floats) -> None:
    """Add the values of a page (PAGE, D), in the shares (n, H, m) from `start` on, to what is mixed (n, D)."""
    heads = shares.shape[1]
    size = mixed.shape[1] // heads
    for slot in range(0, PAGE, 4):
        v0, v1, v2, v3 = values[slot], values[slot + 1], values[slot + 2], values[slot + 3]
        for row in range(len(mixed)):
            for head in range(heads):
                of_head, first = mixed[row, head * size : head * size + size], head * size
                s0, s1 = shares[row, head, start + slot], shares[row, head, start + slot + 1]
                s2, s3 = shares[row, head, start + slot + 2], shares[row, head, start + slot + 3]
                for d in range(size):
                    near = s0 * v0[first + d] + s1 * v1[first + d]
                    of_head[d] += near + (s2 * v2[first + d] + s3 * v3[first + d])
