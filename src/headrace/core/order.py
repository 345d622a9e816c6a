"""The canonical order of a user's events: time, then a keyed hash of user and item, then sequence.

Events of one moment form a *basket*, a set without order; the hash gives it an order that favours no item and that a
batch of arrays and a single live event compute alike.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Hashes: TypeAlias = NDArray[np.uint64]

_KEY = b"headrace-canonical-order-1"
_MULTIPLIERS = (0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
_MASK = 2**64 - 1


def id_hash(text: str) -> int:
    """Return the 64-bit keyed hash of one id."""
    return int.from_bytes(blake2b(text.encode(), digest_size=8, key=_KEY).digest(), "little")


def id_hashes(ids: Iterable[str]) -> Hashes:
    """Return the hash of each id, in order; hash each distinct id once and gather."""
    return np.array([id_hash(text) for text in ids], dtype=np.uint64)


def pair_hash(users: Hashes, items: Hashes) -> Hashes:
    """Mix the hashes of user and item into the tie-breaker (the finalizer of SplitMix64, Steele et al. 2014).

    Args:
        users: hashes of user ids, any shape.
        items: hashes of item ids, the same shape.
    """
    with np.errstate(over="ignore"):
        mixed = users ^ ((items << np.uint64(31)) | (items >> np.uint64(33)))
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(_MULTIPLIERS[0])
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(_MULTIPLIERS[1])
        return np.asarray(mixed ^ (mixed >> np.uint64(31)), dtype=np.uint64)


def pair_hash_of(user: int, item: int) -> int:
    """Return `pair_hash` of one pair, without an array."""
    mixed = user ^ (item << 31 & _MASK | item >> 33)
    mixed = (mixed ^ mixed >> 30) * _MULTIPLIERS[0] & _MASK
    mixed = (mixed ^ mixed >> 27) * _MULTIPLIERS[1] & _MASK
    return mixed ^ mixed >> 31
