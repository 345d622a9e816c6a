"""From one history to the candidates and the parts of their scores, compiled; `ranking/sources.py` says what each is.

Nothing passes over the catalogue: all that a request has to do with stands in a table of a few thousand items.
Shapes: V items (row 0 is padding), B requests, N events of all histories, D width, C content width, P parts.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from headrace.core.compiled import Whole, compiled, fused, inlined
from headrace.data.log import Bools, Floats, Ints, Longs
from headrace.ranking.byte_rows import ByteRows
from headrace.ranking.count_kernels import Pool, log_of, read_strongest
from headrace.ranking.head_kernels import HEAD
from headrace.ranking.item_table import ItemTable, count_of, empty_table, places_of, settle
from headrace.ranking.largest import items_of, key_of, largest_of_row, select
from headrace.ranking.processor import CACHE_LINE, prefetch

# A history is scored by its last events only: weights below one in a hundred changed NDCG@10 on amazon-beauty by
# 0.00001 in 0.055, and a basket of hundreds of items would cost milliseconds.
LONGEST_SCORED = 100
SMALLEST_WEIGHT = np.float32(0.01)

REMEMBERED = 5000
"""Last events of a history that count as habit."""
HABIT_EVENTS = 100
"""An item met this many events ago counts half as much for the habit as one just met."""
LIKED_BY_CONTENT = 5
"""Last events of a history whose contents an item is compared with."""

# Of the log-sum-exp of cosines times 5 or 10, their maximum and the cosine to the mean of 5 or 50, this was the best
# on both ties of amazon-beauty between the cuts: NDCG@10 of the blend from 0.069 to 0.074, and from 0.079 to 0.083.
CONTENT_SHARPNESS = 10.0
"""Cosines to the contents of the last events are summed as exp(10 cosine), so that the nearest counts most."""

# It lifts NDCG@10 between the cuts of movietweetings-100k from 0.1206 to 0.1263, and on the groceries from 0.0633 to
# 0.0640 with repeats and from 0.0076 to 0.0099 without them; 1 and 10 instead of 100 lift it less.
TRENDING_EVENTS = 100
"""Added to an item's events over all time, of which the part `trending` takes the share of the last week."""

_SOURCES = 7
_AHEAD = 8
"""Items by which vectors are asked for before they are read: in a large catalogue each waits for the memory."""
P = 10
ENCODER, COUNTS, POPULARITY, CONTENT, REPEAT, RECENT, LAST, ASSOCIATION, TRENDING, OTHER = range(P)
WAYS = (COUNTS, LAST, ASSOCIATION)
"""The parts that follow from the transitions, in the order of the columns of `ItemTable.sums`."""
BROUGHT, BANNED = 1, 2
"""Flags of an item of the table: a source brought it; the rules forbid it."""
_UNKNOWN = np.float32(-np.inf)


class Known(NamedTuple):
    """What is known of every item, by index; arrays of more than V + 1 rows are read no further.

    Args:
        pool: the transition counts.
        rarity: (V + 1,) 1 / sqrt(events + 1).
        popular: (V + 1,) log popularity.
        recent: (V + 1,) log popularity within a week.
        totals: (V + 1,) events over all time.
        leaders: the most popular items, best first.
        risers: those of the week.
        outputs: (rows, D) the encoder's vectors; no rows without one.
        contents: (rows, C) what items say, of unit length or zero; no rows without.
    """

    pool: Pool
    rarity: Floats
    popular: Floats
    recent: Floats
    totals: Ints
    leaders: Ints
    risers: Ints
    outputs: ByteRows
    contents: ByteRows


class Knobs(NamedTuple):
    """How candidates are found.

    Args:
        candidates: that each source may bring.
        decays: (3,) of the weights of a history's events, for each of `counts`, `last` and `association`.
        scales: (3,) of a count inside the logarithm, for each of them.
        popularity_weight: of log popularity beside `counts`.
    """

    candidates: int
    decays: Floats
    scales: Floats
    popularity_weight: np.float32


class Asked(NamedTuple):
    """B requests, their histories end to end.

    Args:
        bounds: (B + 1,) request b has the events bounds[b]:bounds[b + 1].
        items: (N,) of the events, oldest first.
        times: (N,) microseconds.
        repeats: (B,) whether the list may hold what was met.
        users: (B, D) the encoder's vectors; no rows where `encoded` has them.
        encoded: (B, V + 1) the encoder's scores of all items; no rows where `users` has rows, or without an encoder.
        near: (B, n) the items nearest to each user, best first, 0 for none; read where `users` has rows.
    """

    bounds: Longs
    items: Ints
    times: Longs
    repeats: Bools
    users: Floats
    encoded: Floats
    near: Ints


class Past(NamedTuple):
    """What one history is to its list.

    Args:
        met: how many distinct items its last `REMEMBERED` events have: the first of the table.
        habit: (met,) the strength of the habit of each.
        just: (met,) whether it was met in the last moment.
        liked: (l, C) what the items of the last events say, those that say something.
    """

    met: Whole
    habit: Floats
    just: Bools
    liked: Floats


def most_items(candidates: int) -> int:
    """Return how many items a request may have to do with whose sources may bring so many."""
    return LONGEST_SCORED * HEAD + REMEMBERED + _SOURCES * candidates


@compiled
def look_back(known: Known, knobs: Knobs, asked: Asked, place: Whole, table: ItemTable) -> Past:
    """Return what a history is to its list, and fill an empty table with what was met and what it leads to.

    The sums of an item are the three parts of `WAYS`.
    """
    rows, weights = _weigh(knobs, asked, place)
    events = min(asked.bounds[place + 1] - asked.bounds[place], REMEMBERED)
    empty_table(table, len(rows) * HEAD + events + _SOURCES * (knobs.candidates + events))
    past = _recall(known, asked, place, table)
    _follow(known, knobs, (rows, weights), table)
    return past


@compiled
def _recall(known: Known, asked: Asked, place: Whole, table: ItemTable) -> Past:
    end, n_items = asked.bounds[place + 1], len(known.popular)
    begin = max(asked.bounds[place], end - REMEMBERED)
    strength, just = np.zeros(end - begin, np.float64), np.zeros(end - begin, np.bool_)
    items, times, basket_end = asked.items[begin:end].copy(), asked.times, end
    for event in range(len(items)):
        if not 0 < items[event] < n_items:
            items[event] = 0
    places = settle(table, items, len(items))
    for event in range(end - 1, begin - 1, -1):
        if event + 1 < end and times[event] != times[event + 1]:
            basket_end = event + 1
        which = places[event - begin]
        if which < 0:
            continue
        strength[which] += HABIT_EVENTS / (HABIT_EVENTS + np.float64(end - basket_end))
        just[which] |= basket_end == end
    met = count_of(table)
    habit = np.empty(met, np.float32)
    for which in range(met):
        habit[which] = np.log1p(strength[which])
    contents, scales = known.contents.numbers, known.contents.scales
    liked, said = np.empty((LIKED_BY_CONTENT, contents.shape[1]), np.float32), 0
    for event in range(max(begin, end - LIKED_BY_CONTENT), end):
        item = asked.items[event]
        if item < len(scales) and scales[item] > 0:
            for c in range(liked.shape[1]):
                liked[said, c] = contents[item, c] * scales[item]
            said += 1
    return Past(met, habit, just[:met], liked[:said])


@compiled
def _follow(known: Known, knobs: Knobs, history: tuple[Ints, Floats], table: ItemTable) -> None:
    """Sum what a history leads to, in three ways."""
    rows, weights = history
    columns, counts = np.empty(HEAD + 1, np.int32), np.empty(HEAD + 1, np.float32)
    gains = np.empty((3, HEAD), np.float32)
    n_items = len(known.popular)
    for each in range(len(rows)):
        live = read_strongest(known.pool, rows[each], n_items, columns, counts)
        rarity = known.rarity[rows[each]] if rows[each] < n_items else np.float32(0)
        for way in range(3):
            weight, scale = weights[each, way], knobs.scales[way] * (rarity if way == 2 else np.float32(1))
            if weight == 0:
                for slot in range(live):
                    gains[way, slot] = 0
                continue
            for slot in range(live):
                gains[way, slot] = scale * counts[slot]
            if way == 2:
                for slot in range(live):
                    gains[way, slot] *= known.rarity[columns[slot]]
            for slot in range(live):
                gains[way, slot] = weight * log_of(np.float32(1) + gains[way, slot])
        places, sums = settle(table, columns, live), table.sums
        for slot in range(live):
            for way in range(3):
                sums[places[slot], way] += gains[way, slot]


@compiled
def _weigh(knobs: Knobs, asked: Asked, place: Whole) -> tuple[Ints, Floats]:
    """Return the distinct items of the last events, and the summed weights (n, 3) of each.

    j counts the events that come after the basket of an event, so that a basket shares one weight decay ** j.
    """
    end = asked.bounds[place + 1]
    begin = max(asked.bounds[place], end - LONGEST_SCORED)
    rows, weights = np.empty(end - begin, np.int32), np.zeros((end - begin, 3), np.float32)
    n, basket_end = 0, end
    for event in range(end - 1, begin - 1, -1):
        if event + 1 < end and asked.times[event] != asked.times[event + 1]:
            basket_end = event + 1
        later = np.float32(end - basket_end)
        if max(knobs.decays[0], knobs.decays[1], knobs.decays[2]) ** later < SMALLEST_WEIGHT:
            break
        which = 0
        while which < n and rows[which] != asked.items[event]:
            which += 1
        if which == n:
            rows[n] = asked.items[event]
            n += 1
        for way in range(3):
            power = np.float32(knobs.decays[way] ** later)
            if power >= SMALLEST_WEIGHT:
                weights[which, way] += power
    return rows[:n], weights[:n]


@compiled
def find(known: Known, knobs: Knobs, asked: Asked, request: tuple[Whole, Past], table: ItemTable) -> Ints:
    """Return the places (n,) in the table of the candidates, each once: what each source likes best.

    Args:
        known: of the items.
        knobs: how many.
        asked: the requests.
        request: which of them, and its past.
        table: as `look_back` has left it.
    """
    place, past = request
    repeats, led_to = asked.repeats[place], count_of(table)
    # What the user has met must not take the places of what may be listed.
    n = knobs.candidates + (0 if repeats else past.met)
    brought = np.empty(_SOURCES * n, np.int32)
    count = _bring(known.leaders, min(n, len(known.leaders)), table, brought, np.int64(0))
    count = _bring(known.risers, min(n, len(known.risers)), table, brought, count)
    keys, sums = np.empty(led_to, np.uint64), table.sums
    for way in range(3):
        some: Whole = np.int64(0)
        for each in range(led_to):
            keys[some] = key_of(sums[each, way], table.items[each])
            some += sums[each, way] > 0
        some = select(keys, some, n)
        count = _bring(items_of(keys, some), some, table, brought, count)
    if len(asked.users):
        count = _bring(asked.near[place], min(n, asked.near.shape[1]), table, brought, count)
    elif len(asked.encoded):
        every = np.empty(asked.encoded.shape[1], np.uint64)
        some = largest_of_row(asked.encoded[place], n, _UNKNOWN, every)
        count = _bring(items_of(every, some), some, table, brought, count)
    if repeats:
        for each in range(past.met):
            keys[each] = key_of(past.habit[each], table.items[each])
        some = select(keys, past.met, n)
        count = _bring(items_of(keys, some), some, table, brought, count)
    return brought[:count]


@compiled
def _bring(items: Ints, some: Whole, table: ItemTable, brought: Ints, count: Whole) -> Whole:
    """Add the places of the first items to those brought, each once; return how many these are now."""
    places, flags = settle(table, items, some), table.flags
    for place in places:
        if place >= 0:
            brought[count] = place
            count += flags[place] & BROUGHT == 0
            flags[place] |= BROUGHT
    return count


@fused
def fill_parts(
    known: Known, knobs: Knobs, asked: Asked, request: tuple[Whole, Past, Bools], items: Ints, table: ItemTable
) -> Floats:
    """Return (P, n) the parts of the score of any items, minus infinity where a source knows nothing of an item.

    Args:
        known: of the items.
        knobs: the weight of popularity.
        asked: the requests.
        request: which of them, its past, and (P,) which parts are wanted; the others are minus infinity.
        items: (n,) 1..V.
        table: as `look_back` has left it.
    """
    place, past, wanted = request
    n = len(items)
    parts = np.empty((P, n), np.float32)
    for part in range(P):
        for each in range(n):
            parts[part, each] = _UNKNOWN
    if wanted[ENCODER]:
        _encoder_part(known, asked, place, items, parts[ENCODER])
    if wanted[CONTENT] and len(past.liked):
        _content_part(known, past.liked, items, parts[CONTENT])
    places, sums, popular, recent = places_of(table, items), table.sums, known.popular, known.recent
    for each in range(n):
        parts[POPULARITY, each], parts[RECENT, each] = popular[items[each]], recent[items[each]]
    for way in range(3):
        for each in range(n):
            parts[WAYS[way], each] = sums[places[each], way] if places[each] >= 0 else np.float32(0)
    for each in range(n):
        parts[COUNTS, each] += knobs.popularity_weight * parts[POPULARITY, each]
    habit, just, met = past.habit, past.just, past.met
    for each in range(n):
        was_met = 0 <= places[each] < met
        parts[REPEAT, each] = habit[places[each]] if was_met else np.float32(0)
        parts[OTHER, each] = 0 if was_met and just[places[each]] else 1
    if wanted[TRENDING]:
        for each in range(n):
            parts[TRENDING, each] = np.float32(known.totals[items[each]] + TRENDING_EVENTS)
        for each in range(n):
            parts[TRENDING, each] = parts[RECENT, each] - log_of(parts[TRENDING, each])
    return parts


@fused
def _encoder_part(known: Known, asked: Asked, place: Whole, items: Ints, part: Floats) -> None:
    if len(asked.encoded):
        for each in range(len(items)):
            part[each] = asked.encoded[place, items[each]]
    elif len(asked.users):
        user, numbers, scales = asked.users[place], known.outputs.numbers, known.outputs.scales
        for each in range(len(items)):
            _expect(known.outputs, items, each + _AHEAD)
            item = items[each]
            if item < len(scales):
                score = np.float32(0)
                for d in range(len(user)):
                    score += user[d] * np.float32(numbers[item, d])
                part[each] = score * scales[item]


@fused
def _content_part(known: Known, liked: Floats, items: Ints, part: Floats) -> None:
    numbers, scales = known.contents.numbers, known.contents.scales
    row = np.empty(numbers.shape[1], np.float32)
    for each in range(len(items)):
        _expect(known.contents, items, each + _AHEAD)
        item = items[each]
        if item >= len(scales) or scales[item] == 0:
            continue
        for c in range(len(row)):
            row[c] = np.float32(numbers[item, c]) * scales[item]
        mass = np.float32(0)
        for one in range(len(liked)):
            cosine = np.float32(0)
            for c in range(len(row)):
                cosine += row[c] * liked[one, c]
            mass += np.exp(np.float32(CONTENT_SHARPNESS) * cosine)
        part[each] = np.log(mass / np.float32(len(liked)))


@inlined
def _expect(rows: ByteRows, items: Ints, each: Whole) -> None:
    """Ask for the vector of an item that comes soon."""
    if each < len(items) and items[each] < len(rows.scales):
        item = np.int64(items[each])
        for line in range(item * rows.numbers.shape[1], (item + 1) * rows.numbers.shape[1], CACHE_LINE):
            prefetch(rows.numbers, line)
        prefetch(rows.scales, item)
