"""The row rules: the table and the single event must be judged alike."""

from __future__ import annotations

import math

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.core.types import Event, Item, Scale
from headrace.data.row_rules import (
    RULES,
    Bounds,
    Fault,
    check_events,
    check_id,
    check_item,
    event_type,
    type_expression,
)

STARS = Scale(0.5, 5.0, 0.5)
NOW = 1_000_000
ids = st.one_of(
    st.text(max_size=8),
    st.sampled_from(["a" * 256, "a" * 257, "ü" * 128, "ü" * 129, "tab\t", "del\x7f", "c1\x85", "é "]),
).filter(lambda text: not any("\ud800" <= letter <= "\udfff" for letter in text))
values = st.one_of(st.none(), st.floats(), st.sampled_from([0.5, 2.5, 2.4, 5.0, 5.5]))
events = st.builds(
    Event,
    user_id=ids,
    item_id=ids,
    type=st.one_of(st.none(), st.sampled_from(["", "rating", "view", "bad\n"])),
    value=values,
    time=st.one_of(st.none(), st.integers(-(2**40), 2**40), st.sampled_from([0, -1, NOW + 5, NOW + 6])),
    event_id=st.one_of(st.none(), ids),
    recommendation_id=st.one_of(st.none(), ids),
)


@settings(deadline=None)
@given(st.lists(events, min_size=1, max_size=6), st.sampled_from([None, STARS, Scale(1, 10, None)]))
def test_a_table_and_single_events_are_judged_alike(batch: list[Event], scale: Scale | None) -> None:
    bounds = Bounds(NOW + 5, scale)
    names = ("user_id", "item_id", "type", "event_id", "recommendation_id")
    table = pl.DataFrame(
        {
            **{name: pl.Series([getattr(event, name) for event in batch], dtype=pl.String) for name in names},
            "value": pl.Series([event.value for event in batch], dtype=pl.Float64),
            "time": pl.Series([event.time for event in batch], dtype=pl.Int64),
        }
    )
    for rule in RULES:
        kept = table.with_columns(keep=rule.keeps(bounds).fill_null(False))["keep"]
        assert kept.to_list() == [rule.accepts(event, bounds) for event in batch], rule.name


@settings(deadline=None)
@given(events)
def test_a_type_is_filled_in_alike(event: Event) -> None:
    table = pl.DataFrame(
        {"type": pl.Series([event.type], dtype=pl.String), "value": pl.Series([event.value], dtype=pl.Float64)}
    )
    assert table.select(type_expression().alias("type"))["type"].to_list() == [event_type(event)]


def test_a_value_makes_a_rating_and_none_an_interaction() -> None:
    assert event_type(Event(user_id="u", item_id="i", value=3)) == "rating"
    assert event_type(Event(user_id="u", item_id="i")) == "interaction"
    assert event_type(Event(user_id="u", item_id="i", type="purchase", value=2)) == "purchase"


def test_every_fault_of_every_event_is_told_in_order() -> None:
    good = Event(user_id="u", item_id="i", time=NOW)
    bad = Event(user_id="", item_id="x" * 300, value=math.inf, time=-1)
    assert check_events([good, bad], now=NOW, scale=None, max_future_us=0) == [
        Fault(1, "user_id", "user-id", "user_id must not be empty"),
        Fault(1, "item_id", "item-id-length", "item_id must be at most 256 bytes long"),
        Fault(1, "value", "value-finite", "value must be a finite number"),
        Fault(1, "time", "time-past", "time must not lie before 1970"),
    ]


def test_the_scale_binds_ratings_only() -> None:
    rated = Event(user_id="u", item_id="i", value=7)
    bought = Event(user_id="u", item_id="i", type="purchase", value=7)
    assert [fault.rule for fault in check_events([rated, bought], now=NOW, scale=STARS, max_future_us=0)] == [
        "rating-scale"
    ]


@pytest.mark.parametrize("text", ["007", "a b", "ü" * 128, "日本", "a/b", "\u200b"])
def test_good_ids_pass(text: str) -> None:
    assert check_id(text) is None


@pytest.mark.parametrize(
    ("text", "part"),
    [("", "empty"), ("x" * 257, "256"), ("a\nb", "control"), ("a\x85", "control"), ("\ud800", "control")],
)
def test_bad_ids_are_told_apart(text: str, part: str) -> None:
    assert part in str(check_id(text))


def test_an_item_must_have_a_good_id_price_and_categories() -> None:
    assert check_item(Item(item_id="i", price=1.5, categories=("a",))) == []
    faults = check_item(Item(item_id="", price=-1.0, categories=("",)))
    assert [fault.field for fault in faults] == ["item_id", "price", "categories"]
