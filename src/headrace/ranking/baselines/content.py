"""Content-based filtering: items whose description resembles that of the last items met.

Shapes: V items (row 0 is padding), C content width, Q questions.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from math import log
from typing import ClassVar

import numpy as np

from headrace.core.order import id_hash
from headrace.data.log import Floats, Ints, Longs
from headrace.ranking.baselines.kernels import best_of_all, histories_of, masks_seen
from headrace.ranking.baselines.method import LIST
from headrace.ranking.questions import Questions, Task

RECENT_EVENTS = 20
WORD_WIDTH = 384
_QUESTIONS_AT_ONCE = 64
_WORD = re.compile(r"\w+")


class Content:
    """Cosine of an item's content to the mean content of the last 20 events."""

    name: ClassVar[str] = "content"
    learns: ClassVar[bool] = False
    reads_time: ClassVar[bool] = False

    def __init__(self, task: Task, vectors: Floats) -> None:
        """Take the content of the items.

        Args:
            task: only the histories and the rule for seen items are used.
            vectors: (V + 1, C) of any length, a row of zeros where nothing is known of an item.
        """
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        self._vectors: Floats = (vectors / np.maximum(lengths, 1e-12)).astype(np.float32)
        self._told = lengths[:, 0] > 0
        self._masked = masks_seen(task.seen)

    def observe(self, rows: Longs) -> None:
        """Learn nothing: a description does not change by what people do."""

    def answer(self, questions: Questions, *, hide_time: bool) -> Ints:
        """See `Method.answer`."""
        out = np.zeros((len(questions), LIST), np.int32)
        for first in range(0, len(questions), _QUESTIONS_AT_ONCE):
            part = questions.part(first, first + _QUESTIONS_AT_ONCE)
            scores = self._tastes(part) @ self._vectors.T
            # The kernel takes scores above 0 only: cosines of -1..1 become 1..3, and the rest is unknown.
            scores = np.where((scores != 0) & self._told, scores + 2, 0).astype(np.float32)
            best_of_all(scores, histories_of(part), self._masked, out[first : first + len(part)])
        return out

    def _tastes(self, questions: Questions) -> Floats:
        """Return (Q, C) mean contents of the last events."""
        items = [questions.history(place).items[-RECENT_EVENTS:] for place in range(len(questions))]
        return np.stack([self._vectors[each].sum(axis=0) / max(1, len(each)) for each in items])


def word_vectors(texts: Sequence[str]) -> Floats:
    """Return (V + 1, 384) TF-IDF of the words of item texts, for datasets without an encoder.

    Each word has four places and signs by its hash, so that the width is fixed and no two words share all of them
    (a sparse random projection; Achlioptas 2003, Weinberger et al. 2009). Words of one item only relate it to nothing
    and are left out.

    Args:
        texts: of the items 1..V, empty where an item has none.
    """
    words = [Counter(_WORD.findall(text.casefold())) for text in texts]
    spread = Counter(word for each in words for word in each)
    places = {word: _places(word) for word, items in spread.items() if items > 1}
    vectors = np.zeros((len(texts) + 1, WORD_WIDTH), np.float32)
    for item, each in enumerate(words, start=1):
        for word, count in each.items():
            weight = (1 + log(count)) * log(1 + len(texts) / spread[word])
            for place, sign in places.get(word, ()):
                vectors[item, place] += sign * weight
    return vectors


def _places(word: str) -> list[tuple[int, int]]:
    """Return the four places of a word and their signs, 16 bits of its hash each."""
    bits = id_hash(word)
    parts = [bits >> shift & 0xFFFF for shift in (0, 16, 32, 48)]
    return [((part >> 1) % WORD_WIDTH, 1 if part & 1 else -1) for part in parts]
