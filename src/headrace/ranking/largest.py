"""The n largest of many scores, ties to the lower item: a radix select, in time proportional to their number.

A score and its item are one whole number, a *key*: the larger score has the larger key, and of equal scores the lower
item. NumPy has all of this too, but compiling its sorts into the kernels takes half a minute of a first start.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from headrace.core.compiled import Whole, brief, compiled, inlined
from headrace.data.log import Floats, Ints

Keys: TypeAlias = NDArray[np.uint64]

_BLOCK = 64
_SHIFTS = (53, 42, 31, 20, 9, 0)
"""Where the digits of a key begin: the first one has the sign, the exponent and two bits of a score."""
_LOW = np.uint64(0xFFFFFFFF)


def top(scores: Floats, n: int, *, above: float = -np.inf) -> Ints:
    """Return the indices (at most n,) of the largest scores, ascending; equal scores go to the lower index.

    Args:
        scores: (V + 1,) by item; place 0 is no item. No NaN; minus infinity says that nothing is known.
        n: how many, at least 1.
        above: scores at or below this are never returned.
    """
    keys = np.empty(len(scores), np.uint64)
    return np.sort(items_of(keys, largest_of_row(scores, n, np.float32(above), keys)))


@inlined
def key_of(score: np.float32, item: Whole) -> np.uint64:
    """Return the key of a score and its item; the two zeros are one."""
    bits = np.uint32(np.float32(score + np.float32(0)).view(np.uint32))
    ordered = np.uint32(bits ^ np.uint32(0xFFFFFFFF if bits >> np.uint32(31) else 0x80000000))
    return (np.uint64(ordered) << np.uint64(32)) | (_LOW - np.uint64(item))


@inlined
def item_of(key: np.uint64) -> np.int32:
    """Return the item of a key."""
    return np.int32(_LOW - (key & _LOW))


@inlined
def score_of(key: np.uint64) -> np.float32:
    """Return the score of a key."""
    ordered = np.uint32(key >> np.uint64(32))
    bits = np.uint32(ordered ^ np.uint32(0x80000000 if ordered >> np.uint32(31) else 0xFFFFFFFF))
    return np.float32(bits.view(np.float32))


@compiled
def items_of(keys: Keys, n: Whole) -> Ints:
    """Return (n,) the items of the first n keys."""
    items = np.empty(n, np.int32)
    for place in range(n):
        items[place] = item_of(keys[place])
    return items


@compiled
def select(keys: Keys, m: Whole, n: Whole) -> Whole:
    """Move the n largest of the first m keys to the front, in no order; return how many they are."""
    if n <= 0 or m <= n:
        return max(0, min(m, n))
    first, end = np.int64(0), np.int64(m)
    for begin in _SHIFTS:
        shift, bits, counts = np.uint64(begin), np.uint64(0x7FF if begin > 0 else 0x1FF), np.zeros(2048, np.int64)
        for place in range(first, end):
            counts[(keys[place] >> shift) & bits] += 1
        last, more = np.int64(2047), n - first
        while counts[last] < more:
            more -= counts[last]
            last -= 1
        # Those of a smaller digit are out: the others close up without a branch, as there may be very many.
        kept = first
        for place in range(first, end):
            key = keys[place]
            keys[kept] = key
            kept += np.int64((key >> shift) & bits) >= last
        end = kept
        for place in range(first, end):
            if np.int64((keys[place] >> shift) & bits) > last:
                keys[place], keys[first] = keys[first], keys[place]
                first += 1
        if end <= n:
            break
    return n


@compiled
def sort_keys(keys: Keys, n: Whole) -> None:
    """Put the first n keys in order, the largest first: heapsort (Knuth, The Art of Computer Programming 3, 5.2.3)."""
    for start in range(n // 2 - 1, -1, -1):
        _sift(keys, np.int64(start), n)
    for end in range(n - 1, 0, -1):
        keys[0], keys[end] = keys[end], keys[0]
        _sift(keys, np.int64(0), np.int64(end))


@compiled
def _sift(keys: Keys, root: Whole, end: Whole) -> None:
    """Let the key at the root sink in a heap whose least key is on top."""
    while 2 * root + 1 < end:
        child = 2 * root + 1
        if child + 1 < end and keys[child + 1] < keys[child]:
            child += 1
        if keys[root] <= keys[child]:
            return
        keys[root], keys[child] = keys[child], keys[root]
        root = child


@compiled
def largest_of_row(row: Floats, n: Whole, above: np.float32, keys: Keys) -> Whole:
    """Write the keys of the n largest of row[1:] above `above`, in no order; return how many they are.

    `keys` (V + 1,) has room for all.
    """
    blocks, floor = (len(row) - 1) // _BLOCK, np.float32(-np.inf)
    if blocks > 2 * n:
        # The n-th largest of the maxima of many groups bounds the n-th largest score from below; few others reach it.
        maxima = row[1 : blocks + 1].copy()
        for block in range(1, _BLOCK):
            for place in range(blocks):
                maxima[place] = max(maxima[place], row[1 + block * blocks + place])
        for place in range(blocks):
            keys[place] = key_of(maxima[place], place)
        floor = np.float32(np.inf)
        for place in range(select(keys, blocks, n)):
            floor = min(floor, maxima[item_of(keys[place])])
    found = np.int64(0)
    for item in range(1, len(row)):
        keys[found] = key_of(row[item], item)
        found += (row[item] >= floor) & (row[item] > above)
    return select(keys, found, n)


@brief
def put_in_order(items: Ints, scores: Floats) -> None:
    """Sort items by their scores (V + 1,), the largest first, ties to the lower item: quick where few are out of place.

    By insertion (Knuth, The Art of Computer Programming 3, 5.2.1).
    """
    for place in range(1, len(items)):
        item, free = items[place], place
        key = key_of(scores[item], item)
        while free > 0 and key_of(scores[items[free - 1]], items[free - 1]) < key:
            items[free] = items[free - 1]
            free -= 1
        items[free] = item
