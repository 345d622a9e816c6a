"""Tests of fitting the blend."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ranking_cases import history, log_of, ring, sources_of

from headrace.core.formats import Blend, FirstBlend
from headrace.core.settings import RankingSettings
from headrace.ranking.blending import LEAST_SAMPLES, Sample, blend_ndcg, collect, fit_blend, fit_still, learned_seen
from headrace.ranking.requests import Request
from headrace.ranking.rules import standard_rules
from headrace.ranking.sources import PARTS


def samples(seed: int, n: int = 40) -> list[Sample]:
    """Random questions in which several parts know a little."""
    chance = np.random.default_rng(seed)
    made = []
    for _ in range(n):
        size = int(chance.integers(15, 60))
        found = np.sort(chance.choice(size, int(chance.integers(0, 4)), replace=False)).astype(np.int32)
        parts = chance.normal(size=(len(PARTS), size)).astype(np.float32)
        parts[:, found] += chance.random((len(PARTS), 1)).astype(np.float32) * 2
        made.append(Sample(parts, found, len(found) + 1, 0))
    return made


def single(name: str) -> Blend:
    return Blend(**{part: float(part == name) for part in PARTS})


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 10_000))
def test_a_blend_is_never_worse_than_one_of_its_parts(seed: int) -> None:
    made = samples(seed)
    blend = fit_blend(made)
    reached = blend_ndcg(made, blend)
    assert all(reached >= blend_ndcg(made, single(name)) - 2e-5 for name in PARTS)
    assert fit_blend(made) == blend
    assert min(getattr(blend, name) for name in PARTS) >= 0


def test_the_weights_are_those_that_people_chose_by() -> None:
    chance = np.random.default_rng(8)
    true = np.array([1.0, 0.5, 0.0, 0.25, 0.0, 0.75, 0.0, 2.0, 0.1, 0.4])
    made = []
    for _ in range(4000):
        parts = chance.normal(size=(len(PARTS), 30)).astype(np.float32)
        odds = np.exp(true @ parts)
        made.append(Sample(parts, chance.choice(30, 1, p=odds / odds.sum()).astype(np.int32), 1, 0))
    blend = fit_blend(made)
    # The standard error of a weight is some 1 / sqrt(4000 * variance within the candidates) = 0.02.
    assert [getattr(blend, name) for name in PARTS] == pytest.approx(true.tolist(), abs=0.07)


@pytest.mark.parametrize(("share", "might"), [(0.7, 30), (0.5, 3)])
def test_where_a_part_is_no_log_chance_the_weights_are_searched(share: float, might: float) -> None:
    """`last` points at the target softly, or at another item with more might, which a log chance must fear.

    In the first world it alone is better than the likely weights; in the second the halves must tell.
    """
    chance = np.random.default_rng(9)
    made = []
    for _ in range(800):
        parts = np.zeros((len(PARTS), 40), np.float32)
        target, other = chance.integers(40, size=2)
        right = chance.random() < share
        parts[PARTS.index("last"), target if right else other] = 1 if right else might
        for name in ("encoder", "counts"):
            parts[PARTS.index(name)] = chance.normal(size=40)
            parts[PARTS.index(name), target] += 1.2
        made.append(Sample(parts, np.array([target], np.int32), 1, 0))
    blend = fit_blend(made[1::2])
    both = Blend(encoder=1.0, counts=1.0, popularity=0.0)
    assert (blend_ndcg(made, single("last")) > blend_ndcg(made, both)) == (share > 0.5)
    # A soft 1 must outweigh what chance gives the others; the likelihood gives `last` no more weight than them.
    assert blend.last > 1.5 * max(blend.encoder, blend.counts) > 0
    assert blend_ndcg(made[::2], blend) > 1.05 * max(blend_ndcg(made[::2], one) for one in (single("last"), both))


def test_parts_that_see_different_things_are_blended() -> None:
    made = samples(3, n=150)
    assert blend_ndcg(made, fit_blend(made)) > 1.1 * max(blend_ndcg(made, single(name)) for name in PARTS)


def test_a_part_that_says_nothing_gets_no_weight() -> None:
    made = samples(4)
    for sample in made:
        sample.parts[PARTS.index("content")] = 0
        sample.parts[PARTS.index("repeat")] = len(sample.found)
    blend = fit_blend(made)
    assert blend.content == blend.repeat == 0
    assert sum(getattr(blend, name) > 0 for name in PARTS) > 1


def pointed_at(name: str, seed: int) -> list[Sample]:
    """Questions whose targets one part alone points at."""
    made = samples(seed, n=120)
    for sample in made:
        sample.parts[:] = np.random.default_rng(seed).normal(size=sample.parts.shape)
        sample.parts[PARTS.index(name), sample.found] += 3
    return made


def test_counts_that_rest_get_weights_of_their_own_only_where_those_win() -> None:
    """The common weights stay right when counts rest; those of short histories and of what is new do not."""
    blend = fit_blend(pointed_at("repeat", 11), pointed_at("recent", 12), pointed_at("trending", 13))
    assert blend.short is not None
    assert blend.unmet is not None
    same = [pointed_at(name, 20 + place) for place, name in enumerate(("repeat", "recent", "trending"))]
    assert fit_still(blend, *same) is None
    still = fit_still(blend, same[0], pointed_at("counts", 24), pointed_at("encoder", 25))
    assert still is not None
    assert still.short is not None
    assert still.unmet is not None
    assert [getattr(still, name) for name in PARTS] == [getattr(blend, name) for name in PARTS]
    assert still.first == blend.first
    assert still.still is None
    assert still.short.counts > 0.5 > still.short.recent
    assert still.unmet.encoder > 0.5 > still.unmet.trending
    # Of too few questions nothing follows.
    one = fit_still(blend, same[0], pointed_at("counts", 24)[: LEAST_SAMPLES - 1], pointed_at("encoder", 25))
    assert one is not None
    assert one.short == blend.short
    assert one.unmet == still.unmet


def test_few_users_without_a_history_do_not_decide_their_weights() -> None:
    few, enough = ([*samples(5), *(replace(one, first=True) for one in samples(6, n))] for n in (LEAST_SAMPLES - 1, 80))
    assert fit_blend(few).first == FirstBlend()
    assert fit_blend(enough).first != FirstBlend()


def test_the_measure_is_the_discounted_gain_of_each_target() -> None:
    parts = np.zeros((len(PARTS), 12), np.float32)
    parts[PARTS.index("counts")] = -np.arange(12)
    # Places 0 and 2 rank 1 and 3, place 11 ranks 12, and one target is no candidate.
    made = [Sample(parts, np.array([0, 2, 11], np.int32), 4, 0)]
    assert blend_ndcg(made, single("counts")) == pytest.approx((1 + 1 / np.log2(4)) / 4)
    # All equal: the rank is the order of the items.
    assert blend_ndcg(made, single("encoder")) == pytest.approx((1 + 1 / np.log2(4)) / 4)


def test_without_questions_the_counts_stand_alone() -> None:
    assert fit_blend([]) == single("counts")
    assert blend_ndcg([], single("counts")) == 0
    assert learned_seen([]) == "exclude"


def test_questions_are_collected_as_the_counts_stand() -> None:
    sources = sources_of(ring(12, 12, 6))
    rules = standard_rules(sources.catalogue, RankingSettings())
    asked = [Request(history([3, 4])), Request(history([]))]
    made = collect(asked, [np.array([5, 3], np.int32), np.array([1], np.int32)], sources=sources, rules=rules)
    # The second has no history. Of the first's targets, 3 was met and is not allowed.
    assert [sample.first for sample in made] == [False, True]
    assert (made[0].targets, made[0].met, len(made[0].found)) == (2, 1, 1)
    assert made[0].parts.shape == (len(PARTS), 10)
    assert learned_seen(made) == "include"
    assert blend_ndcg(made[:1], single("counts")) == pytest.approx(0.5)


def test_people_who_rebuy_teach_the_weight_of_repeats() -> None:
    # Everybody has two staples of their own, and meets others at random.
    chance = np.random.default_rng(5)
    users = {}
    for user in range(1, 40):
        staples = chance.integers(1, 200, 2)
        users[user] = history([int(chance.choice(staples if step % 2 else 200) or 1) for step in range(30)])
    sources = sources_of(log_of(users, 200))
    rules = standard_rules(sources.catalogue, RankingSettings())
    asked = [Request(each.last(30), seen="include") for each in users.values()]
    targets = [np.unique(each.items[1::2]) for each in users.values()]
    made = collect(asked, targets, sources=sources, rules=rules)
    assert learned_seen(made) == "include"
    assert fit_blend(made).repeat > 0


def test_people_who_come_back_but_never_at_once_teach_to_move_on() -> None:
    # Everybody compares two items by turns. The counts are of others, so habit alone knows of the two.
    sources = sources_of(ring(80, 80, 2))
    rules = standard_rules(sources.catalogue, RankingSettings())
    pairs = [history([item, item + 40] * 3) for item in range(1, 40)]
    asked = [Request(pair, seen="include") for pair in pairs]
    made = collect(asked, [pair.items[:1] for pair in pairs], sources=sources, rules=rules)
    assert blend_ndcg(made, single("repeat")) == pytest.approx(1 / np.log2(3))
    assert blend_ndcg(made, fit_blend(made)) == 1
