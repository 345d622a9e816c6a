"""The library `implicit`: matrix factorisation by alternating least squares, and item-based nearest neighbours.

Neither learns live: a question is answered from its whole history by the frozen item factors or similarities (for
`als` the user's factors are computed anew from it). An event that comes n times weighs n.
Shapes: Q questions, V items, K places.
"""

from __future__ import annotations

import itertools

import numpy as np
from exchange import LIST, Asked, Ints, Longs, Peer, Seen, Split, choice_ndcg, choosing, run, within
from implicit.als import AlternatingLeastSquares
from implicit.nearest_neighbours import BM25Recommender, CosineRecommender, TFIDFRecommender
from implicit.recommender_base import RecommenderBase
from scipy.sparse import csr_matrix

_ALS = tuple(itertools.product((128, 64, 256), (10.0, 1.0, 40.0), (0.01, 0.1)))
_KNN = tuple(itertools.product(("cosine", "tfidf", "bm25"), (100, 20, 500)))
_KINDS = {"cosine": CosineRecommender, "tfidf": TFIDFRecommender, "bm25": BM25Recommender}
_SEED = 1
_AT_ONCE = 4096


class Implicit(Peer):
    """A model of the library, `als` or `item-knn`; the settings are the best of those that fit into the time."""

    def __init__(self, method: str, minutes: float) -> None:
        self._method = method
        self._minutes = minutes
        self._settings: tuple[int | float | str, ...] = ()
        self._model: RecommenderBase

    def choose(self, split: Split) -> dict[str, float | int | str]:
        """Try what `_ALS` or `_KNN` hold, in their order."""
        asked, best, tried = choosing(split), -1.0, 0
        for settings in within(self._minutes, _ALS if self._method == "als" else _KNN):
            self._model = self._fitted(split, "fitted", settings)
            found = choice_ndcg(split, asked, self.answer(split, asked, split.seen[0]))
            tried += 1
            if found > best:
                best, self._settings = found, settings
        names = ("factors", "alpha", "regularization") if self._method == "als" else ("weights", "neighbours")
        return {**dict(zip(names, self._settings, strict=True)), "ndcg": best, "tried": tried}

    def learn(self, split: Split, stage: str) -> None:
        """Learn from a stage with the chosen settings."""
        self._model = self._fitted(split, stage, self._settings)

    def answer(self, split: Split, asked: Asked, seen: Seen) -> Ints:
        """See `Peer.answer`."""
        places, questions = asked.histories()
        histories = _matrix(questions, split.items[places], (len(asked), split.n_items + 1))
        out = np.zeros((len(asked), LIST), np.int32)
        extra = {"recalculate_user": True} if self._method == "als" else {}
        for start in range(0, len(asked), _AT_ONCE):
            part = histories[start : start + _AT_ONCE]
            numbers = np.arange(part.shape[0])
            hide = {"filter_already_liked_items": seen == "exclude", "filter_items": [0]}
            items, scores = self._model.recommend(numbers, part, N=LIST, **hide, **extra)
            # Items without a score, and those that are filtered, stand behind the end with -1 or the lowest float.
            shown = (items > 0) & (np.abs(scores) > 0) & (scores > -1e30)
            out[start : start + len(items)] = np.where(shown, items, 0)
        return out

    def _fitted(self, split: Split, stage: str, settings: tuple[int | float | str, ...]) -> RecommenderBase:
        if self._method == "als":
            factors, alpha, regularization = settings
            model: RecommenderBase = AlternatingLeastSquares(
                factors=factors, alpha=alpha, regularization=regularization, iterations=15, random_state=_SEED
            )
        else:
            kind, neighbours = settings
            model = _KINDS[str(kind)](K=int(neighbours))
        rows = split.learned[stage]
        matrix = _matrix(split.users[rows], split.items[rows], (split.n_users + 1, split.n_items + 1))
        model.fit(matrix, show_progress=False)
        return model


def _matrix(rows: Ints | Longs, items: Ints, shape: tuple[int, int]) -> csr_matrix:
    return csr_matrix((np.ones(len(rows), np.float32), (rows, items)), shape)


if __name__ == "__main__":
    run(Implicit, ("implicit", "numpy", "scipy"))
