"""Metrics against arithmetic that a reader can redo and against `ranx`; intervals against their definition."""

from __future__ import annotations

from math import log2

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.ranking.bootstrap import mean_intervals, sums_by_user
from headrace.ranking.metrics import (
    basket_ndcgs,
    basket_recalls,
    coverage,
    mae,
    mrrs,
    ndcg,
    ndcgs,
    ranks_of,
    recall,
    recalls,
    rmse,
)

LISTS = np.array([[4, 2, 9], [7, 4, 0], [0, 0, 0]], np.int32)


def test_a_rank_counts_from_one_and_is_zero_off_the_list() -> None:
    questions = np.array([0, 0, 1, 1, 2])
    targets = np.array([9, 7, 4, 9, 4], np.int32)
    assert ranks_of(LISTS, questions, targets).tolist() == [3, 0, 2, 0, 0]


def test_metrics_of_one_target_follow_from_its_rank() -> None:
    ranks = np.array([1, 2, 3, 0], np.int32)
    assert recalls(ranks, 2).tolist() == [1, 1, 0, 0]
    assert ndcgs(ranks, 2).tolist() == pytest.approx([1, 1 / log2(3), 0, 0])
    assert mrrs(ranks, 3).tolist() == pytest.approx([1, 1 / 2, 1 / 3, 0])


def test_metrics_of_a_set_count_all_that_is_relevant() -> None:
    assert ndcg(["a", "b"], {"b"}, k=2) == pytest.approx(1 / log2(3))
    assert ndcg(["a", "b", "c"], {"b", "c"}, k=3) == pytest.approx((1 / log2(3) + 1 / log2(4)) / (1 + 1 / log2(3)))
    assert ndcg(["a"], {"a", "b", "c"}, k=1) == 1
    assert recall(["a", "b", "c"], {"b", "x"}, k=3) == 1 / 2


def test_metrics_of_baskets_equal_those_of_sets() -> None:
    wanted = [[4, 9, 5], [4]]
    questions = np.repeat(np.arange(2), [3, 1])
    ranks = ranks_of(LISTS, questions, np.array([4, 9, 5, 4], np.int32))
    for k in (1, 2, 3):
        lists = [row.tolist() for row in LISTS[:2]]
        assert basket_recalls(ranks, questions, 2, k).tolist() == pytest.approx(
            [recall(row, set(want), k) for row, want in zip(lists, wanted, strict=True)]
        )
        assert basket_ndcgs(ranks, questions, 2, k).tolist() == pytest.approx(
            [ndcg(row, set(want), k) for row, want in zip(lists, wanted, strict=True)]
        )


def test_coverage_counts_each_listed_item_once() -> None:
    assert coverage(LISTS, 1, n_items=10) == 2 / 10
    assert coverage(LISTS, 3, n_items=10) == 4 / 10


def test_errors_of_ratings_are_in_points_of_the_scale() -> None:
    predicted, true = np.array([1, 2, 5], np.float32), np.array([1, 4, 4], np.float32)
    assert rmse(predicted, true) == pytest.approx((5 / 3) ** 0.5)
    assert mae(predicted, true) == pytest.approx(1)


@pytest.mark.filterwarnings("ignore")
def test_metrics_agree_with_ranx() -> None:
    from ranx import Qrels, Run, evaluate

    rng = np.random.default_rng(7)
    lists = np.stack([rng.permutation(30)[:20] + 1 for _ in range(40)]).astype(np.int32)
    wanted = [rng.choice(30, rng.integers(1, 6), replace=False) + 1 for _ in range(40)]
    run = Run({f"q{q}": {f"i{item}": 1 / rank for rank, item in enumerate(row, 1)} for q, row in enumerate(lists)})
    sets = Qrels({f"q{q}": {f"i{item}": 1 for item in want} for q, want in enumerate(wanted)})
    ones = Qrels({f"q{q}": {f"i{want[0]}": 1} for q, want in enumerate(wanted)})

    questions = np.repeat(np.arange(40), [len(want) for want in wanted])
    ranks = ranks_of(lists, questions, np.concatenate(wanted).astype(np.int32))
    first = ranks_of(lists, np.arange(40), np.array([want[0] for want in wanted], np.int32))
    for k in (5, 10, 20):
        single = evaluate(ones, run, [f"recall@{k}", f"ndcg@{k}", f"mrr@{k}"])
        assert recalls(first, k).mean() == pytest.approx(single[f"recall@{k}"])
        assert ndcgs(first, k).mean() == pytest.approx(single[f"ndcg@{k}"])
        assert mrrs(first, k).mean() == pytest.approx(single[f"mrr@{k}"])
        whole = evaluate(sets, run, [f"recall@{k}", f"ndcg@{k}"])
        assert basket_recalls(ranks, questions, 40, k).mean() == pytest.approx(whole[f"recall@{k}"])
        assert basket_ndcgs(ranks, questions, 40, k).mean() == pytest.approx(whole[f"ndcg@{k}"])


@given(st.lists(st.tuples(st.integers(1, 5), st.floats(0, 1)), min_size=1, max_size=30))
def test_sums_by_user_keep_the_total(rows: list[tuple[int, float]]) -> None:
    users = np.array([user for user, _ in rows], np.int32)
    values = np.array([[value, 1.0] for _, value in rows])
    sums = sums_by_user(users, values)
    assert len(sums) == len(set(users.tolist()))
    assert sums.sum(axis=0).tolist() == pytest.approx(values.sum(axis=0).tolist())
    for row, user in zip(sums, sorted(set(users.tolist())), strict=True):
        assert row.tolist() == pytest.approx(values[users == user].sum(axis=0).tolist())


def test_the_mean_is_over_targets_and_the_interval_over_users() -> None:
    # One user hits 30 of 30 targets, the other 0 of 10: drawing two users gives 0, 3/4 or 1.
    found = mean_intervals(np.array([[30.0], [0.0]]), np.array([30.0, 10.0]), seed=1)
    assert found.values.tolist() == [3 / 4]
    assert (found.low[0], found.high[0]) == (0, 1)


def test_an_interval_is_as_wide_as_the_central_limit_says() -> None:
    rng = np.random.default_rng(3)
    values = rng.random(4000)
    found = mean_intervals(values[:, None], np.ones(4000), seed=1)
    error = values.std() / 4000**0.5
    assert found.low[0] == pytest.approx(values.mean() - 1.96 * error, abs=0.2 * error)
    assert found.high[0] == pytest.approx(values.mean() + 1.96 * error, abs=0.2 * error)


def test_the_same_seed_draws_the_same_users_for_every_figure() -> None:
    rng = np.random.default_rng(3)
    one, other, counts = rng.random((50, 1)), rng.random((50, 1)), rng.integers(1, 5, 50).astype(np.float64)
    both = mean_intervals(np.hstack((one, other)), counts, seed=9)
    alone = mean_intervals(other, counts, seed=9)
    assert (both.low[1], both.high[1]) == pytest.approx((alone.low[0], alone.high[0]))
