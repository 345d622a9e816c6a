"""Numeric features of items and the statistics that normalise them; training keeps these in the model folder."""

from __future__ import annotations

import json

import numpy as np
import polars as pl
from numpy.typing import NDArray

# A feature that fewer items have tells them apart too rarely to be worth a column.
_LEAST_SHARE = 0.01


def numeric_features(items: pl.DataFrame) -> pl.DataFrame:
    """Return the numeric features of items, a column each, null where an item has none.

    Args:
        items: as `items.parquet` holds them. `price` is taken as log(1 + price), since prices spread over decades;
            an attribute counts where its value is a number in at least 1 % of the items.
    """
    columns = {"price": items["price"].clip(lower_bound=0).log1p()}
    rows = [json.loads(text) if text else {} for text in items["attributes"].to_list()]
    names = sorted({name for row in rows for name, value in row.items() if _is_number(value)})
    for name in names:
        values = [float(row[name]) if _is_number(row.get(name)) else None for row in rows]
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


def normalise(items: pl.DataFrame, statistics: dict[str, tuple[float, float]]) -> NDArray[np.float32]:
    """Return (V, F) the features of `statistics`, in its order, at mean 0 and deviation 1; a missing one is 0."""
    features = numeric_features(items)
    table = np.zeros((items.height, len(statistics)), dtype=np.float32)
    for place, (name, (mean, deviation)) in enumerate(statistics.items()):
        if name in features.columns:
            table[:, place] = ((features[name] - mean) / deviation).fill_null(0.0).to_numpy()
    return table


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
