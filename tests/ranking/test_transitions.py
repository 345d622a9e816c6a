"""Tests of the transition counts: hand arithmetic, and bit-equal counts however the events arrive."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from ranking_cases import history, log_of

from headrace.data.log import History
from headrace.ranking.transitions import ONE, TransitionCounts, differing

Event = tuple[int, int]
"""(time, item); the tests' canonical order is theirs."""

events = st.tuples(st.integers(0, 12), st.integers(1, 6))
histories = st.lists(events, max_size=25, unique=True)


def line(rows: list[Event]) -> History:
    ordered = sorted(rows)
    return history([item for _, item in ordered], [time for time, _ in ordered])


def content(counts: TransitionCounts) -> dict[tuple[int, int], int]:
    rows, columns, values = (array.tolist() for array in counts.triples())
    return {(row, column): value for row, column, value in zip(rows, columns, values, strict=True)}


def by_definition(line: History, window: int) -> dict[tuple[int, int], int]:
    """Count by the words of the module, with fractions."""
    counts = Counter[tuple[int, int]]()
    times, items = line.times.tolist(), line.items.tolist()
    centres = [Fraction(times.index(time) + len(times) - 1 - times[::-1].index(time), 2) for time in times]
    for i in range(len(items)):
        for j in range(len(items)):
            if times[i] == times[j]:
                distance = Fraction(times.count(times[i]) + 1, 3)
                counted = items[i] != items[j]
            else:
                distance = centres[j] - centres[i]
                counted = times[i] < times[j]
            if counted and distance <= window:
                counts[items[i], items[j]] += int(Fraction(ONE) / distance + Fraction(1, 2))
    return dict(counts)


def test_each_later_item_within_the_window_adds_one_over_its_distance() -> None:
    counts = TransitionCounts(window=2)
    counts.add_log(log_of({1: history([1, 2, 3, 4])}, 4))
    assert content(counts) == {
        (1, 2): ONE,
        (1, 3): ONE // 2,
        (2, 3): ONE,
        (2, 4): ONE // 2,
        (3, 4): ONE,
    }


def test_the_pairs_of_a_basket_are_equally_near_in_both_directions() -> None:
    counts = TransitionCounts()
    counts.add_log(log_of({1: history([1, 2, 3, 4], [0, 0, 0, 9])}, 4))
    # In a random order of three, two items are (1 + 1 + 2) / 3 = 4/3 apart; the centre of the basket is at place 1.
    inside = round(ONE * 3 / 4)
    expected = {(i, j): inside for i in (1, 2, 3) for j in (1, 2, 3) if i != j}
    assert content(counts) == expected | {(i, 4): ONE // 2 for i in (1, 2, 3)}


def test_an_item_met_again_follows_itself_but_not_within_a_basket() -> None:
    counts = TransitionCounts()
    counts.add_log(log_of({1: history([7, 7]), 2: history([5, 5], [3, 3])}, 7))
    assert content(counts) == {(7, 7): ONE}


@settings(deadline=None)
@given(histories, st.integers(1, 5))
def test_counts_are_what_the_definition_says(rows: list[Event], window: int) -> None:
    counts = TransitionCounts(window)
    counts.add_log(log_of({1: line(rows)}, 6))
    assert content(counts) == by_definition(line(rows), window)


@settings(deadline=None, max_examples=200)
@given(st.data())
def test_any_order_of_arrival_retries_and_erasures_count_as_one_pass_over_the_final_log(data: st.DataObject) -> None:
    window = data.draw(st.integers(1, 5))
    arriving = data.draw(st.lists(st.tuples(st.integers(1, 3), events), max_size=40))
    counts, store = TransitionCounts(window), dict[int, list[Event]]()
    for user, event in arriving:
        before = store.get(user, [])
        after = before if event in before else [*before, event]
        if data.draw(st.integers(0, 9)) == 0:
            after = [kept for kept in before if data.draw(st.booleans())]
        known = data.draw(st.integers(0, differing(line(before), line(after))[0]))
        counts.change(line(before), line(after), first=known)
        store[user] = after
    expected = TransitionCounts(window)
    expected.add_log(log_of({user: line(rows) for user, rows in store.items()}, 6))
    assert content(counts) == content(expected)


@settings(deadline=None, max_examples=200)
@given(st.dictionaries(st.integers(1, 4), histories, max_size=4), st.integers(1, 5), st.data())
def test_the_last_events_of_many_users_are_counted_in_one_pass(
    store: dict[int, list[Event]], window: int, data: st.DataObject
) -> None:
    log = log_of({user: line(rows) for user, rows in store.items()}, 6)
    known = {user: data.draw(st.integers(0, len(rows))) for user, rows in store.items()}
    new = np.arange(len(log)) >= log.offsets()[log.users] + np.array([known[user] for user in log.users.tolist()], int)
    counts, expected = TransitionCounts(window), TransitionCounts(window)
    counts.add_log(log.where(~new))
    counts.append(log, new)
    expected.add_log(log)
    assert content(counts) == content(expected)


@settings(deadline=None, max_examples=200)
@given(histories, histories, st.integers(1, 3), st.data())
def test_slices_with_enough_context_are_as_good_as_whole_histories(
    rows: list[Event], more: list[Event], window: int, data: st.DataObject
) -> None:
    before, after = line(rows), line(list({*rows, *more}))
    start, old_end, new_end = differing(before, after)
    whole, sliced = TransitionCounts(window), TransitionCounts(window)
    for counts in (whole, sliced):
        counts.add_log(log_of({1: before}, 6))
    whole.change(before, after)
    changed = [*before.times[start:old_end], *after.times[start:new_end]]
    low, high = min(changed, default=0), max(changed, default=0)
    begin = data.draw(st.integers(0, max(0, int(np.searchsorted(before.times, low)) - 2 * window)))
    behind = len(before) - int(np.searchsorted(before.times, high, side="right"))
    spare = data.draw(st.integers(0, max(0, behind - 2 * window)))
    parts = [
        History(*(a[begin : len(h) - spare] for a in (h.items, h.types, h.values, h.times))) for h in (before, after)
    ]
    sliced.change(*parts)
    assert content(sliced) == content(whole)


def test_a_forgotten_user_is_a_user_never_seen() -> None:
    counts, expected = TransitionCounts(), TransitionCounts()
    kept, gone = history([1, 2, 3]), history(list(range(1, 200)), list(range(0, 398, 2)))
    counts.add_log(log_of({1: kept, 2: gone}, 200))
    counts.change(gone, history([]))
    expected.add_log(log_of({1: kept}, 200))
    assert content(counts) == content(expected)


def test_a_large_basket_is_counted_against_its_neighbours_by_its_centre() -> None:
    counts = TransitionCounts(window=2)
    counts.add_log(log_of({1: history(list(range(1, 13)), [0] * 11 + [1])}, 12))
    # Twelve places on (11 + 1) / 3 = 4 > 2, and the centre at 5 lies 6 before the last: nothing is near enough.
    assert content(counts) == {}


def test_saved_counts_are_the_same() -> None:
    counts = TransitionCounts(window=7)
    counts.add_log(log_of({1: history([1, 2, 1, 3])}, 3))
    again = TransitionCounts.from_state(counts.state())
    assert again.window == 7
    assert content(again) == content(counts)


def test_read_only_arrays_are_taken_too() -> None:
    log = log_of({1: history([1, 2, 3])}, 3)
    for array in (log.users, log.items, log.types, log.times):
        array.setflags(write=False)
    counts = TransitionCounts()
    counts.add_log(log)
    assert content(counts)[1, 2] == ONE


def test_what_follows_an_item_is_listed_with_its_count() -> None:
    counts = TransitionCounts()
    counts.add_log(log_of({1: history([1, 2, 3])}, 3))
    items, values = counts.following(1, 3)
    assert_array_equal(items, [2, 3])
    assert_array_equal(values, np.array([1, 0.5], np.float32))


@settings(deadline=None)
@given(histories, histories)
def test_outside_of_what_differs_two_histories_are_the_same(one: list[Event], other: list[Event]) -> None:
    before, after = line(one), line(other)
    start, old_end, new_end = differing(before, after)
    assert_array_equal(before.items[:start], after.items[:start])
    assert_array_equal(before.times[old_end:], after.times[new_end:])
    assert 0 <= start <= min(old_end, new_end)
    assert (start == old_end == new_end) == (sorted(one) == sorted(other))
