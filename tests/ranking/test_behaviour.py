"""Tests that all counts of a user change together."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from ranking_cases import HOUR, history, log_of

from headrace.core.settings import RankingSettings
from headrace.data.log import History
from headrace.ranking import behaviour as counting
from headrace.ranking.behaviour import Behaviour, window_for

rows = st.lists(st.tuples(st.integers(0, 9), st.integers(1, 5), st.integers(0, 2)), max_size=12, unique=True)


def line(events: list[tuple[int, int, int]]) -> History:
    ordered = sorted(events)
    made = history([item for _, item, _ in ordered], [HOUR * time for time, _, _ in ordered])
    return replace(made, types=np.array([kind for _, _, kind in ordered], np.int32))


def assert_same(one: Behaviour, other: Behaviour) -> None:
    for ours, theirs in zip(one.transitions.triples(), other.transitions.triples(), strict=True):
        assert_array_equal(ours, theirs)
    for ours, theirs in zip(one.popularity.triples(), other.popularity.triples(), strict=True):
        assert_array_equal(ours, theirs)
    for kind in range(3):
        assert one.types.share(kind) == other.types.share(kind)
    n = min(len(one.types.counts), len(other.types.counts))
    kinds = min(one.types.counts.shape[1], other.types.counts.shape[1])
    assert one.types.counts[:n, :kinds].tolist() == other.types.counts[:n, :kinds].tolist()
    assert one.types.counts.sum() == other.types.counts.sum()


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(1, 2), rows), max_size=6))
def test_replacing_histories_again_and_again_counts_as_one_pass_over_the_last(
    versions: list[tuple[int, list[tuple[int, int, int]]]],
) -> None:
    live, kept = Behaviour(), dict[int, History]()
    for user, events in versions:
        live.change(kept.get(user, history([])), line(events))
        kept[user] = line(events)
    expected = Behaviour()
    expected.add_log(log_of(kept, 5))
    assert_same(live, expected)


def test_saved_behaviour_is_the_same_and_goes_on() -> None:
    behaviour = Behaviour(window=3)
    behaviour.add_log(log_of({1: history([1, 2, 3], [0, HOUR, 2 * HOUR])}, 5))
    again = Behaviour.from_state(behaviour.state())
    for each in (behaviour, again):
        each.change(history([]), history([4, 5, 1], [HOUR, HOUR, 3 * HOUR]))
    assert again.transitions.window == 3
    assert_same(behaviour, again)


def test_a_large_log_is_counted_within_a_smaller_window() -> None:
    knobs = RankingSettings(count_window=20, count_pairs=1000)
    assert [window_for(events, knobs) for events in (0, 50, 51, 100, 333, 10_000)] == [20, 20, 19, 10, 3, 1]


@pytest.mark.parametrize("at_once", [1, 3, 100])
def test_marked_events_count_the_same_however_many_at_once(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counting, "_AT_ONCE", at_once)
    log = log_of({1: history([1, 2, 3, 2]), 2: history([4]), 4: history([5, 1, 5, 5, 3])}, 5)
    marked = np.array([1, 1, 0, 1, 1, 0, 1, 1, 1, 1], np.bool_)
    some, whole = Behaviour(), Behaviour()
    some.add_marked(log, marked)
    whole.add_log(log.where(marked))
    assert_same(some, whole)


@settings(deadline=None)
@given(st.dictionaries(st.integers(1, 3), rows, max_size=3), st.integers(0, 9))
def test_later_events_of_all_users_are_counted_as_with_the_whole_log(
    store: dict[int, list[tuple[int, int, int]]], cut: int
) -> None:
    log = log_of({user: line(events) for user, events in store.items()}, 5)
    new = log.times >= HOUR * cut
    grown, whole = Behaviour(), Behaviour()
    grown.add_log(log.where(~new))
    grown.append(log, new)
    whole.add_log(log)
    assert_same(grown, whole)


@settings(deadline=None)
@given(st.lists(st.tuples(rows, st.integers(0, 9)), min_size=1, max_size=4), st.integers(1, 3))
def test_what_came_last_to_several_users_counts_as_a_change_of_each(
    users: list[tuple[list[tuple[int, int, int]], int]], window: int
) -> None:
    whole = [line(events) for events, _ in users]
    firsts = [min(cut, len(history)) for history, (_, cut) in zip(whole, users, strict=True)]
    together, each = Behaviour(window), Behaviour(window)
    for behaviour in (together, each):
        for after, first in zip(whole, firsts, strict=True):
            behaviour.change(history([]), after.part(0, first))
    grown = [place for place, (after, first) in enumerate(zip(whole, firsts, strict=True)) if first < len(after)]
    if grown:
        together.extend([whole[place] for place in grown], [firsts[place] for place in grown])
    for after, first in zip(whole, firsts, strict=True):
        each.change(after.part(0, first), after, first=first)
    assert_same(together, each)
