"""What an item says: one text and one row of numbers, wherever it comes from."""

from __future__ import annotations

import polars as pl

from headrace.content.item_reading import item_features, item_text, item_texts, items_of
from headrace.core.types import Item
from headrace.data.item_cleaning import clean_items
from headrace.data.tables import ROW, RawTable

RAW = Item(
    item_id="a",
    title=" <b>Green</b> tea ",
    text="first<br>flush &amp; fresh",
    categories=("drinks", " drinks ", "n/a", "<i>hot</i>"),
    price=3.0,
    attributes={"size": 2, "origin": "Assam"},
)


def test_markup_is_no_part_of_the_text() -> None:
    assert item_text(RAW) == "Green tea. first flush & fresh. drinks, hot"
    assert item_text(Item(item_id="b", title="<p> </p>", categories=("none",))) == ""


def test_a_raw_item_and_a_cleaned_one_say_the_same() -> None:
    rows = pl.DataFrame(
        {ROW: [1], "item_id": ["a"], "title": [RAW.title], "text": [RAW.text], "categories": [list(RAW.categories)]}
    ).with_columns(price=pl.lit(3.0), size=pl.lit(2), origin=pl.lit("Assam"))
    cleaned, _, _ = clean_items(RawTable("items", rows.lazy()))
    assert item_texts(cleaned) == [item_text(RAW)]
    (item,) = items_of(cleaned)
    assert item.title == "Green tea"
    statistics = {"size": (1.0, 0.5), "price": (0.0, 1.0)}
    assert item_features([item], statistics).tolist() == item_features([RAW], statistics).tolist()


def test_columns_that_are_not_there_are_empty() -> None:
    assert items_of(pl.DataFrame({"item_id": ["a"], "title": [None]})) == [Item(item_id="a")]
    assert item_features([], {"size": (0.0, 1.0)}).shape == (0, 1)
