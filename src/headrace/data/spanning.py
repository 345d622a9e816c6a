"""What only the whole table shows: the rating scale, event ids that come again, users and items that are too rare."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from headrace.core.types import RATING_TYPE, Scale
from headrace.data.log import Bools, Ints
from headrace.data.row_rules import SCALE_RULE, Bounds
from headrace.data.tables import ROW
from headrace.data.vocabulary import Vocabulary

# A value of fewer ratings than this share does not stretch the scale unless it lies near the others.
_COMMON_SHARE = 1e-3
_STEPS = (1.0, 0.5, 0.25, 0.2, 0.1, 0.05, 0.01)
_MOST_VALUES = 1_001


def count_values(rows: pl.LazyFrame) -> pl.DataFrame:
    """Return `value, n`: how often each rating was given."""
    ratings = rows.filter((pl.col("type") == RATING_TYPE) & pl.col("value").is_not_null())
    return ratings.group_by("value").agg(n=pl.len().cast(pl.Int64)).collect()


def detect_scale(counts: Sequence[pl.DataFrame]) -> Scale | None:
    """Find the rating scale: its bounds and, where the values stand on a grid, its step.

    A value given by less than 0.1 % that lies further outside the others than these spread is an error of the source
    (a 500 among stars) and off the scale.

    Args:
        counts: `value, n` of each part.

    Returns:
        None where there are no ratings, or all are the same.
    """
    table = pl.concat(counts).group_by("value").agg(pl.col("n").sum()).sort("value")
    if table.height < 2:
        return None
    values, n = table["value"].to_numpy(), table["n"].to_numpy()
    common = values[n >= _COMMON_SHARE * n.sum()]
    if len(common) > 2:
        spread = common[-1] - common[0]
        values = values[(values >= common[0] - spread) & (values <= common[-1] + spread)]
    low, high = float(values[0]), float(values[-1])
    step = None
    if len(values) <= _MOST_VALUES:
        grids = ((values - low) / size for size in _STEPS)
        step = next(
            (s for s, grid in zip(_STEPS, grids, strict=True) if np.abs(grid - grid.round()).max() < 1e-6), None
        )
    return Scale(low, high, step)


def any_off_scale(counts: Sequence[pl.DataFrame], bounds: Bounds) -> bool:
    """Whether any rating lies off the scale of `bounds`."""
    values = pl.concat(counts).select("value", type=pl.lit(RATING_TYPE))
    return not values.select(SCALE_RULE.keeps(bounds).all()).item()


def repeated_ids(parts: Sequence[pl.LazyFrame]) -> pl.Series:
    """Return the row numbers of events whose `event_id` came in an earlier row, of any user."""
    named = [part for part in parts if "event_id" in part.collect_schema()]
    empty = pl.Series(ROW, [], dtype=pl.Int64)
    if not named:
        return empty
    ids = pl.concat([part.select(ROW, "event_id") for part in named]).filter(pl.col("event_id").str.len_bytes() > 0)
    # First by a 64-bit hash, which takes little memory; the few that meet there are compared in full.
    hashed = ids.select(pl.col("event_id").hash().alias("hash"))
    met = hashed.group_by("hash").agg(n=pl.len()).filter(pl.col("n") > 1).select("hash").collect(engine="streaming")
    if not met.height:
        return empty
    few = ids.filter(pl.col("event_id").hash().is_in(met["hash"].implode())).collect(engine="streaming").sort(ROW)
    return few.filter(~pl.col("event_id").is_first_distinct())[ROW]


def core_masks(parts: Sequence[pl.LazyFrame], min_user_events: int, min_item_events: int) -> list[Bools]:
    """Return which rows of each part stay when rare users and items leave, again and again until none is left.

    Args:
        parts: with `user_id` and `item_id`, all events of a user in one part.
        min_user_events: a user with fewer leaves.
        min_item_events: an item with fewer leaves.
    """
    distinct = pl.concat([part.select("item_id").unique() for part in parts]).unique().collect(engine="streaming")
    vocabulary = Vocabulary(distinct["item_id"].sort())
    users_by_part: list[Ints] = []
    items_by_part: list[Ints] = []
    first = 0
    for part in parts:
        rows = part.select("user_id", "item_id").collect()
        own = Vocabulary(rows["user_id"].unique())
        users_by_part.append(own.indices(rows["user_id"]) + np.int32(first))
        items_by_part.append(vocabulary.indices(rows["item_id"]))
        first += len(own)
    users, items = np.concatenate(users_by_part), np.concatenate(items_by_part)
    keep = np.ones(len(users), dtype=np.bool_)
    while True:
        by_user = np.bincount(users[keep], minlength=first + 1)
        by_item = np.bincount(items[keep], minlength=len(vocabulary) + 1)
        stay = keep & (by_user[users] >= min_user_events) & (by_item[items] >= min_item_events)
        if np.array_equal(stay, keep):
            return np.split(keep, np.cumsum([len(part) for part in users_by_part])[:-1])
        keep = stay
