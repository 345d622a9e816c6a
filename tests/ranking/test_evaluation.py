"""Questions, tables, slices; and that the future changes nothing before it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from asking import HOUR, N_ITEMS, all_methods, log_of_frame, log_of_rows, logs
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.core.errors import DataError
from headrace.core.types import Scale
from headrace.data.log import EventLog, in_file_order
from headrace.data.splits import last_events
from headrace.data.synthetic import START_US, fashion
from headrace.ranking.baselines.method import LIST
from headrace.ranking.baselines.popular import Popular
from headrace.ranking.evaluation import CUTOFFS, ask_all, fill_up, rest_rows, rows_of
from headrace.ranking.questions import Task, last_event_task, rest_of_baskets, time_task
from headrace.ranking.rating_evaluation import rate_by_means, rated_events, rating_rows

CUT = 20 * HOUR
LOG = log_of_rows(
    [(1, 0, 1), (1, 5, 2), (1, 25, 3), (1, 25, 4), (1, 30, 5), (2, 1, 1), (2, 21, 6), (3, 22, 1), (3, 23, 2)]
)


def popular(task: Task) -> Popular:
    return Popular(task)


def test_the_events_of_one_moment_share_a_question() -> None:
    questions = time_task(LOG, CUT, "exclude").questions
    histories = [questions.history(place).items.tolist() for place in range(len(questions))]
    places, owners = questions.targets()
    assert [hour // HOUR for hour in questions.times.tolist()] == [21, 22, 23, 25, 30]
    assert histories == [[1], [], [1], [1, 2], [1, 2, 3, 4]]
    assert LOG.items[places].tolist() == [6, 1, 2, 3, 4, 5]
    assert owners.tolist() == [0, 1, 2, 3, 3, 4]


def test_the_rest_of_a_basket_is_asked_when_its_first_half_is_known() -> None:
    rest = rest_of_baskets(time_task(LOG, CUT, "exclude"))
    assert [rest.questions.history(0).items.tolist()] == [[1, 2, 3]]
    assert LOG.items[rest.questions.targets()[0]].tolist() == [4]
    lists = np.zeros((1, LIST), np.int32)
    lists[0, 1] = 4
    rows = rest_rows(rest, {"markov": lists}, "time-frozen")
    assert {r.slice for r in rows} == {"rest-of-basket"}
    (found,) = [r for r in rows if r.metric == "mrr" and r.k == 5]
    assert (found.value, found.n) == (1 / 2, 1)


@given(log=logs(), cut=st.integers(1, 40))
def test_every_event_after_the_cut_is_a_target_once_and_its_history_is_earlier(log: EventLog, cut: int) -> None:
    early = log.times < cut * HOUR
    if early.all() or not early.any():
        with pytest.raises(DataError):
            time_task(log, cut * HOUR, "exclude")
        return
    task = time_task(log, cut * HOUR, "exclude")
    places, owners = task.questions.targets()
    assert sorted(places.tolist()) == np.flatnonzero(~early).tolist()
    assert sorted(task.first_rows.tolist()) == np.flatnonzero(early).tolist()
    assert (np.diff(task.questions.times) >= 0).all()
    for place, owner in zip(places.tolist(), owners.tolist(), strict=True):
        history = task.questions.history(owner)
        mine = log.users == log.users[place]
        assert (history.times < log.times[place]).all()
        assert len(history) == int((mine & (log.times < log.times[place])).sum())


def test_leave_one_out_asks_for_the_last_event_and_hides_the_validation_from_the_fitted_stage() -> None:
    test, validation = last_events(LOG)
    fitted = last_event_task(LOG, test, validation, "exclude")
    refitted = last_event_task(LOG, test, None, "exclude")
    assert LOG.items[fitted.questions.targets()[0]].tolist() == [5]
    assert fitted.questions.history(0).items.tolist() == [1, 2, 3, 4]
    # Users with fewer than three events are learned from as a whole.
    assert [len(fitted.first_rows), len(refitted.first_rows)] == [7, 8]


def test_file_order_makes_every_event_a_moment_of_its_own() -> None:
    apart = in_file_order(LOG)
    assert apart.items.tolist() == LOG.items.tolist()
    assert all((np.diff(apart.times[apart.users == user]) > 0).all() for user in (1, 2, 3))
    assert np.abs(apart.times - LOG.times).max() == 1
    assert len(time_task(apart, CUT, "exclude").questions) == 6


def test_ties_that_reach_the_next_moment_push_it_on() -> None:
    log = replace(LOG, times=np.array([7, 7, 7, 8, 9, 1, 1, 3, 3], np.int64))
    assert in_file_order(log).times.tolist() == [7, 8, 9, 10, 11, 1, 2, 3, 4]


def test_short_lists_are_filled_up_without_repeats() -> None:
    lists, fallback = np.zeros((1, LIST), np.int32), np.zeros((1, 2 * LIST), np.int32)
    lists[0, :2], fallback[0, :4] = [3, 1], [5, 3, 2, 1]
    assert fill_up(lists, fallback)[0, :5].tolist() == [3, 1, 5, 2, 0]


def test_live_popularity_follows_fashion_and_frozen_does_not() -> None:
    log = log_of_frame(*fashion())
    task = time_task(log, START_US + 12 * HOUR, "exclude")
    ndcg = {}
    for live in (False, True):
        lists = ask_all(task, [popular], live=live)["popular"].with_time
        rows = rows_of(task, {"popular": lists}, "time-live" if live else "time-frozen")
        (ndcg[live],) = [r.value for r in rows if r.metric == "ndcg" and r.k == 10 and r.slice == "all"]
    assert ndcg[False] == 0
    assert ndcg[True] > 0


@given(log=logs(), moment=st.integers(21, 40), item=st.integers(1, N_ITEMS), live=st.booleans())
@settings(max_examples=40, deadline=None)
def test_the_future_changes_no_answer_before_it(log: EventLog, moment: int, item: int, live: bool) -> None:
    early = log.times < CUT
    if early.all() or not early.any():
        return
    later = log.times >= moment * HOUR
    other = replace(log, items=np.where(later, item, log.items).astype(np.int32))
    one, two = time_task(log, CUT, "include"), time_task(other, CUT, "include")
    # A question at the moment itself still has the same past.
    same = int(np.searchsorted(one.questions.times, moment * HOUR, side="right"))
    answers = [ask_all(task, all_methods(log), live=live) for task in (one, two)]
    for name in answers[0]:
        before, after = (answered[name] for answered in answers)
        assert before.with_time[:same].tolist() == after.with_time[:same].tolist(), name
        assert before.without_time[:same].tolist() == after.without_time[:same].tolist(), name


def test_rows_have_the_metrics_and_slices_of_the_contract() -> None:
    task = time_task(LOG, CUT, "exclude")
    lists = np.zeros((5, LIST), np.int32)
    lists[:, 0] = [6, 1, 9, 3, 9]
    rows = {(r.slice, r.metric, r.k): r for r in rows_of(task, {"markov": lists}, "time-frozen")}
    assert {r.method for r in rows.values()} == {"markov"}
    assert {k for _, _, k in rows} == set(CUTOFFS)
    assert rows["all", "recall", 5].value == pytest.approx(3 / 6)
    assert rows["all", "recall", 5].n == 6
    assert rows["new-users", "recall", 5].value == 1 / 2  # user 3: item 1 found, item 2 not
    assert rows["new-items", "recall", 5].value == 2 / 4  # items 3, 4, 5, 6 had no event before the cut
    assert rows["short-history", "recall", 5].n == 6
    assert ("long-history", "recall", 5) not in rows
    assert rows["baskets", "recall", 5].value == 1 / 2
    assert rows["baskets", "ndcg", 5].value == pytest.approx(1 / (1 + 1 / np.log2(3)))
    shown = rows["all", "coverage", 5]
    assert (shown.value, shown.low, shown.high, shown.n) == (4 / N_ITEMS, None, None, 5)
    inside = [r for r in rows.values() if r.low is not None and r.high is not None]
    assert all(r.low <= r.value <= r.high for r in inside)


def test_items_that_nobody_met_before_are_counted() -> None:
    assert time_task(LOG, CUT, "exclude").strange_targets() == 4
    test, _ = last_events(LOG)
    assert last_event_task(LOG, test, None, "exclude").strange_targets() == 1


def test_a_method_that_reads_no_time_has_the_same_twin() -> None:
    task = time_task(LOG, CUT, "exclude")
    found = ask_all(task, [popular], live=True)["popular"]
    assert found.with_time is found.without_time


def test_damped_means_follow_by_hand() -> None:
    log = log_of_rows([(1, 0, 1), (2, 1, 1), (2, 2, 2), (1, 30, 2)])
    log = replace(log, values=np.array([4, 3, 2, 1], np.float32))  # user 1: 4 for item 1, later 3 for item 2
    task = time_task(log, CUT, "exclude")
    rated = rated_events(task, ["rating"])
    mean = (4 + 2 + 1) / 3
    item_1 = (4 + 2 - 2 * mean) / (2 + 5)
    item_2 = (1 - mean) / (1 + 5)
    user_1 = (4 - mean - item_1) / (1 + 2)
    predicted = rate_by_means(task, rated, Scale(1, 5))
    assert predicted.tolist() == pytest.approx([mean + item_2 + user_1], rel=1e-5)
    rows = {
        r.metric: r for r in rating_rows(task, rated, {"user-item-means": predicted}, "time-frozen") if r.slice == "all"
    }
    assert rows["rmse"].value == rows["mae"].value == pytest.approx(abs(predicted[0] - 3))
    assert rows["rmse"].k is None
