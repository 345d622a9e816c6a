"""From candidates and parts to a list, compiled: standardised parts, weighted sums, the rules, the best and why.

Shapes: as in `ranking/list_kernels.py`; K places of the longest list, F forbidden items of all requests, T event types.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from headrace.core.compiled import Whole, compiled, fused
from headrace.data.log import Bools, Floats, Ints, Longs
from headrace.ranking.item_table import ItemTable, items_at, places_of
from headrace.ranking.largest import item_of, key_of, score_of, select, sort_keys
from headrace.ranking.list_kernels import (
    BANNED,
    OTHER,
    POPULARITY,
    REPEAT,
    WAYS,
    Asked,
    Knobs,
    Known,
    P,
    Past,
    fill_parts,
    find,
    look_back,
)
from headrace.ranking.transition_kernels import first_at

NOBODY = -1
"""The reason of an item that nobody has met yet; any other reason is a part."""
_AT_ONCE = 1024
"""Items whose parts stand in memory at the same time where they are very many."""
_SPARE = 16
"""Items beyond twice the length of a list that are looked at first, as some may share a title."""
_LEAST_SPREAD = 1e-6
_NOTHING = np.float32(-np.inf)


class Wanted(NamedTuple):
    """What may stand on the lists of B requests, and what is best.

    Args:
        k: (B,) how many items.
        weights: (B, P) of the parts.
        allowed: (V + 1,) whether an item may stand on any of the lists.
        forbidden: (F,) items that must not stand on one; some may be no item of the catalogue.
        bounds: (B + 1,) those of request b are bounds[b]:bounds[b + 1].
        titles: (V + 1,) the number of each item's title, of which a list shows one item; 0 for none. No rows: any.
        types: (B,) the event type that a list is ranked by, or -1.
        shares: (B,) the share of all events that are of this type.
        counts: (rows, T) events by item and type.
        named: whether a list is chosen from `among`, and not from what the sources bring.
        among: (n,) items, ascending, each once.
    """

    k: Longs
    weights: Floats
    allowed: Bools
    forbidden: Ints
    bounds: Longs
    titles: Longs
    types: Longs
    shares: Floats
    counts: Ints
    named: bool
    among: Ints


class Lists(NamedTuple):
    """B lists, best first: (B, K) items, scores and reasons, and (B,) how many."""

    items: Ints
    scores: Floats
    reasons: Ints
    lengths: Longs


@compiled
def fill_lists(known: Known, knobs: Knobs, asked: Asked, wanted: Wanted, table: ItemTable, lists: Lists) -> None:
    """Answer every request; equal scores go to the lower item."""
    for place in range(len(wanted.k)):
        past = look_back(known, knobs, asked, place, table)
        candidates = items_at(table, find(known, knobs, asked, (place, past), table))
        weights = wanted.weights[place]
        request = (place, past, _not_zero(weights))
        parts = fill_parts(known, knobs, asked, request, candidates, table)
        centre, spread = measure(parts, request[2])
        items = wanted.among.copy() if wanted.named else candidates
        scores = np.empty(len(items), np.float32)
        step = _AT_ONCE if wanted.named else max(1, len(items))
        for start in range(0, len(items), step):
            if wanted.named:
                parts = fill_parts(known, knobs, asked, request, items[start : start + step], table)
            _weigh_up(parts, (centre, spread), weights, scores[start : start + step])
        n = _keep_allowed(wanted, place, items, scores, table)
        _favour_type(wanted, place, items[:n], scores)
        n = _choose(wanted, place, (items, scores, n), lists)
        chosen = lists.items[place, :n]
        parts = standardised(fill_parts(known, knobs, asked, request, chosen, table), centre, spread)
        _explain(known, (chosen, parts, weights), (past, table), lists.reasons[place])
        lists.lengths[place] = n


@compiled
def describe(known: Known, knobs: Knobs, asked: Asked, items: Ints, table: ItemTable) -> tuple[Ints, Floats, Floats]:
    """Return the candidates (n,) of the one request, in no order, their parts (P, n) and those of some items (P, m)."""
    place = np.int64(0)
    past = look_back(known, knobs, asked, place, table)
    candidates = items_at(table, find(known, knobs, asked, (place, past), table))
    request = (place, past, np.ones(P, np.bool_))
    parts = fill_parts(known, knobs, asked, request, candidates, table)
    return candidates, parts, fill_parts(known, knobs, asked, request, items, table)


@compiled
def _not_zero(weights: Floats) -> Bools:
    wanted = np.empty(P, np.bool_)
    for part in range(P):
        wanted[part] = weights[part] != 0
    return wanted


@fused
def measure(parts: Floats, wanted: Bools) -> tuple[Floats, Floats]:
    """Return (P,) mean and spread of each wanted part over the candidates; one that never differs spreads by 1."""
    centre, spread = np.zeros(P, np.float32), np.ones(P, np.float32)
    for part in range(P):
        if not wanted[part]:
            continue
        known, total, squares = np.float32(0), np.float32(0), np.float32(0)
        for value in parts[part]:
            there = value > _NOTHING
            known += np.float32(1) if there else np.float32(0)
            total += value if there else np.float32(0)
        if known == 0:
            continue
        middle = total / known
        for value in parts[part]:
            squares += (value - middle) ** 2 if value > _NOTHING else np.float32(0)
        centre[part] = middle
        if squares > known * _LEAST_SPREAD**2:
            spread[part] = np.sqrt(squares / known)
    return centre, spread


@compiled
def standardised(parts: Floats, centre: Floats, spread: Floats) -> Floats:
    """Return (P, n) the parts in standard deviations; 0 where nothing is known."""
    out = np.zeros(parts.shape, np.float32)
    for part in range(P):
        for each in range(parts.shape[1]):
            if parts[part, each] > _NOTHING:
                out[part, each] = (parts[part, each] - centre[part]) / spread[part]
    return out


@compiled
def _weigh_up(parts: Floats, moments: tuple[Floats, Floats], weights: Floats, scores: Floats) -> None:
    """Write (n,) the weighted sum of the standardised parts."""
    centre, spread = moments
    for each in range(len(scores)):
        scores[each] = 0
    for part in range(P):
        if weights[part] != 0:
            for each in range(len(scores)):
                value = parts[part, each]
                value = (value - centre[part]) / spread[part] if value > _NOTHING else np.float32(0)
                scores[each] += weights[part] * value


@compiled
def _keep_allowed(wanted: Wanted, place: Whole, items: Ints, scores: Floats, table: ItemTable) -> Whole:
    """Move the items that may stand on the list to the front, with their scores; return how many they are."""
    forbidden, kept = wanted.forbidden[wanted.bounds[place] : wanted.bounds[place + 1]], np.int64(0)
    allowed, banned = wanted.allowed, np.zeros(len(items), np.bool_)
    if wanted.named:
        for item in forbidden:
            at = first_at(items, item)
            if at < len(items) and items[at] == item:
                banned[at] = True
    else:
        flags, places = table.flags, places_of(table, forbidden)
        for at in places:
            if at >= 0:
                flags[at] |= BANNED
        places = places_of(table, items)
        for each in range(len(items)):
            banned[each] = flags[places[each]] & BANNED != 0
    for each in range(len(items)):
        item, out = items[each], banned[each]
        items[kept], scores[kept] = item, scores[each]
        kept += allowed[item] and not out
    return kept


@compiled
def _favour_type(wanted: Wanted, place: Whole, items: Ints, scores: Floats) -> None:
    """Add the log of the chance that an event with each item is of the type asked for.

    One event of average kind is added to each item: (n(a, t) + share(t)) / (n(a) + 1). A type never seen makes no
    difference between items.
    """
    kind, share = wanted.types[place], wanted.shares[place]
    if kind < 0 or share == 0:
        return
    for each in range(len(items)):
        of_type = events = 0
        if items[each] < len(wanted.counts):
            of_type = wanted.counts[items[each], kind]
            for other in range(wanted.counts.shape[1]):
                events += wanted.counts[items[each], other]
        scores[each] += np.float32(np.log((of_type + share) / (events + 1)))


@compiled
def _choose(wanted: Wanted, place: Whole, found: tuple[Ints, Floats, Whole], lists: Lists) -> Whole:
    """Write the best of the first n items that may stand together into the list; return how many they are."""
    items, scores, n = found
    k = wanted.k[place]
    looked = min(n, 2 * k + _SPARE) if len(wanted.titles) else min(n, k)
    keys = np.empty(n, np.uint64)
    for each in range(n):
        keys[each] = key_of(scores[each], items[each])
    while True:
        sort_keys(keys, select(keys, n, looked))
        listed = 0
        for each in range(looked):
            if listed == k:
                break
            item = np.int64(item_of(keys[each]))
            if len(wanted.titles) and _is_listed(wanted.titles, item, lists.items[place, :listed]):
                continue
            lists.items[place, listed], lists.scores[place, listed] = item, score_of(keys[each])
            listed += 1
        if listed == k or looked == n:
            return listed
        looked = n  # titles ate the list: look at all that there is


@compiled
def _is_listed(titles: Longs, item: Whole, listed: Ints) -> bool:
    """Return whether an item has the title of one that is listed."""
    if titles[item] != 0:
        for other in listed:
            if titles[other] == titles[item]:
                return True
    return False


@compiled
def _explain(known: Known, found: tuple[Ints, Floats, Floats], where: tuple[Past, ItemTable], reasons: Ints) -> None:
    """Write for each item of a list the part that added most; `NOBODY` for one that nobody has met yet.

    `found` are the items (n,), their standardised parts (P, n) and the weights of these (P,).
    """
    (items, added, weights), (past, table) = found, where
    places = places_of(table, items)
    for part in range(P):
        for each in range(len(items)):
            added[part, each] *= weights[part]
    for each in range(len(items)):
        best, most, at = POPULARITY, added[POPULARITY, each], places[each]
        if weights[POPULARITY] == 0:
            most = np.float32(-np.inf)
        for part in range(P):
            if weights[part] == 0 or part in (POPULARITY, OTHER) or added[part, each] < most:
                continue
            # Of equal parts the first one counts; one that says nothing of an item is no reason for it.
            says: bool | np.bool_ = True
            for way in range(3):
                says &= part != WAYS[way] or (at >= 0 and table.sums[at, way] > 0)
            says &= part != REPEAT or 0 <= at < past.met
            if says and (added[part, each] > most or part < best):
                best, most = part, added[part, each]
        reasons[each] = NOBODY if known.totals[items[each]] == 0 else best
