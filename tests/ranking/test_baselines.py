"""The traditional methods: right where the answer is known, equal to brute force, and alike learned live or at once."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

import numpy as np
import pytest
from asking import N_ITEMS, all_methods, content_of, listed, log_of_frame, log_of_rows, logs
from hypothesis import given, settings

from headrace.core.settings import RankingSettings
from headrace.core.types import Seen
from headrace.data.log import EventLog
from headrace.data.synthetic import ring, tribes
from headrace.ranking.baselines import item_knn, user_knn
from headrace.ranking.baselines.content import Content, word_vectors
from headrace.ranking.baselines.item_knn import ItemKnn
from headrace.ranking.baselines.kernels import offer
from headrace.ranking.baselines.markov import Markov
from headrace.ranking.baselines.method import Method
from headrace.ranking.baselines.popular import Popular, PopularWeek
from headrace.ranking.baselines.served import Counts
from headrace.ranking.baselines.user_knn import UserKnn
from headrace.ranking.evaluation import MethodMaker
from headrace.ranking.questions import Task, time_task

CUT = 20 * 3_600_000_000


def answer(method: Method, task: Task) -> list[list[int]]:
    return [listed(row) for row in method.answer(task.questions, hide_time=False)]


def task_of(log: EventLog, cut: int, seen: Seen) -> Task | None:
    early = log.times < cut
    return time_task(log, cut, seen) if early.any() and not early.all() else None


def counts(task: Task) -> Method:
    return Counts(task, RankingSettings())


@pytest.mark.parametrize("make", [Markov, counts])
def test_a_ring_is_walked_without_a_slip(make: MethodMaker) -> None:
    log = log_of_frame(*ring(n_items=20, n_users=60, length=15))
    task = time_task(log, int(np.quantile(log.times, 0.8)), "exclude")
    known = task.known_items.sum() == 20
    lists = answer(make(task), task)
    assert known
    for place, row in enumerate(lists):
        if len(task.questions.history(place)):
            assert row[0] == log.items[task.questions.ends[place]]


def test_popular_counts_events_and_gives_ties_to_the_lower_index() -> None:
    log = log_of_rows([(1, 0, 5), (1, 1, 5), (2, 0, 7), (2, 1, 3), (3, 30, 1)])
    task = time_task(log, CUT, "exclude")
    assert answer(Popular(task), task) == [[5, 3, 7]]


def test_the_week_of_popular_7d_ends_at_the_newest_event_learned_from() -> None:
    day = 24
    log = log_of_rows([(1, 0, 5), (2, 1, 5), (3, 8 * day, 7), (4, 30 * day, 1), (5, 31 * day, 1)])
    task = time_task(log, 9 * day * 3_600_000_000, "exclude")
    week = PopularWeek(task)
    assert answer(week, task) == [[7], [7]]
    week.observe(task.questions.part(0, 1).targets()[0])
    assert [listed(row) for row in week.answer(task.questions.part(1, 2), hide_time=False)] == [[1]]


def test_markov_follows_the_last_basket_into_the_next() -> None:
    rows = [(1, 0, 1), (1, 1, 2), (1, 1, 3), (2, 0, 1), (2, 1, 3), (2, 2, 4), (3, 5, 1), (3, 30, 9)]
    task = time_task(log_of_rows(rows), CUT, "exclude")
    # After item 1 came 3 twice and 2 once; 4 came only after the next basket.
    assert answer(Markov(task), task) == [[3, 2]]


def test_content_places_items_that_nobody_met() -> None:
    # Fewer items in a tribe than places on a list, as items of equal words tie.
    events, items = tribes(n_items=20, length=4)
    log = log_of_frame(events, items)
    task = time_task(log, int(np.quantile(log.times, 0.8)), "exclude")
    vectors = word_vectors(items["title"].to_list())
    tribe = [None, *items["categories"].to_list()]
    met = set(log.items.tolist())
    lists = answer(Content(task, vectors), task)
    for place, row in enumerate(lists):
        own = task.questions.history(place).items
        kin = [tribe[item] == tribe[own[0]] for item in row if item]
        assert all(kin[:1])
        assert kin == sorted(kin, reverse=True)
    assert any(item and item not in met for row in lists for item in row)


@pytest.mark.parametrize("seen", ["include", "exclude"])
@given(log=logs())
@settings(max_examples=30, deadline=None)
def test_user_knn_equals_brute_force(seen: Literal["include", "exclude"], log: EventLog) -> None:
    task = task_of(log, CUT, seen)
    if task is None:
        return
    known = task.log.where(task.log.times < CUT)
    sets = {user: set(known.items[known.users == user].tolist()) for user in set(known.users.tolist())}
    for place, row in enumerate(answer(UserKnn(task), task)):
        own = set(task.questions.history(place).items.tolist())
        scores = dict.fromkeys(own, 1.0) if seen == "include" else {}
        for user, theirs in sets.items():
            common = len(own & theirs)
            if user == task.questions.users[place] or not common:
                continue
            similarity = common / ((len(own) * len(theirs)) ** 0.5 + user_knn.SHRINK)
            for item in theirs if seen == "include" else theirs - own:
                scores[item] = scores.get(item, 0.0) + similarity
        assert_ranked(row, scores)


@pytest.mark.parametrize("seen", ["include", "exclude"])
@given(log=logs())
@settings(max_examples=30, deadline=None)
def test_item_knn_equals_brute_force(seen: Literal["include", "exclude"], log: EventLog) -> None:
    task = task_of(log, CUT, seen)
    if task is None:
        return
    known = task.log.where(task.log.times < CUT)
    users = {item: set(known.users[known.items == item].tolist()) for item in range(1, N_ITEMS + 1)}
    for place, row in enumerate(answer(ItemKnn(task), task)):
        own = set(task.questions.history(place).items.tolist())
        scores: dict[int, float] = {}
        for item in own:
            for other in users:
                common = len(users[item] & users[other])
                if common and (seen == "include" or other not in own):
                    both = (len(users[item]) * len(users[other])) ** 0.5
                    scores[other] = scores.get(other, 0.0) + common / (both + item_knn.SHRINK)
        assert_ranked(row, scores)


def assert_ranked(row: list[int], scores: dict[int, float]) -> None:
    assert sorted(row) == sorted(scores)
    in_order = [scores[item] for item in row]
    assert all(one >= other - 1e-5 for one, other in pairwise(in_order))


@pytest.mark.parametrize("seen", ["include", "exclude"])
@given(log=logs())
@settings(max_examples=25, deadline=None)
def test_learning_live_equals_learning_at_once(seen: Literal["include", "exclude"], log: EventLog) -> None:
    early, late = task_of(log, CUT, seen), task_of(log, 2 * CUT - 5, seen)
    if early is None or late is None:
        return
    between = early.questions.part(0, int(np.searchsorted(early.questions.times, 2 * CUT - 5)))
    for make in all_methods(log):
        live = make(early)
        for first, last in between.moments():
            live.observe(between.part(first, last).targets()[0])
        assert answer(live, late) == answer(make(late), late), live.name


@given(log=logs())
@settings(max_examples=25, deadline=None)
def test_what_is_met_is_not_listed_where_lists_exclude_it(log: EventLog) -> None:
    task = task_of(log, CUT, "exclude")
    if task is None:
        return
    for make in all_methods(log):
        method = make(task)
        for place, row in enumerate(answer(method, task)):
            assert not set(row) & set(task.questions.history(place).items.tolist()), method.name
            assert len(set(row)) == len(row), method.name


def test_the_best_are_kept_in_order_and_ties_go_to_the_lower_index() -> None:
    rng = np.random.default_rng(5)
    scores = rng.integers(0, 6, 40).astype(np.float32)
    items, found, size = np.zeros(10, np.int32), np.zeros(10, np.float32), 0
    for item in rng.permutation(40):
        size = offer(items, found, size, int(item), scores[item])
    assert items.tolist() == np.lexsort((np.arange(40), -scores))[:10].tolist()


def test_words_in_common_make_content_alike() -> None:
    vectors = word_vectors(["green tea", "black tea", "steel spade", ""])
    assert vectors[1] @ vectors[2] > 0
    assert vectors[1] @ vectors[3] == 0
    assert not vectors[4].any()
    assert content_of(3).shape == (4, 2)
