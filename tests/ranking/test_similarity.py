"""Tests of items like an item."""

from __future__ import annotations

import numpy as np
from ranking_cases import history, log_of, sources_of

from headrace.core.settings import RankingSettings
from headrace.ranking.rules import standard_rules
from headrace.ranking.similarity import similar_items
from headrace.ranking.sources import Sources

BASKETS = log_of({user: history([1, 2, 4], [0, 0, 9**12]) for user in range(1, 5)} | {9: history([3, 5])}, 6)


def test_items_met_together_are_similar_and_the_item_itself_is_not_listed() -> None:
    found = similar_items(1, 2, sources=sources_of(BASKETS))
    assert found.items.tolist() == [2, 4]
    assert found.reasons == ["together", "together"]
    assert found.scores[0] > found.scores[1]


def test_content_finds_an_item_that_nobody_met() -> None:
    bare = sources_of(log_of({1: history([1])}, 4))
    content = np.array([[0, 0], [1, 0], [0, 1], [0.8, 0.6], [0, 0]], np.float32)
    sources = Sources(bare.catalogue, bare.behaviour, bare.settings, content=content)
    found = similar_items(1, 2, sources=sources)
    assert found.items.tolist() == [3, 2]
    assert found.reasons == ["similar", "similar"]


def test_rules_hold_and_lists_stay_full() -> None:
    sources = sources_of(BASKETS, RankingSettings(candidates=1))
    sources.catalogue.set_available(2, False)
    found = similar_items(1, 10, sources=sources, rules=standard_rules(sources.catalogue, sources.settings))
    assert sorted(found.items.tolist()) == [3, 4, 5, 6]


def test_an_item_of_which_nothing_is_known_still_gets_a_list() -> None:
    found = similar_items(6, 3, sources=sources_of(BASKETS))
    assert found.items.tolist() == [4, 1, 2]  # 4 was met last
    assert found.reasons == ["popular"] * 3
