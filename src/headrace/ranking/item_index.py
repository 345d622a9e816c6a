"""The items that users are nearest to by inner product, found without a look at all of them.

What the network says of users fills little of its space: so lists are kept by *users*. The states of some real users
are gathered around K centres (k-means), and each centre has a list of the M items that it likes best; a user is
answered from the list of the nearest centre. The usual inverted lists, around centres of the *items* (Jegou, Douze,
Schmid 2011, "Product Quantization for Nearest Neighbor Search"), reach a recall of 0.9 only when a quarter of all
items is read, as users and items lie apart (docs/design/engine.md has the table). Shapes: V items, D width, B users.
"""

from __future__ import annotations

import faiss
import numpy as np

from headrace.data.log import Floats, Ints

EXACT_UP_TO = 30_000
"""Items up to which looking at all of them is as fast (`benchmarks/bench_topk.py`)."""

RECALL_AT = 100
RECALL = 0.995
"""Of the `RECALL_AT` best items, the share that must be found for users that the lists were not made of."""

_CENTRES = 1024
_USERS_EACH = 4
"""Users that a centre stands for at least, on average."""
_HELD_OUT = 256
_LENGTHS = (1024, 2048, 4096, 8192, 16_384)
_AT_ONCE = 64


class ItemIndex:
    """Lists of items by users; of one model. Used by one thread at a time."""

    def __init__(self, lists: faiss.IndexIVF, n_items: int, length: int, recall: float) -> None:
        """Take what `build` made."""
        self._lists = lists
        self._n_items = n_items
        self._changed = np.empty(0, np.int32)
        self.length = length
        """Items of each list."""
        self.recall = recall
        """At `RECALL_AT`, of users that were held out."""

    @classmethod
    def build(cls, outputs: Floats, users: Floats) -> ItemIndex | None:
        """Make lists that are as long as the recall asks for; None where looking at all items is as good.

        Args:
            outputs: (V + 1, D) what a list scores, row 0 is no item.
            users: (B, D) states of real users, as many as can be had.
        """
        n_items, held, known = len(outputs) - 1, users[:_HELD_OUT], users[_HELD_OUT:]
        if n_items <= EXACT_UP_TO or len(known) < _USERS_EACH:
            return None
        faiss.omp_set_num_threads(1)  # a search is too short to be divided
        centres = _centres(known)
        nearest = _nearest(held, centres)
        truth = _most_liked(held, outputs, RECALL_AT)
        for length in _LENGTHS:
            liked = _most_liked(centres, outputs, min(length, n_items))  # anew for each: the shortest mostly do
            found = [len(np.intersect1d(best, liked[c])) for best, c in zip(truth, nearest, strict=True)]
            recall = float(np.mean(found)) / RECALL_AT
            if recall >= RECALL:
                return cls(_inverted(centres, liked, outputs), n_items, length, recall)
        return None

    def change(self, items: Ints) -> None:
        """Take in that some items have other vectors than when the lists were made: everybody is asked about them."""
        self._changed = np.union1d(self._changed, items).astype(np.int32)

    def late(self, rows: int) -> bool:
        """Return whether so many items have changed, or come (`rows` is V + 1 now), that lists should be made anew."""
        return len(self._changed) + rows - 1 - self._n_items > self.length

    def near(self, users: Floats, outputs: Floats, n: int) -> Ints:
        """Return (B, n) the items nearest to each user, best first, 0 where there are no more.

        Args:
            users: (B, D).
            outputs: (V + 1, D) as they are now; items that came since the lists were made are looked at for everybody.
            n: at least 1.
        """
        scores, found = self._lists.search(users, min(n, self.length))
        fresh = np.concatenate((self._changed, np.arange(self._n_items + 1, len(outputs), dtype=np.int32)))
        items = np.maximum(found, 0).astype(np.int32)
        if len(fresh):
            items[np.isin(items, self._changed)] = 0
            scores[items == 0] = -np.inf
            items = np.concatenate((items, np.broadcast_to(fresh, (len(users), len(fresh)))), axis=1)
            scores = np.concatenate((scores, users @ outputs[fresh].T), axis=1)
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


def _most_liked(users: Floats, outputs: Floats, n: int) -> Ints:
    """Return (B, n) the items with the largest inner products, best first."""
    found = np.empty((len(users), n), np.int32)
    for start in range(0, len(users), _AT_ONCE):
        scores = users[start : start + _AT_ONCE] @ outputs[1:].T
        best = (
            np.argpartition(-scores, n - 1, axis=1)[:, :n]
            if n < scores.shape[1]
            else np.tile(np.arange(n), (len(scores), 1))
        )
        order = np.argsort(-np.take_along_axis(scores, best, axis=1), axis=1, kind="stable")
        found[start : start + _AT_ONCE] = np.take_along_axis(best, order, axis=1) + 1
    return found


def _inverted(centres: Floats, liked: Ints, outputs: Floats) -> faiss.IndexIVF:
    """Return FAISS' inverted lists, an item in each list of a centre that likes it, its vector in 8 bits a number."""
    width = centres.shape[1]
    by_distance = faiss.IndexFlatL2(width)
    by_distance.add(centres)
    lists = faiss.IndexIVFScalarQuantizer(
        by_distance, width, len(centres), faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_INNER_PRODUCT, False
    )
    distinct = np.unique(liked)
    lists.train(np.ascontiguousarray(outputs[distinct]))
    for centre, items in enumerate(liked):
        vectors, keys = np.ascontiguousarray(outputs[items]), items.astype(np.int64)
        places = np.full(len(items), centre, np.int64)
        lists.add_core(len(items), *(faiss.swig_ptr(each) for each in (vectors, keys, places)))
    return lists
