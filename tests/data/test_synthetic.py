"""The synthetic datasets keep what they promise."""

from __future__ import annotations

from collections.abc import Callable

import polars as pl
import pytest

from headrace.data.synthetic import START_US, fashion, ring, shop, tribes, twins

MAKERS: list[Callable[..., tuple[pl.DataFrame, pl.DataFrame]]] = [ring, tribes, fashion, twins, shop]


@pytest.mark.parametrize("maker", MAKERS)
def test_the_same_seed_gives_the_same_dataset(maker: Callable[..., tuple[pl.DataFrame, pl.DataFrame]]) -> None:
    for one, other in zip(maker(n_users=30, seed=3), maker(n_users=30, seed=3), strict=True):
        assert one.equals(other)
    assert not maker(n_users=30, seed=3)[0].equals(maker(n_users=30, seed=4)[0])


@pytest.mark.parametrize("maker", MAKERS)
def test_every_event_has_its_item(maker: Callable[..., tuple[pl.DataFrame, pl.DataFrame]]) -> None:
    events, items = maker(n_users=30, seed=1)
    assert events.columns == ["user_id", "item_id", "type", "value", "time"]
    assert set(events["item_id"]) <= set(items["item_id"])
    assert items["item_id"].is_unique().all()
    assert events["time"].min() >= START_US  # type: ignore[operator]  # a column of integers


def test_after_an_item_of_the_ring_comes_the_next() -> None:
    events, _ = ring(n_items=7, n_users=5, length=9, seed=1)
    number = pl.col("item_id").str.strip_prefix("item").cast(pl.Int64)
    steps = events.sort("user_id", "time").select(step=(number - number.shift(1)).over("user_id") % 7)["step"]
    assert set(steps.drop_nulls()) == {1}


def test_tribes_never_meet_each_other() -> None:
    events, items = tribes(n_items=20, n_users=10, seed=1)
    tribe = (
        events.join(items, on="item_id").explode("categories").group_by("user_id").agg(pl.col("categories").n_unique())
    )
    assert set(tribe["categories"]) == {1}
    assert events["item_id"].n_unique() <= 18


def test_fashion_turns_at_noon() -> None:
    events, items = fashion(seed=1)
    noon = START_US + 12 * 3_600_000_000
    kinds = events.join(items, on="item_id").with_columns(pl.col("categories").list.first())
    assert set(kinds.filter(pl.col("time") < noon)["categories"]) == {"morning"}
    assert set(kinds.filter(pl.col("time") >= noon)["categories"]) == {"evening"}


def test_a_twin_has_the_title_of_its_item_and_no_event() -> None:
    events, items = twins(n_items=10, n_users=5, seed=1)
    assert items.group_by("title").len()["len"].to_list() == [2] * 10
    assert not events["item_id"].str.starts_with("twin").any()


def test_a_shop_view_often_leads_to_the_companion() -> None:
    events, _ = shop(n_users=300, seed=1)
    views = events.filter(pl.col("type") == "view").sort("user_id", "time")
    pairs = views.select("item_id", after=pl.col("item_id").shift(-1).over("user_id")).drop_nulls()
    best = (
        pairs.group_by("item_id", "after").len().group_by("item_id").agg(pl.col("len").max(), all=pl.col("len").sum())
    )
    assert 0.35 < best["len"].sum() / best["all"].sum() < 0.6
    assert 0 < (events["type"] == "purchase").mean() < 0.2  # type: ignore[operator]  # a share
