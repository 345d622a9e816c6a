"""The value of an event as the network reads it."""

from __future__ import annotations

import numpy as np

from headrace.core.types import RATING_TYPE, Scale
from headrace.data.log import Bools, Floats, Ints

NO_VALUE = -1.0

VALUE_KNOTS = 9
"""A value between 0 and 1 is read by linear interpolation between this many learned vectors."""


def unit_values(values: Floats, ratings: Bools, scale: Scale | None) -> Floats:
    """Map values to 0..1; -1 where there is none.

    Args:
        values: (N,) NaN where an event has no value.
        ratings: (N,) True where the value is a rating; it is scaled by the bounds. Any other value v (a quantity,
            seconds) becomes log(1 + v) / (1 + log(1 + v)), negative ones 0.
        scale: of the ratings; None where the dataset has none.
    """
    weight = np.log1p(np.clip(np.nan_to_num(values, nan=0.0, posinf=3e38), 0.0, None))
    mapped = weight / (1.0 + weight)
    if scale is not None:
        mapped = np.where(ratings, np.clip((values - scale.low) / (scale.high - scale.low), 0.0, 1.0), mapped)
    return np.where(np.isnan(values), NO_VALUE, mapped).astype(np.float32)


def is_rating(types: Ints, names: list[str]) -> Bools:
    """Return (N,) True where the type index `types` (N,) names the rating type."""
    return np.isin(types, [place for place, name in enumerate(names) if name == RATING_TYPE])
