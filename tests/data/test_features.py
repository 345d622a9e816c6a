"""Numeric features of items."""

from __future__ import annotations

import math

import numpy as np
import polars as pl
import pytest

from headrace.data.features import feature_statistics, normalise, normalised, numeric_features

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


def test_no_number_lies_further_off_than_ten_deviations() -> None:
    statistics = {"price": (1.0, 0.5), "year": (2000.0, 10.0)}
    assert normalised(1e308, {"year": 3000}, statistics) == [10.0, 10.0]
    assert normalised(0.0, {"year": -(10**29)}, statistics) == [-2.0, -10.0]


def test_a_number_that_nothing_has_is_none() -> None:
    absurd = [{"year": 10**400}, {"year": 1e300}, {"year": float("inf")}, {"year": True}, {"year": "2010"}]
    for attributes in absurd:
        assert normalised(None, attributes, {"year": (2000.0, 10.0)}) == [0.0]
    kept = pl.DataFrame({"price": [1.0, 1.0], "attributes": ['{"year": 1' + "0" * 400 + "}", '{"year": 1e300}']})
    assert feature_statistics(kept) == {}


def test_a_feature_that_few_of_these_items_have_counts_for_them() -> None:
    attributes = ['{"year": 2010}', *[None] * 199]
    few = pl.DataFrame({"price": [None] * 200, "attributes": attributes}, schema_overrides={"price": pl.Float64})
    assert normalise(few, {"year": (2000.0, 10.0)})[0].tolist() == [1.0]


def test_a_feature_that_the_items_lack_is_zero() -> None:
    bare = pl.DataFrame(
        {"price": pl.Series([None], dtype=pl.Float64), "attributes": pl.Series([None], dtype=pl.String)}
    )
    assert normalise(bare, {"year": (2000.0, 10.0)}).tolist() == [[0.0]]
