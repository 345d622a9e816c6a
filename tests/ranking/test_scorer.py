"""Tests of the blend, the reasons and the learned habit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose
from ranking_cases import history, log_of, sources_of

from headrace.core.formats import SHORT_HISTORY, Blend, FirstBlend, Weights
from headrace.core.types import Seen
from headrace.data.log import EventLog, Floats, History, Ints
from headrace.ranking.popularity import HOUR_US
from headrace.ranking.recommender import recommend
from headrace.ranking.requests import Request
from headrace.ranking.rules import Rules
from headrace.ranking.scorer import Scorer, default_scorer, repeat_share, seen_habit
from headrace.ranking.sources import PARTS, Sources, gather

COUNTS = Blend(encoder=0, counts=1, popularity=0)


def log() -> EventLog:
    return log_of({1: history([1, 2]), 2: history([1, 2]), 3: history([3, 3, 3])}, 5)


def scores_of(request: Request, blend: Blend, sources: Sources) -> tuple[Ints, Floats]:
    """Return the whole list of a request and its scores."""
    wide = replace(request, k=len(sources.catalogue))
    (answer,) = recommend([wide], sources=sources, rules=Rules(), scorer=Scorer(blend))
    return answer.items, answer.scores


def reasons_of(request: Request, blend: Blend, items: list[int], sources: Sources) -> list[str]:
    wide = replace(request, k=len(items), only=np.array(items, np.int32))
    (answer,) = recommend([wide], sources=sources, rules=Rules(), scorer=Scorer(blend))
    reasons = dict(zip(answer.items.tolist(), answer.reasons, strict=True))
    return [reasons[item] for item in items]


def assert_weighs(weights: dict[str, float], request: Request, blend: Blend, sources: Sources) -> None:
    """Hold the scores against the weighted sum of the standardised parts."""
    items, scores = scores_of(request, blend, sources)
    (found,) = gather([request], sources)
    parts = found.standardised(items)
    expected = sum(weight * parts[PARTS.index(name)] for name, weight in weights.items())
    assert_allclose(scores, expected, rtol=1e-4, atol=1e-5)


def test_the_score_is_the_weighted_sum_of_the_standardised_parts() -> None:
    blend = Blend(encoder=9, counts=2, popularity=0.5, content=9, repeat=3)
    request = Request(history([1]), seen="include")
    assert_weighs({"counts": 2, "popularity": 0.5, "repeat": 3}, request, blend, sources_of(log()))


def test_a_user_without_a_history_is_answered_by_popularity() -> None:
    sources, request, blend = sources_of(log()), Request(history([])), Blend(encoder=1, counts=0, popularity=0)
    items, found = scores_of(request, blend, sources)
    scores = dict(zip(items.tolist(), found.tolist(), strict=True))
    assert scores[3] > scores[1] == scores[2] > scores[4]
    assert reasons_of(request, COUNTS, [1, 2, 3, 4], sources) == ["popular", "popular", "popular", "new"]


def test_a_short_history_has_weights_of_its_own() -> None:
    blend = Blend(encoder=0, counts=1, popularity=0, short=Weights(popularity=2))
    for events in (1, SHORT_HISTORY, SHORT_HISTORY + 1):
        request = Request(history([1, 3] * 5).last(events), seen="include")
        weights = {"popularity": 2.0} if events <= SHORT_HISTORY else {"counts": 1.0}
        assert_weighs(weights, request, blend, sources_of(log()))


def test_reasons_name_the_part_that_added_most() -> None:
    request, blend = Request(history([3, 1]), seen="include"), Blend(encoder=0, counts=1, popularity=0, repeat=1)
    assert reasons_of(request, blend, [2, 1, 4], sources_of(log())) == ["together", "again", "new"]


def test_what_the_history_does_not_lead_to_is_never_called_together() -> None:
    assert reasons_of(Request(history([4])), COUNTS, [3], sources_of(log())) == ["popular"]


def test_moving_on_is_no_reason() -> None:
    request, blend = Request(history([4]), seen="include"), Blend(encoder=0, counts=0, popularity=0.1, other=5)
    assert reasons_of(request, blend, [1, 2, 3], sources_of(log())) == ["popular"] * 3


def test_an_event_type_favours_items_that_get_it() -> None:
    sources = sources_of(log())
    sources.behaviour.types.add(np.full(20, 4, np.int32), np.full(20, 1, np.int32))
    of = [
        dict(zip(*(each.tolist() for each in scores_of(request, COUNTS, sources)), strict=True))
        for request in (Request(history([1]), event_type=1), Request(history([1])))
    ]
    ranked, plain = of
    # Type 1 has 20 of 27 events: (20 + 20/27) / 21 of item 4, (20/27) / 4 of 3, (20/27) / 1 of 5.
    gains = [ranked[item] - plain[item] for item in (4, 3, 5)]
    assert gains == pytest.approx(np.log([(20 + 20 / 27) / 21, 20 / 27 / 4, 20 / 27]).tolist(), abs=1e-5)


def test_without_a_model_habit_counts_only_where_lists_may_repeat() -> None:
    assert default_scorer("exclude").blend.repeat == 0
    assert default_scorer("include").blend.repeat > 0


def test_the_habit_of_repeating_is_learned_from_the_log() -> None:
    fresh = log_of({1: history(list(range(1, 40))), 2: history([5, 5], [0, 0])}, 40)
    assert repeat_share(fresh) == 0
    assert seen_habit(fresh) == "exclude"
    assert repeat_share(log_of({1: history([5, 5, 6, 5])}, 40)) == 0.5
    assert seen_habit(log_of({1: history([5, 5, 6, 5])}, 40)) == "include"
    assert seen_habit(log_of({}, 3)) == "exclude"


def test_a_list_of_what_is_new_has_weights_of_its_own_where_lists_usually_repeat() -> None:
    long = history([1, 3] * 5)
    unmet = Blend(encoder=0, counts=1, popularity=0, short=Weights(last=2), unmet=Weights(popularity=2))
    none = Blend(encoder=0, counts=1, popularity=0)
    cases: list[tuple[Seen, Blend, History, int, str]] = [
        ("exclude", unmet, long, 2, "popularity"),
        ("include", unmet, long, 1, "counts"),
        ("exclude", none, long, 1, "counts"),
        ("exclude", unmet, long.last(SHORT_HISTORY), 2, "last"),
    ]
    for seen, blend, events, weight, name in cases:
        assert_weighs({name: weight}, Request(events, seen=seen), blend, sources_of(log()))


def test_counts_that_heard_nothing_for_long_have_weights_of_their_own() -> None:
    """The newest event is in the hour of 0; an hour later the counts are called still, which they are not before."""
    long = history([1, 3] * 5)
    still = Blend(
        encoder=0, counts=0, popularity=3, unmet=Weights(association=4), first=FirstBlend(popularity=5, recent=0)
    )
    blend = Blend(encoder=0, counts=1, popularity=0, still=still, still_after_us=HOUR_US)
    late = 3 * HOUR_US
    cases: list[tuple[Seen, History, int | None, int, str]] = [
        ("include", long, late, 3, "popularity"),
        ("exclude", long, late, 4, "association"),
        ("exclude", history([]), late, 5, "popularity"),
        ("include", long, HOUR_US // 2, 1, "counts"),
        ("include", long, None, 1, "counts"),
    ]
    for seen, events, time, weight, name in cases:
        assert_weighs({name: weight}, Request(events, seen=seen, time=time), blend, sources_of(log()))
