"""The items that users are nearest to by inner product, found without a look at all of them.

What the network says of users fills little of its space: so lists are kept by *users*. The states of some real users
are gathered around K centres (k-means), and each centre has a list of the M items that it likes best; a user is
answered from the list of the nearest centre. The usual inverted lists, around centres of the *items* (Jegou, Douze,
Schmid 2011, "Product Quantization for Nearest Neighbor Search"), reach a recall of 0.9 only when a quarter of all
items is read, as users and items lie apart (docs/design/engine.md has the table). Shapes: V items, D width, B users.
"""

from __future__ import annotations

from collections.abc import Callable

import faiss
import numpy as np

from headrace.core.compiled import compiled
from headrace.data.log import Floats, Ints, Longs
from headrace.ranking.byte_rows import ByteRows
from headrace.ranking.largest import Keys, item_of, key_of, score_of, select, sort_keys

EXACT_UP_TO = 30_000
"""Items up to which looking at all of them is as fast (`benchmarks/bench_topk.py`)."""

EXACT_AT_MOST = 1_000_000
"""Items up to which a service looks at all of them while it has no lists, for 10 ms an answer. Among more, the encoder
ranks what the other sources bring until the lists are made."""

RECALL_AT = 100
RECALL = 0.995
"""Of the `RECALL_AT` best items, the share that must be found for users that the lists were not made of."""

_CENTRES = 1024
_USERS_EACH = 4
"""Users that a centre stands for at least, on average."""
_HELD_OUT = 256
_LENGTHS = (1024, 2048, 4096, 8192, 16_384)
_AT_ONCE = 1 << 14
"""Items that are looked at together."""
_TOGETHER = 64
"""Scores that are passed over together where none of them is large enough."""


def _no_pause() -> None:
    """Go on at once."""


class ItemIndex:
    """Lists of items by users; of one model. Used by one thread at a time."""

    def __init__(self, lists: faiss.IndexIVF | None, n_items: int, length: int, recall: float) -> None:
        """Take what `build` made."""
        self._lists = lists
        self._n_items = n_items
        self._changed = np.empty(0, np.int32)
        self.length = length
        """Items of each list."""
        self.recall = recall
        """At `RECALL_AT`, of users that were held out."""

    @classmethod
    def none_yet(cls, n_items: int) -> ItemIndex:
        """Return what stands for lists of so many items until they are made."""
        return cls(None, n_items, 0, 0.0)

    @classmethod
    def build(cls, outputs: ByteRows, users: Floats, pause: Callable[[], None] = _no_pause) -> ItemIndex | None:
        """Make lists that are as long as the recall asks for; None where looking at all items is as good.

        Among more than `EXACT_AT_MOST` items there are lists in any case, of the greatest length if need be.

        Args:
            outputs: (V + 1, D) what a list scores, row 0 is no item.
            users: (B, D) states of real users, as many as can be had.
            pause: called between portions of the work.
        """
        n_items, held, known = len(outputs.scales) - 1, users[:_HELD_OUT], users[_HELD_OUT:]
        if n_items <= EXACT_UP_TO:
            return None
        many = n_items > EXACT_AT_MOST
        if len(known) < _USERS_EACH:
            return cls.none_yet(n_items) if many else None
        faiss.omp_set_num_threads(1)  # a search is too short to be divided
        centres = _centres(known)
        nearest = _nearest(held, centres)
        for length in _LENGTHS:
            most = min(length, n_items)
            liked = _most_liked(np.concatenate((held, centres)), outputs, most, pause)  # the shortest mostly do
            best, lists = liked[: len(held), :RECALL_AT], liked[len(held) :]
            found = [len(np.intersect1d(row, lists[c])) for row, c in zip(best, nearest, strict=True)]
            recall = float(np.mean(found)) / RECALL_AT
            if recall >= RECALL or (many and length == _LENGTHS[-1]):
                return cls(_inverted(centres, lists, outputs), n_items, length, recall)
        return None

    def change(self, items: Ints) -> None:
        """Take in that some items have other vectors than when the lists were made: everybody is asked about them."""
        self._changed = np.union1d(self._changed, items).astype(np.int32)

    def late(self, rows: int) -> bool:
        """Return whether so many items have changed, or come (`rows` is V + 1 now), that lists should be made anew."""
        return len(self._changed) + rows - 1 - self._n_items > self.length

    def near(self, users: Floats, outputs: ByteRows, n: int) -> Ints:
        """Return (B, n) the items nearest to each user, best first, 0 where there are no more.

        Args:
            users: (B, D).
            outputs: (V + 1, D) as they are now; items that came since the lists were made are looked at for everybody.
            n: at least 1.
        """
        if self._lists is None:
            return np.zeros((len(users), n), np.int32)
        scores, found = self._lists.search(users, min(n, self.length))
        fresh = np.concatenate((self._changed, np.arange(self._n_items + 1, len(outputs.scales), dtype=np.int32)))
        items = np.maximum(found, 0).astype(np.int32)
        if len(fresh):
            items[np.isin(items, self._changed)] = 0
            scores[items == 0] = -np.inf
            items = np.concatenate((items, np.broadcast_to(fresh, (len(users), len(fresh)))), axis=1)
            scores = np.concatenate((scores, users @ outputs.wide_at(fresh).T), axis=1)
            best = np.argsort(-scores, axis=1, kind="stable")[:, :n]
            items = np.take_along_axis(items, best, axis=1)
        return np.ascontiguousarray(items)


def _centres(users: Floats) -> Floats:
    count = min(_CENTRES, len(users) // _USERS_EACH)
    means = faiss.Kmeans(users.shape[1], count, niter=10, seed=1, min_points_per_centroid=1)
    means.train(np.ascontiguousarray(users))
    return np.asarray(means.centroids, np.float32)


def _nearest(users: Floats, centres: Floats) -> Ints:
    """Return (B,) the nearest centre of each user, by distance."""
    lengths = (centres**2).sum(axis=1)
    nearest: Ints = np.argmin(lengths - 2 * users @ centres.T, axis=1).astype(np.int32)
    return nearest


def _most_liked(users: Floats, outputs: ByteRows, n: int, pause: Callable[[], None]) -> Ints:
    """Return (B, n) the items with the largest inner products, best first."""
    keys, counts = np.zeros((len(users), 2 * n), np.uint64), np.zeros(len(users), np.int64)
    floors = np.full(len(users), -np.inf, np.float32)
    for start in range(1, len(outputs.scales), _AT_ONCE):
        _keep_best(outputs.part(start, start + _AT_ONCE).scores(users), start, keys, counts, floors)
        pause()
    found = np.empty((len(users), n), np.int32)
    _put_in_order(keys, counts, found)
    return found


@compiled
def _keep_best(scores: Floats, first: int, keys: Keys, counts: Longs, floors: Floats) -> None:
    """Add the keys of items `first`, `first` + 1 ... to the best of each user, of which the better half always stays.

    Args:
        scores: (B, n) of the items.
        first: of them.
        keys: (B, 2 m) those kept.
        counts: (B,) how many are.
        floors: (B,) scores at or below are not among the m best.
    """
    most = keys.shape[1] // 2
    for user in range(len(scores)):
        row, kept, count, floor = scores[user], keys[user], counts[user], floors[user]
        for start in range(0, len(row), _TOGETHER):
            end = min(start + _TOGETHER, len(row))
            some = 0
            for place in range(start, end):
                some += row[place] > floor
            if some == 0:
                continue
            for place in range(start, end):
                if row[place] > floor:
                    kept[count] = key_of(row[place], first + place)
                    count += 1
                    if count == len(kept):
                        count = select(kept, count, most)
                        floor = np.float32(np.inf)
                        for each in range(most):
                            floor = min(floor, score_of(kept[each]))
        counts[user], floors[user] = count, floor


@compiled
def _put_in_order(keys: Keys, counts: Longs, found: Ints) -> None:
    """Write (B, m) the items of the best keys of each user, best first; there are so many."""
    for user in range(len(keys)):
        sort_keys(keys[user], select(keys[user], counts[user], found.shape[1]))
        for place in range(found.shape[1]):
            found[user, place] = item_of(keys[user, place])


def _inverted(centres: Floats, liked: Ints, outputs: ByteRows) -> faiss.IndexIVF:
    """Return FAISS' inverted lists, an item in each list of a centre that likes it, its vector in 8 bits a number."""
    width = centres.shape[1]
    by_distance = faiss.IndexFlatL2(width)
    by_distance.add(centres)
    lists = faiss.IndexIVFScalarQuantizer(
        by_distance, width, len(centres), faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_INNER_PRODUCT, False
    )
    distinct = np.unique(liked)
    lists.train(outputs.wide_at(distinct))
    for centre, items in enumerate(liked):
        vectors, keys = outputs.wide_at(items), items.astype(np.int64)
        places = np.full(len(items), centre, np.int64)
        lists.add_core(len(items), *(faiss.swig_ptr(each) for each in (vectors, keys, places)))
    return lists
