"""Single steps of the cleaning of events, and what needs the whole table."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.core.types import Scale
from headrace.data.cleaning import fast_users
from headrace.data.spanning import core_masks, detect_scale, repeated_ids
from headrace.data.tables import ROW

SECOND = 1_000_000


def counts(values: dict[float, int]) -> list[pl.DataFrame]:
    return [
        pl.DataFrame({"value": list(values), "n": list(values.values())}, schema={"value": pl.Float64, "n": pl.Int64})
    ]


@pytest.mark.parametrize(
    ("values", "scale"),
    [
        ({0.5: 5, 1.0: 5, 3.5: 2, 5.0: 9}, Scale(0.5, 5.0, 0.5)),
        ({1: 5, 2: 5, 5: 9}, Scale(1, 5, 1.0)),
        ({0: 1, 7: 5, 10: 9}, Scale(0, 10, 1.0)),
        ({0.25: 1, 1.0: 5}, Scale(0.25, 1.0, 0.25)),
        ({0.123: 1, 1.0: 5}, Scale(0.123, 1.0, None)),
        ({3: 10}, None),
        ({}, None),
        ({1: 500, 2: 500, 4: 400, 5: 600, 500: 1}, Scale(1, 5, 1.0)),
        ({3: 5000, 4: 5000, 5: 5000, 1: 2}, Scale(1, 5, 1.0)),
    ],
)
def test_the_scale_is_read_off_the_ratings(values: dict[float, int], scale: Scale | None) -> None:
    assert detect_scale(counts(values)) == scale


def test_a_basket_of_many_lines_is_one_visit() -> None:
    users = np.ones(700, dtype=np.int32)
    assert fast_users(users, np.full(700, 5 * SECOND), 600).tolist() == []


def test_a_bot_is_seen_at_more_seconds_of_an_hour_than_a_person() -> None:
    times = np.arange(601) * 5 * SECOND
    assert fast_users(np.ones(601, dtype=np.int32), times, 600).tolist() == [1]
    assert fast_users(np.ones(600, dtype=np.int32), times[:600], 600).tolist() == []
    assert fast_users(np.ones(601, dtype=np.int32), np.arange(601) * 6 * SECOND, 600).tolist() == []


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(1, 3), st.integers(0, 30)), max_size=40), st.integers(1, 5))
def test_bots_are_those_whom_counting_by_hand_finds(visits: list[tuple[int, int]], most: int) -> None:
    visits = sorted(visits)
    users = np.array([user for user, _ in visits], dtype=np.int32)
    times = np.array([minute * 600 * SECOND for _, minute in visits], dtype=np.int64)
    seen = {user: sorted({minute * 600 for other, minute in visits if other == user}) for user in (1, 2, 3)}
    expected = [
        user
        for user, seconds in seen.items()
        if any(sum(start <= second < start + 3600 for second in seconds) > most for start in seconds)
    ]
    assert fast_users(users, times, most).tolist() == expected


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from("xyz")), max_size=30),
    st.integers(0, 4),
    st.integers(0, 4),
)
def test_the_core_is_what_leaving_by_hand_comes_to(rows: list[tuple[str, str]], users: int, items: int) -> None:
    frame = pl.DataFrame(rows, schema={"user_id": pl.String, "item_id": pl.String}, orient="row")
    halves = [frame.filter(pl.col("user_id") < "c"), frame.filter(pl.col("user_id") >= "c")]
    expected = pl.concat(halves).rows()
    while True:
        stay = [
            (user, item)
            for user, item in expected
            if sum(user == other for other, _ in expected) >= users
            and sum(item == other for _, other in expected) >= items
        ]
        if stay == expected:
            break
        expected = stay
    masks = core_masks([half.lazy() for half in halves], users, items)
    found = [
        row
        for half, mask in zip(halves, masks, strict=True)
        for row in half.filter(pl.Series(mask, dtype=pl.Boolean)).rows()
    ]
    assert found == expected


def test_an_event_id_counts_once_over_all_parts() -> None:
    first = pl.LazyFrame({ROW: [1, 4, 5], "event_id": ["a", "b", None]})
    second = pl.LazyFrame({ROW: [2, 3, 6], "event_id": ["b", "a", ""]})
    assert repeated_ids([first, second]).to_list() == [3, 4]


def test_parts_without_event_ids_have_no_retries() -> None:
    assert repeated_ids([pl.LazyFrame({ROW: [1]})]).to_list() == []
