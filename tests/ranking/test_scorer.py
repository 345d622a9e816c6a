"""Tests of the blend, the reasons and the learned habit."""

from __future__ import annotations

import numpy as np
from numpy.testing import assert_allclose
from ranking_cases import history, log_of, sources_of

from headrace.core.formats import SHORT_HISTORY, Blend, FirstBlend, Weights
from headrace.core.types import Seen
from headrace.data.log import EventLog, History
from headrace.ranking.popularity import HOUR_US
from headrace.ranking.requests import Request
from headrace.ranking.scorer import Scorer, default_scorer, repeat_share, seen_habit
from headrace.ranking.sources import PARTS, gather

COUNTS = Blend(encoder=0, counts=1, popularity=0)


def log() -> EventLog:
    return log_of({1: history([1, 2]), 2: history([1, 2]), 3: history([3, 3, 3])}, 5)


def test_the_score_is_the_weighted_sum_of_the_standardised_parts() -> None:
    sources, request = sources_of(log()), Request(history([1]), seen="include")
    (found,) = gather([request], sources)
    parts = found.standardised(found.candidates)
    blend = Blend(encoder=9, counts=2, popularity=0.5, content=9, repeat=3)
    expected = (
        2 * parts[PARTS.index("counts")] + 0.5 * parts[PARTS.index("popularity")] + 3 * parts[PARTS.index("repeat")]
    )
    assert_allclose(Scorer(blend).score(request, found, found.candidates, sources), expected, rtol=1e-5)


def test_a_user_without_a_history_is_answered_by_popularity() -> None:
    sources, request = sources_of(log()), Request(history([]))
    (found,) = gather([request], sources)
    items = np.array([1, 2, 3, 4], np.int32)
    scores = Scorer(Blend(encoder=1, counts=0, popularity=0)).score(request, found, items, sources)
    assert scores[2] > scores[0] == scores[1] > scores[3]
    assert Scorer(COUNTS).reasons(request, found, items) == ["popular", "popular", "popular", "new"]


def test_a_short_history_has_weights_of_its_own() -> None:
    blend = Blend(encoder=0, counts=1, popularity=0, short=Weights(popularity=2))
    sources = sources_of(log())
    for events in (1, SHORT_HISTORY, SHORT_HISTORY + 1):
        request = Request(history([1, 3] * 5).last(events), seen="include")
        (found,) = gather([request], sources)
        parts = found.standardised(found.candidates)
        expected = 2 * parts[PARTS.index("popularity")] if events <= SHORT_HISTORY else parts[PARTS.index("counts")]
        assert_allclose(Scorer(blend).score(request, found, found.candidates, sources), expected, rtol=1e-5)


def test_reasons_name_the_part_that_added_most() -> None:
    sources = sources_of(log())
    request = Request(history([3, 1]), seen="include")
    (found,) = gather([request], sources)
    reasons = Scorer(Blend(encoder=0, counts=1, popularity=0, repeat=1)).reasons(
        request, found, np.array([2, 1, 4], np.int32)
    )
    assert reasons == ["together", "again", "new"]


def test_what_the_history_does_not_lead_to_is_never_called_together() -> None:
    sources, request = sources_of(log()), Request(history([4]))
    (found,) = gather([request], sources)
    assert Scorer(COUNTS).reasons(request, found, np.array([3], np.int32)) == ["popular"]


def test_moving_on_is_no_reason() -> None:
    sources, request = sources_of(log()), Request(history([4]), seen="include")
    (found,) = gather([request], sources)
    blend = Blend(encoder=0, counts=0, popularity=0.1, other=5)
    items = np.array([1, 2, 3], np.int32)
    assert Scorer(blend).reasons(request, found, items) == ["popular"] * 3


def test_an_event_type_favours_items_that_get_it() -> None:
    sources = sources_of(log())
    sources.behaviour.types.add(np.full(20, 4, np.int32), np.full(20, 1, np.int32))
    request = Request(history([1]), event_type=1)
    (found,) = gather([request], sources)
    items = np.array([3, 4], np.int32)
    plain = Scorer(COUNTS).score(Request(history([1])), found, items, sources)
    ranked = Scorer(COUNTS).score(request, found, items, sources)
    assert ranked[1] - ranked[0] > plain[1] - plain[0] + 1


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
    sources = sources_of(log())
    cases: list[tuple[Seen, Blend, History, int, str]] = [
        ("exclude", unmet, long, 2, "popularity"),
        ("include", unmet, long, 1, "counts"),
        ("exclude", none, long, 1, "counts"),
        ("exclude", unmet, long.last(SHORT_HISTORY), 2, "last"),
    ]
    for seen, blend, events, weight, name in cases:
        request = Request(events, seen=seen)
        (found,) = gather([request], sources)
        parts = found.standardised(found.candidates)
        scores = Scorer(blend).score(request, found, found.candidates, sources)
        assert_allclose(scores, weight * parts[PARTS.index(name)], rtol=1e-5)


def test_counts_that_heard_nothing_for_long_have_weights_of_their_own() -> None:
    """The newest event is in the hour of 0; an hour later the counts are called still, which they are not before."""
    long = history([1, 3] * 5)
    still = Blend(
        encoder=0, counts=0, popularity=3, unmet=Weights(association=4), first=FirstBlend(popularity=5, recent=0)
    )
    blend = Blend(encoder=0, counts=1, popularity=0, still=still, still_after_us=HOUR_US)
    sources = sources_of(log())
    late = 3 * HOUR_US
    cases: list[tuple[Seen, History, int | None, int, str]] = [
        ("include", long, late, 3, "popularity"),
        ("exclude", long, late, 4, "association"),
        ("exclude", history([]), late, 5, "popularity"),
        ("include", long, HOUR_US // 2, 1, "counts"),
        ("include", long, None, 1, "counts"),
    ]
    for seen, events, time, weight, name in cases:
        request = Request(events, seen=seen, time=time)
        (found,) = gather([request], sources)
        parts = found.standardised(found.candidates)
        scores = Scorer(blend).score(request, found, found.candidates, sources)
        assert_allclose(scores, weight * parts[PARTS.index(name)], rtol=1e-5)
