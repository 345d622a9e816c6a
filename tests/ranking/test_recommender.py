"""Tests of the whole: lists obey the rules, are full, and are the same alone and in a batch."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from plain_ranking import all_scores, assert_brought, may_be_listed
from ranking_cases import HOUR, history, log_of, ring, sources_of

from headrace.core.formats import Blend
from headrace.core.settings import RankingSettings
from headrace.ranking.catalogue import Catalogue
from headrace.ranking.recommender import recommend
from headrace.ranking.requests import Answer, Request
from headrace.ranking.rules import standard_rules
from headrace.ranking.scorer import Scorer, default_scorer
from headrace.ranking.sources import PARTS, Sources, gather

BLEND = Blend(encoder=0, counts=1, popularity=0.3, repeat=0.7)

N_ITEMS = 40


def shop() -> Sources:
    """Forty items, of which some share titles, are of a category, or are sold out, and people who roam among them."""
    chance = np.random.default_rng(7)
    catalogue = Catalogue()
    for item in range(1, N_ITEMS + 1):
        catalogue.put(
            str(item),
            title=None if item % 7 == 0 else f"Title {item // 2}",
            categories=["even"] if item % 2 == 0 else ["odd", "uneven"],
            available=item % 9 != 0,
        )
    users = {
        user: history(chance.integers(1, 36, 12).tolist(), np.sort(chance.integers(0, 9, 12) * HOUR).tolist())
        for user in range(1, 30)
    }
    return sources_of(log_of(users, N_ITEMS), RankingSettings(candidates=4), catalogue)


SHOP = shop()


def answer(requests: list[Request], sources: Sources = SHOP, blend: Blend = BLEND) -> list[Answer]:
    rules = standard_rules(sources.catalogue, sources.settings)
    return recommend(requests, sources=sources, rules=rules, scorer=Scorer(blend))


items = st.integers(0, N_ITEMS)
requests = st.builds(
    Request,
    history=st.lists(items, max_size=12).map(history),
    k=st.integers(1, 50),
    time=st.none() | st.integers(0, 20 * HOUR),
    exclude=st.lists(items, max_size=12).map(lambda found: np.array(found, np.int32)),
    seen=st.sampled_from(["include", "exclude"]),
    event_type=st.none() | st.integers(0, 2),
    only=st.none() | st.lists(items, max_size=12).map(lambda found: np.array(found, np.int32)),
    category=st.none() | st.sampled_from(["even", "odd", "nothing"]),
)


def may_stand(request: Request, item: int) -> bool:
    catalogue = SHOP.catalogue
    return (
        bool(catalogue.available[item])
        and (request.seen == "include" or item not in request.history.items)
        and item not in request.exclude
        and (request.only is None or item in request.only)
        and (request.category is None or request.category in catalogue.categories(item))
    )


@settings(deadline=None)
@given(requests)
def test_a_list_holds_what_the_rules_allow_and_is_short_only_where_nothing_is_left(request: Request) -> None:
    (found,) = answer([request])
    listed = found.items.tolist()
    allowed = [item for item in range(1, N_ITEMS + 1) if may_stand(request, item)]
    assert set(listed) <= set(allowed)
    assert len(set(listed)) == len(listed)
    groups = SHOP.catalogue.groups
    titles = [groups[item] for item in listed if groups[item]]
    assert len(set(titles)) == len(titles)
    most = sum(not groups[item] for item in allowed) + len({int(groups[item]) for item in allowed} - {0})
    assert len(listed) == min(request.k, most)
    assert len(found.scores) == len(found.reasons) == len(listed)


blends = st.builds(
    Blend, **{name: st.sampled_from([0.0, 0.3, 1.0, 2.5]) for name in PARTS if name not in ("encoder", "content")},
    encoder=st.just(0.0),
)  # fmt: skip


@settings(deadline=None, max_examples=300)
@given(requests, blends)
def test_scores_and_order_are_those_of_the_definitions(request: Request, blend: Blend) -> None:
    """Against `plain_ranking`, which computes each part of each item; where scores are as good as equal, any order."""
    (found,) = answer([request], SHOP, blend)
    (looked,) = gather([request], SHOP)
    assert_brought(looked.candidates, request, SHOP)
    scores = all_scores(request, SHOP, blend, looked.candidates)
    assert_allclose(found.scores, scores[found.items], rtol=1e-3, atol=1e-3)
    allowed = may_be_listed(request, SHOP, standard_rules(SHOP.catalogue, SHOP.settings))
    if request.only is None:
        from_sources = [item for item in allowed if item in looked.candidates]
        titles = {int(SHOP.catalogue.groups[item]) or -item for item in from_sources}
        allowed = from_sources if len(titles) >= request.k else allowed
    best: list[float] = []
    taken: set[int] = set()
    for item in sorted(allowed, key=lambda item: -scores[item]):
        title = int(SHOP.catalogue.groups[item]) or -item
        if title not in taken and len(best) < request.k:
            taken.add(title)
            best.append(scores[item])
    assert_allclose(found.scores, best, rtol=1e-3, atol=1e-3)


@settings(deadline=None)
@given(requests)
def test_lists_fall_and_equal_scores_go_to_the_lower_index(request: Request) -> None:
    (found,) = answer([request])
    ranked = list(zip((-found.scores).tolist(), found.items.tolist(), strict=True))
    assert ranked == sorted(ranked)


@settings(deadline=None)
@given(st.lists(requests, min_size=1, max_size=5))
def test_alone_or_in_a_batch_one_answer(asked: list[Request]) -> None:
    for request, together in zip(asked, answer(asked), strict=True):
        (alone,) = answer([request])
        assert_array_equal(alone.items, together.items)
        assert_array_equal(alone.scores, together.scores)
        assert alone.reasons == together.reasons


@settings(deadline=None)
@given(requests, st.integers(1, N_ITEMS))
def test_a_rule_takes_items_away_and_changes_no_score_of_the_others(request: Request, gone: int) -> None:
    wide = replace(request, k=N_ITEMS)
    (before,) = answer([wide])
    (after,) = answer([replace(wide, exclude=np.append(request.exclude, np.int32(gone)))])
    scores = dict(zip(before.items.tolist(), before.scores.tolist(), strict=True))
    for item, score in zip(after.items.tolist(), after.scores.tolist(), strict=True):
        assert scores.get(item, score) == score
    assert gone not in after.items


def test_a_ring_is_known_by_heart() -> None:
    sources = sources_of(ring(30, 30, 12))
    asked = [Request(history([(item + step) % 30 + 1 for step in range(6)]), k=1) for item in range(30)]
    found = answer(asked, sources, default_scorer("exclude").blend)
    assert [int(each.items[0]) for each in found] == [(item + 6) % 30 + 1 for item in range(30)]
    assert {reason for each in found for reason in each.reasons} == {"together"}


def test_fashion_changes_the_list_of_a_new_user() -> None:
    noon = 400 * HOUR
    users = {user: history([1], [noon - user * HOUR]) for user in range(1, 300)}
    users |= {user: history([2], [noon + user * HOUR // 50]) for user in range(300, 450)}
    sources = sources_of(log_of(users, 2))
    before, after = answer([Request(history([]), k=1, time=time) for time in (noon, noon + 9 * HOUR)], sources)
    assert before.items.tolist() == [1]
    assert after.items.tolist() == [2]


def test_an_event_counts_in_the_very_next_answer() -> None:
    sources = sources_of(ring(10, 3, 3))
    request = Request(history([5]), k=1)
    assert answer([request], sources)[0].items.tolist() != [9]
    for _ in range(3):
        sources.behaviour.change(history([]), history([5, 9]))
    assert answer([request], sources)[0].items.tolist() == [9]


def test_items_asked_for_by_name_are_ranked_even_where_no_source_finds_them() -> None:
    (found,) = answer([Request(history([1]), k=9, only=np.array([38, 37, 0, 2000, 37], np.int32), seen="include")])
    assert sorted(found.items.tolist()) == [37, 38]


def test_habit_brings_back_what_was_met() -> None:
    sources = sources_of(log_of({1: history([1, 2, 3, 4] * 3)}, 9))
    blend = Blend(encoder=0, counts=0, popularity=0, repeat=1)
    (found,) = answer([Request(history([7, 8, 7]), k=2, seen="include")], sources, blend)
    assert found.items.tolist() == [7, 8]
    assert found.reasons == ["new", "new"]  # nobody is counted as having met them


def test_an_empty_catalogue_gives_empty_lists() -> None:
    sources = sources_of(log_of({}, 0))
    (found,) = answer([Request(history([]), k=3)], sources)
    assert len(found.items) == len(found.scores) == 0
    assert answer([], sources) == []


def test_many_requests_are_answered_in_chunks_alike() -> None:
    asked = [Request(history([item % N_ITEMS + 1]), k=3) for item in range(25)]
    together = answer(asked)
    for request, found in zip(asked, together, strict=True):
        assert_allclose(answer([request])[0].scores, found.scores)
