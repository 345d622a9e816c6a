"""Damped means, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from headrace.data.damped_means import ItemSums, user_offsets
from headrace.data.values import is_rating, unit_values


def test_an_offset_is_the_mean_deviation_damped_by_ratings_of_average() -> None:
    sums = ItemSums.of(np.array([1, 1, 2], np.int32), np.array([0.9, 0.6, 0.3], np.float32), 3)
    assert sums.mean == pytest.approx(0.6)
    # Item 1: (0.3 + 0.0) / (2 + 1); item 2: -0.3 / (1 + 1); item 3: no rating.
    assert sums.offsets(1.0).tolist() == pytest.approx([0, 0.1, -0.15, 0])


def test_a_users_offset_rests_on_strictly_earlier_ratings() -> None:
    deviations = np.array([0.2, 0.4, 9.0, 0.3], np.float32)
    rated = np.array([True, True, False, True])
    # Events 1 and 2 fall together; event 3 is another user's first.
    offsets, counts = user_offsets(deviations, rated, np.array([0, 1, 1, 3]), np.array([0, 0, 0, 3]), 1.0)
    assert offsets.tolist() == pytest.approx([0, 0.1, 0.1, 0])
    assert counts.tolist() == [0, 1, 1, 0]


def test_a_value_is_scaled_only_where_it_is_a_rating() -> None:
    types = np.array([0, 1, 1], np.int32)
    assert is_rating(types, ["buy", "rating"]).tolist() == [False, True, True]
    found = unit_values(np.array([0.0, 9.0, np.nan], np.float32), is_rating(types, ["buy", "rating"]), None)
    assert found.tolist() == pytest.approx([0.0, np.log(10) / (1 + np.log(10)), -1.0])
