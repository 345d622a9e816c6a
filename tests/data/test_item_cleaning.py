"""Cleaning of a catalogue."""

from __future__ import annotations

import json

import msgspec
import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.core.errors import DataError
from headrace.core.types import Scalar
from headrace.data.item_cleaning import (
    ITEM_SCHEMA,
    clean_items,
    clean_text,
    parse_price,
    split_categories,
    tidy_measure,
)
from headrace.data.tables import from_frame, from_pandas


@pytest.mark.parametrize(
    ("text", "price"),
    [
        ("12.5", 12.5),
        ("$1,234.50", 1234.5),
        ("1.234,50 €", 1234.5),
        ("1 234,50 €", 1234.5),
        ("1,234", 1234.0),
        ("1,23", 1.23),
        ("1.234.567", 1234567.0),
        ("1'234.50 CHF", 1234.5),
        ("Rs. 500", 500.0),
        ("EUR12,-", 12.0),
        (".99", 0.99),
        ("0", 0.0),
        ("£12.50 each", 12.5),
        ("₹1,23,456.50", 123456.5),
    ],
)
def test_prices_in_every_usual_spelling(text: str, price: float) -> None:
    assert parse_price(text) == price


@pytest.mark.parametrize("text", ["", "free", "-5", "10-20", "1.2.3,4,5", "nan", "inf", "1e9"])
def test_what_is_not_one_price_is_none(text: str) -> None:
    assert parse_price(text) is None


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("<b>Green</b>&nbsp;tea<br/>200&nbsp;g", "Green tea 200 g"),
        ("&lt;i&gt;twice&lt;/i&gt; &amp;amp; more", "twice & more"),
        ("<script>alert(1)</script>tea<!-- no -->", "tea"),
        ("a<b and 3 <4, write to <me@shop.example>", "a<b and 3 <4, write to <me@shop.example>"),
        (" \t\n ", None),
    ],
)
def test_markup_entities_and_space_go(text: str, plain: str | None) -> None:
    assert clean_text(text) == plain


@settings(deadline=None)
@given(st.text(st.sampled_from("<>/b&amp;lt; x"), max_size=30))
def test_cleaning_a_clean_text_changes_nothing(text: str) -> None:
    once = clean_text(text)
    assert once is None or clean_text(once) == once


@pytest.mark.parametrize(
    ("text", "categories"),
    [
        ("Drama|War", ["Drama", "War"]),
        ("Home; Garden ;Home", ["Home", "Garden"]),
        ('["a|b", "c"]', ["a|b", "c"]),
        ("['a', 'b']", ["a", "b"]),
        ("(no genres listed)", []),
        ("Food, drink", ["Food, drink"]),
        ("[broken", ["[broken"]),
    ],
)
def test_categories_in_every_usual_spelling(text: str, categories: list[str]) -> None:
    assert split_categories(text) == categories


def test_units_are_spelt_alike() -> None:
    assert [tidy_measure(text) for text in ("12OZ", "0,5 Litre", "3 lbs.", "12 XYZ", "12")] == [
        "12 oz",
        "0.5 l",
        "3 lb",
        "12 XYZ",
        "12",
    ]


def test_the_columns_find_their_fields_and_the_rest_is_kept() -> None:
    frame = pl.DataFrame(
        {
            "productId": ["007", "008"],
            "Product Name": ["<b>Tea</b>", "Cup"],
            "description": ["good", None],
            "category": ["Drinks|Hot", None],
            "price": ["$2.50", "?"],
            "in_stock": ["yes", "no"],
            "brand": ["Acme &amp; Sons", None],
            "year": ["1995", "2001"],
            "code": ["001", "2"],
            "attributes": ['{"colour": "red"}', None],
        }
    )
    items, steps, dropped = clean_items(from_frame(frame, "test"))
    assert items.schema == pl.Schema(ITEM_SCHEMA)
    assert items.drop("attributes").to_dicts() == [
        {
            "item_id": "007",
            "title": "Tea",
            "text": "good",
            "categories": ["Drinks", "Hot"],
            "price": 2.5,
            "available": True,
            "image": None,
            "audio": None,
        },
        {
            "item_id": "008",
            "title": "Cup",
            "text": None,
            "categories": None,
            "price": None,
            "available": False,
            "image": None,
            "audio": None,
        },
    ]
    assert [json.loads(text) for text in items["attributes"]] == [
        {"brand": "Acme & Sons", "year": 1995, "code": "001", "colour": "red"},
        {"year": 2001, "code": "2"},
    ]
    assert {step.step: step.rows for step in steps}["prices"] == 1
    assert dropped.is_empty()


def test_duplicate_and_bad_ids_leave_with_their_reason() -> None:
    frame = pl.DataFrame({"id": ["a", "b", "a", "", None, "x" * 300], "title": ["1", "2", "3", "4", "5", " "]})
    items, steps, dropped = clean_items(from_frame(frame, "test"))
    assert items.select("item_id", "title").rows() == [("b", "2"), ("a", "3")]
    assert dropped.sort("row").select("row", "step").rows() == [
        (1, "duplicate ids"),
        (4, "bad ids"),
        (5, "bad ids"),
        (6, "bad ids"),
    ]
    assert json.loads(dropped.sort("row")["raw"][0]) == {"id": "a", "title": "1"}
    assert sum(step.rows for step in steps if step.step in ("duplicate ids", "bad ids")) == 4


def test_a_catalogue_may_have_a_step_and_a_reason_of_its_own() -> None:
    frame = pl.DataFrame({"item_id": ["a", "a"], "step": ["one", "two"], "reason": ["x", "y"]})
    items, steps, dropped = clean_items(from_frame(frame, "test"))
    assert json.loads(items["attributes"].item()) == {"step": "two", "reason": "y"}
    assert dropped.select("row", "step").rows() == [(1, "duplicate ids")]
    assert json.loads(dropped["raw"].item()) == {"item_id": "a", "step": "one", "reason": "x"}
    assert [(step.step, step.rows) for step in steps if step.rows] == [("duplicate ids", 1)]


def test_an_attribute_is_one_plain_value() -> None:
    frame = pl.DataFrame(
        {
            "item_id": ["a", "b", "c"],
            "attributes": ['{"k": {"x": 1}, "l": [1], "n": null, "f": 1.5}', "[1, 2]", "red"],
            "marks": [["p"], None, []],
            "size": pl.Series(["1.5", None, "2"]).cast(pl.Decimal(4, 1)),
        }
    )
    texts = clean_items(from_frame(frame, "test"))[0]["attributes"].to_list()
    assert [msgspec.json.decode(text, type=dict[str, Scalar]) for text in texts] == [
        {"k": '{"x":1}', "l": "[1]", "f": 1.5, "marks": '["p"]', "size": 1.5},
        {"attributes": "[1,2]"},
        {"attributes": "red", "marks": "[]", "size": 2.0},
    ]


@pytest.mark.parametrize("listed", [["X", "Y"], np.array(["X", "Y"], dtype=object), ("X", "Y")])
def test_lists_of_a_pandas_frame_are_lists(listed: object) -> None:
    frame = pd.DataFrame({"item_id": ["a"], "categories": pd.Series([listed])})
    assert clean_items(from_pandas(frame, "test"))[0]["categories"].to_list() == [["X", "Y"]]


def test_an_empty_title_is_counted_and_the_item_kept() -> None:
    items, steps, _ = clean_items(from_frame(pl.DataFrame({"item_id": ["a", "b"], "title": ["", "<p></p>"]}), "test"))
    assert items["title"].to_list() == [None, None]
    assert {step.step: step.rows for step in steps}["empty titles"] == 2


def test_typed_columns_are_taken_as_they_are() -> None:
    frame = pl.DataFrame(
        {
            "item_id": [1, 2],
            "categories": [["a|b", " c ", "c", None], None],
            "price": [1.5, float("nan")],
            "available": [False, None],
            "stars": [4.5, None],
            "tags": [["x"], []],
        }
    )
    items, _, _ = clean_items(from_frame(frame, "test"))
    assert items["item_id"].to_list() == ["1", "2"]
    assert items["categories"].to_list() == [["a|b", "c"], None]
    assert items["price"].to_list() == [1.5, None]
    assert items["available"].to_list() == [False, True]
    assert json.loads(items["attributes"][0])["stars"] == 4.5


def test_a_float_id_is_refused() -> None:
    with pytest.raises(DataError, match="write it as text"):
        clean_items(from_frame(pl.DataFrame({"item_id": [1.0]}), "test"))


def test_a_catalogue_without_an_id_column_names_the_columns_and_the_flag() -> None:
    with pytest.raises(DataError, match=r"'name'.*--item"):
        clean_items(from_frame(pl.DataFrame({"name": ["a"]}), "test"))


def test_the_named_id_column_is_taken_where_it_is() -> None:
    frame = pl.DataFrame({"item_id": ["x"], "article": ["a"]})
    assert clean_items(from_frame(frame, "test"), "article")[0]["item_id"].to_list() == ["a"]
    assert clean_items(from_frame(frame, "test"), "other")[0]["item_id"].to_list() == ["x"]
