"""Numeric features of items."""

from __future__ import annotations

import math

import numpy as np
import polars as pl
import pytest

from headrace.data.features import feature_statistics, normalise, numeric_features

ITEMS = pl.DataFrame(
    {
        "item_id": ["a", "b", "c"],
        "price": [0.0, math.e - 1, None],
        "attributes": ['{"year": 1990, "brand": "x", "new": true}', '{"year": 2010}', None],
    }
)


def test_prices_are_taken_as_logarithms_and_numbers_as_they_are() -> None:
    assert numeric_features(ITEMS).to_dict(as_series=False) == {
        "price": [0.0, pytest.approx(1.0), None],
        "year": [1990.0, 2010.0, None],
    }


def test_statistics_are_mean_and_deviation() -> None:
    assert feature_statistics(ITEMS) == {"price": pytest.approx((0.5, 0.5)), "year": pytest.approx((2000.0, 10.0))}


def test_a_missing_feature_lies_at_the_mean() -> None:
    table = normalise(ITEMS, feature_statistics(ITEMS))
    assert table == pytest.approx(np.array([[-1, -1], [1, 1], [0, 0]], dtype=np.float32))


def test_a_feature_that_never_varies_is_left_out() -> None:
    same = pl.DataFrame({"price": [2.0, 2.0], "attributes": pl.Series([None, None], dtype=pl.String)})
    assert feature_statistics(same) == {}


def test_a_feature_that_the_items_lack_is_zero() -> None:
    bare = pl.DataFrame(
        {"price": pl.Series([None], dtype=pl.Float64), "attributes": pl.Series([None], dtype=pl.String)}
    )
    assert normalise(bare, {"year": (2000.0, 10.0)}).tolist() == [[0.0]]
