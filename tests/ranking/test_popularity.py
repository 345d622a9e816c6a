"""Tests of recent popularity: windows by hand, and no trace of the order of arrival."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

import headrace.ranking.popularity as popularity_module
from headrace.ranking.popularity import HOUR_US, Popularity, TypeCounts

MET = st.lists(st.tuples(st.integers(1, 5), st.integers(-400, 400)), max_size=30)


def add(popularity: Popularity, rows: list[tuple[int, int]], sign: int = 1) -> None:
    """Add events of (item, hour)."""
    items = np.array([item for item, _ in rows], np.int32)
    popularity.add(items, np.array([hour * HOUR_US + 1 for _, hour in rows], np.int64), sign=sign)


def test_windows_are_mixed_in_proportion_to_the_events_they_hold() -> None:
    popularity = Popularity()
    add(popularity, [(1, 1000), (1, 990), (2, 900), (2, 100), (3, 100)])
    # Item 1: its event of this hour counts in all four windows, the other in day, week and all; item 2: week and all,
    # then all; item 3: all.
    assert_allclose(popularity.probabilities(1000 * HOUR_US, 4), np.array([0, 7, 3, 1, 0]) / 11, rtol=1e-6)


def test_a_log_that_ended_years_ago_answers_from_its_whole() -> None:
    popularity = Popularity()
    add(popularity, [(1, 10)] * 90 + [(2, 10)] * 10)
    add(popularity, [(3, 50_000)])
    shares = popularity.probabilities(50_000 * HOUR_US, 3)
    assert shares[1] > 0.85 > 0.05 > shares[3]


def test_fashion_changes_what_is_popular() -> None:
    popularity = Popularity()
    add(popularity, [(1, hour) for hour in range(200)])
    before = popularity.probabilities(None, 2)
    add(popularity, [(2, hour) for hour in range(200, 400)])
    after = popularity.probabilities(None, 2)
    assert before[1] > before[2]
    assert after[2] > after[1]


def test_nothing_counted_gives_zeros_and_no_newest_hour() -> None:
    popularity = Popularity()
    assert popularity.probabilities(None, 3).tolist() == [0, 0, 0, 0]
    assert popularity.log_scores(7, 3).tolist() == [0, 0, 0, 0]
    assert popularity.newest is None


@settings(deadline=None)
@given(MET, MET, st.integers(-400, 400), st.randoms())
def test_neither_order_nor_what_was_taken_away_leaves_a_trace(
    kept: list[tuple[int, int]], gone: list[tuple[int, int]], now: int, random: object
) -> None:
    expected, changed = Popularity(), Popularity()
    add(expected, kept)
    # A question in between makes the sums that the later events change in place.
    changed.log_scores(now * HOUR_US, 5)
    for row in gone:
        add(changed, [row])
    changed.log_scores(now * HOUR_US, 5)
    add(changed, kept[::-1])
    add(changed, gone, sign=-1)
    assert changed.newest == expected.newest
    for moment in (now * HOUR_US, None, now * HOUR_US):
        assert_array_equal(changed.log_scores(moment, 5), expected.log_scores(moment, 5))
        assert_array_equal(changed.probabilities(moment, 5), expected.probabilities(moment, 5))
    assert_array_equal(changed.totals(5), expected.totals(5))
    for ours, theirs in zip(changed.triples(), expected.triples(), strict=True):
        assert_array_equal(ours, theirs)


@settings(deadline=None)
@given(MET, st.integers(-400, 400))
def test_probabilities_are_those_of_their_definition(rows: list[tuple[int, int]], now: int) -> None:
    popularity = Popularity()
    add(popularity, rows)
    expected = np.zeros(6)
    for item, hour in rows:
        expected[item] += 1 + sum(now - window <= hour <= now for window in (1, 24, 168))
    assert_allclose(popularity.probabilities(now * HOUR_US, 5), expected / max(1, expected.sum()), rtol=1e-6)


@settings(deadline=None)
@given(MET)
def test_a_saved_popularity_is_the_same(rows: list[tuple[int, int]]) -> None:
    popularity = Popularity()
    add(popularity, rows)
    again = Popularity.from_state(popularity.state())
    assert again.newest == popularity.newest
    add(popularity, [(2, 17)])
    add(again, [(2, 17)])
    assert_array_equal(again.log_scores(None, 5), popularity.log_scores(None, 5))
    assert_array_equal(again.totals(5), popularity.totals(5))


def test_the_last_days_hold_the_running_hour_and_nothing_later() -> None:
    popularity = Popularity()
    add(popularity, [(1, 100), (1, 76), (2, 75), (3, 101)])
    assert popularity.last_days(100 * HOUR_US, 1, 3).tolist() == [0, 2, 0, 0]
    assert popularity.last_days(None, 1, 3).tolist() == [0, 1, 0, 1]


def test_recent_is_the_last_week_that_was_learned() -> None:
    popularity = Popularity()
    add(popularity, [(1, 1000 + hour % 100) for hour in range(1500)])
    add(popularity, [(2, 1200)] * 3)
    # Hour 1032 is more than a week before hour 1201 and within the week of 1200; later nothing else was met.
    assert_allclose(popularity.recent_log_scores(1200 * HOUR_US, 2), np.log1p([0, 68 * 15, 3]), rtol=1e-6)
    assert_allclose(popularity.recent_log_scores(9000 * HOUR_US, 2), np.log1p([0, 68 * 15, 3]), rtol=1e-6)
    add(popularity, [(2, 1300)] * 1000 + [(2, 1301)])
    assert_allclose(popularity.recent_log_scores(None, 2), np.log1p([0, 0, 1004]), rtol=1e-6)


def test_a_week_of_few_events_reaches_back_further() -> None:
    popularity = Popularity()
    add(popularity, [(1, 10)] * 400 + [(2, 20)] * 999 + [(3, 50_000)])
    # Before hour 50,000 the last 1,000 events begin in hour 10.
    assert_allclose(np.expm1(popularity.recent_log_scores(50_000 * HOUR_US, 3)), [0, 400, 999, 1], rtol=1e-4)
    add(popularity, [(2, 21)])
    assert_allclose(np.expm1(popularity.recent_log_scores(50_000 * HOUR_US, 3)), [0, 0, 1000, 1], rtol=1e-4, atol=1e-4)


@settings(deadline=None)
@given(MET, MET, st.integers(-400, 400))
def test_recent_leaves_no_trace_of_what_was_taken_away(
    kept: list[tuple[int, int]], gone: list[tuple[int, int]], now: int
) -> None:
    expected, changed = Popularity(), Popularity()
    add(expected, kept)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("headrace.ranking.popularity.RECENT_EVENTS", 3)
        for row in gone + kept:
            add(changed, [row])
            changed.recent_log_scores(now * HOUR_US, 5)
        add(changed, gone, sign=-1)
        for moment in (now * HOUR_US, None):
            assert_array_equal(changed.recent_log_scores(moment, 5), expected.recent_log_scores(moment, 5))


def test_rarities_follow_what_is_counted_and_taken_away() -> None:
    popularity = Popularity()
    popularity.add(np.array([1, 1, 1, 2], np.int32), np.arange(4, dtype=np.int64))
    assert popularity.rarities(3).tolist() == pytest.approx([1, 0.5, 0.5**0.5, 1])
    popularity.add(np.array([1, 1], np.int32), np.arange(2, dtype=np.int64), sign=-1)
    assert popularity.rarities(9).tolist() == pytest.approx([1, 0.5**0.5, 0.5**0.5, *[1] * 7])
    assert Popularity.from_state(popularity.state()).rarities(2).tolist() == popularity.rarities(2).tolist()


def test_items_may_come_later_than_the_first_question() -> None:
    popularity = Popularity()
    popularity.log_scores(None, 2)
    add(popularity, [(900, 0)])
    assert popularity.log_scores(None, 900)[900] > 0
    assert len(popularity.totals(2000)) == 2001


def test_types_are_counted_by_item_and_in_all() -> None:
    types = TypeCounts()
    types.add(np.array([1, 1, 1, 2], np.int32), np.array([0, 0, 1, 1], np.int32))
    assert types.counts[1].tolist() == [2, 1]
    assert types.share(1) == types.share(0) == 0.5
    assert types.share(9) == types.share(-1) == 0
    types.add(np.array([2], np.int32), np.array([1], np.int32), sign=-1)
    assert types.share(1) == 1 / 3
    again = TypeCounts.from_state(types.state())
    assert again.counts.tolist() == types.counts.tolist()
    assert again.share(1) == 1 / 3
    assert TypeCounts().share(0) == 0


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.lists(st.integers(1, 60), min_size=1, max_size=9), st.integers(0, 3), st.booleans())),
    st.integers(1, 6),
    st.integers(0, 12),
)
def test_leaders_hold_the_most_popular_whatever_was_counted(
    changes: list[tuple[list[int], int, bool]], n: int, grows: int
) -> None:
    """After each change, with only six of them kept."""
    counted: list[tuple[int, int]] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(popularity_module, "LEADERS", 6)
        popularity = Popularity()
        for turn, (items, hour, forgotten) in enumerate(changes):
            rows = [(item, hour) for item in items]
            if forgotten:
                rows = [counted.pop() for _ in range(min(len(rows), len(counted)))]
            else:
                counted += rows
            keys = np.array([item for item, _ in rows], np.int32)
            moments = np.array([hour * HOUR_US for _, hour in rows], np.int64)
            popularity.add(keys, moments, sign=-1 if forgotten else 1)
            n_items = 50 if turn < grows else 60  # a catalogue that shrinks would make them anew each time
            for leading, scores, above in (
                (popularity.leaders(3 * HOUR_US, n, n_items), popularity.log_scores(3 * HOUR_US, n_items), -np.inf),
                (popularity.risers(3 * HOUR_US, n, n_items), popularity.recent_log_scores(3 * HOUR_US, n_items), 0),
            ):
                best = np.lexsort((np.arange(1, n_items + 1), -scores[1:])) + 1
                expected = [item for item in best.tolist() if scores[item] > above][:n]
                assert leading[:n].tolist() == expected
                assert leading.max(initial=0) <= n_items
