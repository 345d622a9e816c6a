"""Numeric features of items and the statistics that normalise them; training keeps these in the model folder."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import TypeGuard

import numpy as np
import polars as pl
from numpy.typing import NDArray

# A feature that fewer items have tells them apart too rarely to be worth a column.
_LEAST_SHARE = 0.01
# The squares of such numbers still fit a float64; an attribute beyond them measures nothing.
_LARGEST = 1e30
# One misplaced decimal point must not outweigh all else that is known of an item.
_FARTHEST = 10.0


def numeric_features(items: pl.DataFrame) -> pl.DataFrame:
    """Return the numeric features of items, a column each, null where an item has none.

    Args:
        items: as `items.parquet` holds them. `price` is taken as log(1 + price), since prices spread over decades;
            an attribute counts where its value is a number in at least 1 % of the items.
    """
    columns = {"price": items["price"].clip(lower_bound=0).log1p()}
    rows = _attributes(items)
    names = sorted({name for row in rows for name, value in row.items() if _is_number(value)})
    for name in names:
        values = [float(value) if _is_number(value := row.get(name)) else None for row in rows]
        column = pl.Series(name, values, dtype=pl.Float64)
        if column.count() >= _LEAST_SHARE * len(rows) and name not in columns:
            columns[name] = column
    return pl.DataFrame(columns)


def feature_statistics(items: pl.DataFrame) -> dict[str, tuple[float, float]]:
    """Return mean and standard deviation of each numeric feature that varies, by name."""
    statistics = {}
    for column in numeric_features(items).iter_columns():
        values = column.drop_nulls().to_numpy()
        if len(values) > 1 and values.std() > 0:
            statistics[column.name] = (float(values.mean()), float(values.std()))
    return statistics


def normalise(items: pl.DataFrame, statistics: Mapping[str, tuple[float, float]]) -> NDArray[np.float32]:
    """Return (V, F) `normalised` features of items as `items.parquet` holds them."""
    rows = zip(items["price"].to_list(), _attributes(items), strict=True)
    table = [normalised(price, attributes, statistics) for price, attributes in rows]
    return np.array(table, np.float32).reshape(items.height, len(statistics))


def normalised(
    price: float | None, attributes: Mapping[str, object], statistics: Mapping[str, tuple[float, float]]
) -> list[float]:
    """Return the features of `statistics` of one item, in its order; training and service both call this.

    At mean 0 and deviation 1, held within 10 deviations; a missing one is 0, which is the mean.
    """
    row = []
    for name, (mean, deviation) in statistics.items():
        value = attributes.get(name)
        if name == "price":
            value = None if price is None else math.log1p(max(price, 0.0))
        place = (float(value) - mean) / deviation if _is_number(value) else 0.0
        row.append(min(max(place, -_FARTHEST), _FARTHEST))
    return row


def _attributes(items: pl.DataFrame) -> list[dict[str, object]]:
    return [json.loads(text) if text else {} for text in items["attributes"].to_list()]


def _is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= _LARGEST
