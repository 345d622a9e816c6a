"""Tests of the rules, one by one."""

from __future__ import annotations

import numpy as np
from ranking_cases import history

from headrace.core.settings import RankingSettings
from headrace.data.log import Bools
from headrace.ranking.catalogue import Catalogue
from headrace.ranking.requests import Request
from headrace.ranking.rules import Available, InCategory, NotExcluded, NotSeen, Rule, Rules, standard_rules

ITEMS = np.array([1, 2, 3, 4], np.int32)


def keep(rule: Rule, request: Request) -> Bools:
    return Rules((rule,)).keep(request, ITEMS, Catalogue.of_ids("abcd"))


def test_items_of_the_history_stay_out_unless_they_may_repeat() -> None:
    assert keep(NotSeen(), Request(history([2, 9]))).tolist() == [True, False, True, True]
    assert keep(NotSeen(), Request(history([2, 9]), seen="include")).all()


def test_excluded_items_stay_out() -> None:
    request = Request(history([]), exclude=np.array([4, 1, 77], np.int32))
    assert keep(NotExcluded(), request).tolist() == [False, True, True, False]


def test_what_is_sold_out_leaves_at_once() -> None:
    catalogue = Catalogue.of_ids("abcd")
    rule = Available(catalogue)
    assert keep(rule, Request(history([]))).all()
    catalogue.set_available(3, False)
    assert keep(rule, Request(history([]))).tolist() == [True, True, False, True]


def test_a_category_keeps_its_items_and_an_unknown_one_keeps_none() -> None:
    catalogue = Catalogue.of_ids("abcd")
    catalogue.put("b", categories=["hot"])
    rule = InCategory(catalogue)
    assert keep(rule, Request(history([]), category="hot")).tolist() == [False, True, False, False]
    assert not keep(rule, Request(history([]), category="cold")).any()
    assert keep(rule, Request(history([]))).all()


def test_one_item_of_each_title_is_taken_and_items_without_titles_always() -> None:
    catalogue = Catalogue()
    for item, title in (("a", "Tea"), ("b", "tea "), ("c", None), ("d", None)):
        catalogue.put(item, title=title)
    order = np.array([2, 3, 1, 4], np.int32)
    assert Rules(distinct_titles=catalogue).take(order, 9).tolist() == [0, 1, 3]
    assert Rules(distinct_titles=catalogue).take(order, 2).tolist() == [0, 1]
    assert Rules().take(order, 3).tolist() == [0, 1, 2]


def test_the_standard_rules_follow_the_setting_of_titles() -> None:
    catalogue = Catalogue()
    assert standard_rules(catalogue, RankingSettings()).distinct_titles is catalogue
    assert standard_rules(catalogue, RankingSettings(distinct_titles=False)).distinct_titles is None
