"""VMIS-kNN: the sessions most like this one, weighted by how late they share an item, vote for the next item.

Kersbergen, Sprangers, Schelter: Serenade, low-latency session-based recommendation (SIGMOD 2022), with the choices of
its published code: of each item the m most recent sessions; each of the last items of the question weighs
position / distinct items; the k nearest vote with `1 - 0.1 * (places since the latest shared item)` times their
similarity times ln(pairs / pairs of the item); the latest item is never listed; sessions longer than 99.5 % of all are
not learned from. Here a session is a user's history; a user's own is a neighbour only where lists may repeat.

Live, an item's sessions stand in the order of the item's events, so that only the newest of them stand in exact order.
Shapes: S sessions (users), V items, N events, P pairs of a session and an item.
"""

from __future__ import annotations

import heapq
import itertools
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from exchange import LIST, Asked, Ints, Longs, Peer, Seen, Split, choice_ndcg, choosing, run, within
from numba import njit
from numpy.typing import NDArray

Doubles = NDArray[np.float64]
Recent = tuple[list[int], list[int], int]
"""The distinct items of the last events, latest first; how far from the end each stands; how many events these are."""

_LONGEST = 0.995
_RECENT = (500, 1500)
_NEAREST = (100, 50, 500)
_LAST = (2, 3, 4, 6, 9)


@dataclass(frozen=True)
class Settings:
    """m most recent sessions of an item, k nearest that vote, `last` items of the question that are looked at."""

    m: int
    k: int
    last: int


class Index(NamedTuple):
    """Sessions by item and items by session, in blocks that have room for all that may come.

    Args:
        item_blocks: (V + 2,) where an item's block of `sessions` begins.
        session_blocks: (S + 2,) where a session's block of `items` begins.
        sessions: (N,) by item, newest last.
        items: (N,) by session, distinct.
        n_sessions: (V + 1,) places taken of an item's block.
        n_items: (S + 1,) places taken of a session's block.
        ends: (S + 1,) the time of a session's latest event.
        excluded: (S + 1,) whether a session is too long to learn from.
    """

    item_blocks: Longs
    session_blocks: Longs
    sessions: Ints
    items: Ints
    n_sessions: Longs
    n_items: Longs
    ends: Longs
    excluded: NDArray[np.bool_]


class VmisKnn(Peer):
    """See the head of this file."""

    def __init__(self, minutes: float) -> None:
        self._minutes = minutes
        self._settings = Settings(_RECENT[0], _NEAREST[0], _LAST[0])
        self._stage = "fitted"

    def choose(self, split: Split) -> dict[str, float | int | str]:
        """Try every combination that there is time for."""
        asked, best, number = choosing(split), -1.0, 0
        for m, k, last in within(self._minutes, itertools.product(_RECENT, _NEAREST, _LAST)):
            number += 1
            tried = Settings(m, k, last)
            found = choice_ndcg(split, asked, _lists(split, asked, tried, split.learned["fitted"], split.seen[0]))
            if found > best:
                best, self._settings = found, tried
        return {**vars(self._settings), "ndcg": best, "tried": number}

    def learn(self, split: Split, stage: str) -> None:
        """Keep which events may be counted; the index is built when it is asked."""
        self._stage = stage

    def answer(self, split: Split, asked: Asked, seen: Seen) -> Ints:
        """See `Peer.answer`."""
        return _lists(split, asked, self._settings, split.learned[self._stage], seen)

    def follow(self, split: Split, seen: Seen) -> Ints:
        """See `Peer.follow`."""
        return _lists(split, split.test, self._settings, split.learned[self._stage], seen, live=True)


def _lists(
    split: Split, asked: Asked, settings: Settings, learned: NDArray[np.bool_], seen: Seen, *, live: bool = False
) -> Ints:
    """Return (Q, LIST): index what is learned, then answer in time order, learning on the way if `live`."""
    rows = np.flatnonzero(learned)
    lasts = np.zeros(split.n_users + 1, np.int64)
    np.maximum.at(lasts, split.users[rows], split.times[rows])
    # The index takes events in the order of their sessions' ends, so that an item's sessions stand newest last.
    first = rows[np.lexsort((split.times[rows], lasts[split.users[rows]]))]
    later = np.flatnonzero(~learned) if live else np.empty(0, np.int64)
    later = later[np.argsort(split.times[later], kind="stable")]
    pairs = np.unique(split.users[rows].astype(np.int64) * (split.n_items + 1) + split.items[rows])
    lengths = np.bincount(pairs // (split.n_items + 1), minlength=split.n_users + 1)
    excluded = lengths > np.quantile(lengths[lengths > 0], _LONGEST)
    order = np.argsort(asked.times, kind="stable")
    out = np.zeros((len(asked), LIST), np.int32)
    index = Index(
        _offsets(split.items, split.n_items),
        _offsets(split.users, split.n_users),
        np.zeros(len(split.items), np.int32),
        np.zeros(len(split.items), np.int32),
        np.zeros(split.n_items + 1, np.int64),
        np.zeros(split.n_users + 1, np.int64),
        np.zeros(split.n_users + 1, np.int64),
        excluded,
    )
    _answer_all(
        index,
        (split.users, split.items, split.times, first, later),
        (asked.users[order], asked.starts[order], asked.ends[order], asked.times[order]),
        (settings.m, settings.k, settings.last, seen == "exclude"),
        out,
    )
    answers = np.empty_like(out)
    answers[order] = out
    return answers


def _offsets(values: Ints, most: int) -> Longs:
    return np.concatenate((np.zeros(1, np.int64), np.cumsum(np.bincount(values, minlength=most + 1))))


@njit(cache=True)
def _learn(index: Index, user: int, item: int, time: int) -> int:
    """Add an event; return 1 if it makes a new pair of a session and an item."""
    if index.excluded[user]:
        return 0
    index.ends[user] = max(index.ends[user], time)
    start, taken = index.session_blocks[user], index.n_items[user]
    for place in range(start, start + taken):
        if index.items[place] == item:
            return 0
    index.items[start + taken] = item
    index.n_items[user] += 1
    index.sessions[index.item_blocks[item] + index.n_sessions[item]] = user
    index.n_sessions[item] += 1
    return 1


@njit(cache=True)
def _distinct(items: Ints, start: int, end: int) -> tuple[list[int], list[int]]:
    """Return the distinct items of `items[start:end]`, latest first, and how many places before the end each stands."""
    found, back = [items[end - 1]], [0]
    for place in range(end - 2, start - 1, -1):
        if items[place] not in found:
            found.append(items[place])
            back.append(end - 1 - place)
    return found, back


@njit(cache=True)
def _sample(index: Index, own: int, recent: Recent, m: int, similarity: Doubles) -> list[tuple[int, int]]:
    """Fill `similarity` (S + 1,) for the m most recent sessions that share an item; return them with their ends."""
    heap = [(np.int64(0), np.int64(0)) for _ in range(0)]
    found, back, span = recent
    for number in range(len(found)):
        start, weight = index.item_blocks[found[number]], (span - back[number]) / len(found)
        taken = index.n_sessions[found[number]]
        for place in range(start + taken - 1, max(start, start + taken - m) - 1, -1):
            session = np.int64(index.sessions[place])
            if session == own:
                continue
            if similarity[session] > 0:
                similarity[session] += weight
            elif len(heap) < m:
                similarity[session] = weight
                heapq.heappush(heap, (index.ends[session], session))
            elif index.ends[session] > heap[0][0]:
                similarity[heap[0][1]] = 0
                similarity[session] = weight
                heapq.heapreplace(heap, (index.ends[session], session))
            else:
                break
    return heap


@njit(cache=True)
def _vote(
    index: Index, own: int, recent: Recent, nearest: tuple[int, int], idf: Doubles, scratch: tuple[Doubles, Doubles]
) -> list[int]:
    """Add up votes (V + 1,), the second of `scratch`, of the nearest sessions; return the items that have any."""
    m, k = nearest
    similarity, votes = scratch
    found, back, _ = recent
    heap = _sample(index, own, recent, m, similarity)
    heap.sort()
    sessions = np.array([session for _, session in heap][::-1], np.int64)
    near = np.argsort(-similarity[sessions], kind="mergesort")[:k]
    voted = [np.int64(0) for _ in range(0)]
    for session in sessions[near]:
        start = index.session_blocks[session]
        items = index.items[start : start + index.n_items[session]]
        latest = 0
        while not (items == found[latest]).any():
            latest += 1
        weight = (1.0 - 0.1 * (back[latest] + 1)) * similarity[session]
        for item in items:
            if votes[item] == 0:
                voted.append(np.int64(item))
            votes[item] += weight * idf[item]
    for session in sessions:
        similarity[session] = 0
    return voted


@njit(cache=True)
def _answer_all(
    index: Index,
    events: tuple[Ints, Ints, Longs, Longs, Longs],
    asked: tuple[Ints, Longs, Longs, Longs],
    settings: tuple[int, int, int, bool],
    out: Ints,
) -> None:
    """Learn the first events, then answer each question, learning the later events that are over by then."""
    users, items, times, first, later = events
    m, k, last, exclude = settings
    similarity, votes = np.zeros(len(index.ends)), np.zeros(len(index.n_sessions))
    barred = np.full(len(index.n_sessions), -1, np.int64)
    pairs, next_later = 0, 0
    for row in first:
        pairs += _learn(index, users[row], items[row], times[row])
    idf = np.log(pairs / np.maximum(index.n_sessions, 1))
    for question in range(len(out)):
        user, start, end, now = asked[0][question], asked[1][question], asked[2][question], asked[3][question]
        while next_later < len(later) and times[later[next_later]] < now:
            row = later[next_later]
            pairs += _learn(index, users[row], items[row], times[row])
            idf[items[row]] = np.log(pairs / max(index.n_sessions[items[row]], 1))
            next_later += 1
        if start == end:
            continue
        begin = max(start, end - last)
        found, back = _distinct(items, begin, end)
        voted = _vote(index, user if exclude else -1, (found, back, end - begin), (m, k), idf, (similarity, votes))
        scores = np.array([votes[item] for item in voted])
        candidates = np.array(voted, np.int64)
        for item in voted:
            votes[item] = 0
        for place in range(start if exclude else end - 1, end):
            barred[items[place]] = question
        allowed = barred[candidates] != question
        candidates, scores = candidates[allowed], scores[allowed]
        best = np.argsort(-scores, kind="mergesort")[: out.shape[1]]
        out[question, : len(best)] = candidates[best]


if __name__ == "__main__":
    run(lambda _method, minutes: VmisKnn(minutes), ("numba", "numpy"))
