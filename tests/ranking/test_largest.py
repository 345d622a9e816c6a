"""Tests of the n largest scores."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from headrace.ranking.largest import top

levels = st.sampled_from([-np.inf, -1.0, 0.0, 0.5, 2.0, 3.0])


@given(st.lists(levels, min_size=1, max_size=1500), st.integers(1, 8), st.sampled_from([-np.inf, 0.0, 2.0]))
def test_the_largest_come_ascending_and_ties_go_to_the_lower_index(scores: list[float], n: int, above: float) -> None:
    ranked = sorted((-score, item) for item, score in enumerate(scores) if item and score > above)
    expected = sorted(item for _, item in ranked[:n])
    assert top(np.array(scores, np.float32), n, above=above).tolist() == expected


@given(st.integers(0, 2**32 - 1), st.integers(1, 400))
def test_many_scores_give_the_same_as_sorting_them(seed: int, n: int) -> None:
    scores = np.random.default_rng(seed).normal(size=20_000).round(2).astype(np.float32)
    order = np.lexsort((np.arange(1, 20_000), -scores[1:])) + 1
    assert top(scores, n).tolist() == sorted(order[:n].tolist())
