"""Tests of items like an item."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from ranking_cases import history, log_of, sources_of

from headrace.core.settings import RankingSettings
from headrace.ranking.item_vectors import ItemVectors, Placed
from headrace.ranking.network import Network
from headrace.ranking.rules import standard_rules
from headrace.ranking.similarity import similar_items
from headrace.ranking.sources import Encoder

BASKETS = log_of({user: history([1, 2, 4], [0, 0, 9**12]) for user in range(1, 5)} | {9: history([3, 5])}, 6)


def test_items_met_together_are_similar_and_the_item_itself_is_not_listed() -> None:
    found = similar_items(1, 2, sources=sources_of(BASKETS))
    assert found.items.tolist() == [2, 4]
    assert found.reasons == ["together", "together"]
    assert found.scores[0] > found.scores[1]


def test_content_finds_an_item_that_nobody_met() -> None:
    bare = sources_of(log_of({1: history([1])}, 4))
    contents = np.array([[0, 0], [1, 0], [0, 1], [0.8, 0.6], [0, 0]], np.float32)
    nothing = np.zeros((5, 2), np.float32)
    vectors = ItemVectors.of(Placed(nothing, nothing, contents), np.zeros(5, np.int32), np.zeros(1, np.int32))
    sources = replace(bare, encoder=Encoder(Silent(), vectors))
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


class Silent(Network):
    """A network that nobody asks for users."""

    def __init__(self) -> None:
        return


def test_items_that_the_network_knows_nothing_of_are_not_alike() -> None:
    bare = sources_of(log_of({1: history([1])}, 5))
    # Rows 2 and 5 have the vectors of an item without id and content; row 4 lies nearer to them than to row 3.
    outputs = np.array([[0, 0], [0, 1], [1, 0], [1, 2], [1, 1], [1, 0]], np.float32)
    inputs = np.array([[9, 9], [0, 1], [9, 9], [1, 2], [1, 1], [9, 9]], np.float32)
    vectors = ItemVectors.of(
        Placed(inputs, outputs, np.zeros((6, 0), np.float32)),
        np.array([0, 1, 0, 0, 0, 0], np.int32),
        np.zeros(1, np.int32),
    )
    sources = replace(bare, encoder=Encoder(Silent(), vectors))
    assert set(similar_items(2, 4, sources=sources).reasons) == {"popular"}
    found = similar_items(4, 4, sources=sources)
    assert found.items.tolist()[:2] == [3, 1]
