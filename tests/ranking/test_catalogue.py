"""Tests of the catalogue: indices stay, titles group, categories and availability follow each change."""

from __future__ import annotations

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from headrace.ranking.catalogue import Catalogue


def test_ids_and_indices_belong_together_and_unknown_ids_are_zero() -> None:
    catalogue = Catalogue.of_ids(["007", "tea"])
    assert [catalogue.index(each) for each in ("007", "tea", "7")] == [1, 2, 0]
    assert [catalogue.id(index) for index in (1, 2)] == ["007", "tea"]
    assert len(catalogue) == 2


def test_a_dataset_becomes_a_catalogue_with_nulls_as_unknown() -> None:
    frame = pl.DataFrame(
        {
            "item_id": ["a", "b", "c", "d"],
            "title": ["Green tea", " green  TEA", None, ""],
            "categories": [["drinks"], ["drinks", "hot"], None, []],
            "available": [True, False, None, True],
        }
    )
    catalogue = Catalogue.of_items(frame)
    assert catalogue.available.tolist() == [False, True, False, True, True]
    groups = catalogue.groups.tolist()
    assert groups[1] == groups[2] != 0
    assert groups[3] == groups[4] == 0
    assert catalogue.in_category("drinks").tolist() == [False, True, True, False, False]
    assert catalogue.categories(2) == ("drinks", "hot")


def test_ids_alone_are_enough() -> None:
    catalogue = Catalogue.of_items(pl.DataFrame({"item_id": ["a", "b"]}))
    assert catalogue.available.tolist() == [False, True, True]
    assert catalogue.groups.tolist() == [0, 0, 0]


def test_an_item_put_again_is_replaced_in_its_place() -> None:
    catalogue = Catalogue()
    catalogue.put("a", title="One", categories=["x"])
    assert catalogue.in_category("x").tolist() == [False, True]
    assert catalogue.put("a", title="Two", categories=["y"], available=False) == 1
    assert catalogue.in_category("x").tolist() == [False, False]
    assert catalogue.in_category("y").tolist() == [False, True]
    assert not catalogue.available[1]
    catalogue.set_available(1, True)
    assert catalogue.available[1]


def test_a_removed_item_leaves_the_lists_and_keeps_its_index() -> None:
    catalogue = Catalogue()
    catalogue.put("a", title="One", categories=["x"])
    catalogue.put("b")
    catalogue.remove(1)
    assert catalogue.available.tolist() == [False, False, True]
    assert catalogue.index("a") == 1
    assert catalogue.groups[1] == 0
    assert not catalogue.in_category("x").any()


@given(st.lists(st.sampled_from([f"item {n}" for n in range(300)]), max_size=400))
def test_mentioned_ids_get_the_next_index_once(ids: list[str]) -> None:
    catalogue = Catalogue()
    given_out = [catalogue.mention(each) for each in ids]
    distinct = list(dict.fromkeys(ids))
    assert given_out == [distinct.index(each) + 1 for each in ids]
    assert list(catalogue.ids) == distinct
    assert catalogue.available.tolist() == [False] + [True] * len(distinct)
    assert len(catalogue.in_category("none")) == len(distinct) + 1


def test_a_category_knows_items_that_came_after_it_was_asked_for() -> None:
    catalogue = Catalogue()
    catalogue.put("a", categories=["x"])
    assert catalogue.in_category("x").sum() == 1
    catalogue.mention("b")
    catalogue.put("c", categories=["x"])
    assert catalogue.in_category("x").tolist() == [False, True, False, True]
