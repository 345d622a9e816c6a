"""Tests of the candidate sources and of the parts that they give."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose
from ranking_cases import history, log_of, ring, sources_of

from headrace.core.settings import RankingSettings
from headrace.data.log import Floats, History
from headrace.ranking.network import ItemVectors, Network, Placed
from headrace.ranking.requests import Request
from headrace.ranking.sources import PARTS, Encoder, Sources, chunk_size, gather


class LastItem(Network):
    """A stand-in: the user is the input vector of the last item, or of none."""

    def __init__(self) -> None:
        pass

    def users(self, histories: Sequence[History], times: Sequence[int | None], vectors: ItemVectors) -> Floats:
        assert len(histories) == len(times)
        return np.stack([vectors.inputs.wide()[each.items[-1] if len(each) else 0] for each in histories])


def encoder(outputs: Floats, contents: Floats | None = None) -> Encoder:
    n = len(outputs)
    placed = Placed(outputs, outputs, np.zeros((n, 0), np.float32) if contents is None else contents)
    return Encoder(LastItem(), ItemVectors.of(placed, np.ones(n, np.int32), np.arange(n, dtype=np.int32)))


def part(name: str) -> int:
    return PARTS.index(name)


def test_each_source_brings_its_candidates() -> None:
    log = log_of({1: history([1, 2]), 2: history([3, 3, 3])}, 6)
    outputs = np.zeros((7, 2), np.float32)
    outputs[5] = outputs[1] = [1, 0]
    bare = sources_of(log, RankingSettings(candidates=1))
    sources = Sources(bare.catalogue, bare.behaviour, bare.settings, encoder(outputs))
    asked = [Request(history([1])), Request(history([5, 1]), seen="include"), Request(history([]))]
    plain, again, nobody = gather(asked, sources)
    # Popular: 3. After 1 comes 2. The encoder likes 1 and 5 alike, and the lower index goes first; but it must bring
    # one that may be listed.
    assert plain.candidates.tolist() == [1, 2, 3, 5]
    assert again.candidates.tolist() == [1, 2, 3]
    # To somebody new it likes all alike.
    assert nobody.candidates.tolist() == [1, 3]


def test_items_newer_than_the_vectors_have_no_encoder_part() -> None:
    bare = sources_of(ring(5, 5, 4))
    outputs = np.arange(8, dtype=np.float32).reshape(4, 2)
    sources = Sources(bare.catalogue, bare.behaviour, bare.settings, encoder(outputs))
    (found,) = gather([Request(history([2]))], sources)
    parts = found.parts(np.array([1, 2, 3, 4, 5], np.int32))[part("encoder")]
    assert parts.tolist() == pytest.approx([2 * 4 + 3 * 5, 4 * 4 + 5 * 5, 6 * 4 + 7 * 5, -np.inf, -np.inf], rel=0.01)
    assert found.standardised(np.array([5], np.int32))[part("encoder")] == 0


def test_the_counts_part_adds_lambda_times_log_popularity() -> None:
    sources = sources_of(log_of({1: history([1, 2]), 2: history([2, 3])}, 3), RankingSettings(popularity_weight=0.5))
    (found,) = gather([Request(history([1]))], sources)
    items = np.array([1, 2, 3], np.int32)
    parts = found.parts(items)
    # All is within one hour, so that each event counts four times. c(1, 2) = 1.
    popular = np.log([1 + 4, 1 + 8, 1 + 4])
    assert_allclose(parts[part("popularity")], popular, rtol=1e-6)
    assert_allclose(parts[part("counts")], 0.5 * popular + [0, np.log(1 + 3 / 1000), 0], rtol=1e-5)


def test_parts_are_standardised_over_the_candidates_and_constant_ones_vanish() -> None:
    (found,) = gather([Request(history([1, 4]), seen="include")], sources_of(ring(6, 6, 5)))
    parts = found.standardised(found.candidates)
    assert_allclose(parts[part("counts")].mean(), 0, atol=1e-6)
    assert_allclose(parts[part("counts")].std(), 1, atol=1e-5)
    assert not parts[part("encoder")].any()
    assert not parts[part("content")].any()


def test_content_is_near_what_is_near_any_of_the_last_events() -> None:
    bare = sources_of(log_of({1: history([1])}, 6))
    contents = np.array([[0, 0], [1, 0], [0, 1], [0.6, 0.8], [0, 0], [-1, 0]], np.float32)
    sources = replace(bare, encoder=encoder(np.zeros((6, 2), np.float32), contents))
    (found,) = gather([Request(history([2, 6, 4, 1]))], sources)
    # Items 1 and 2 are liked, 4 says nothing, 6 is newer than the vectors.
    parts = found.parts(np.arange(1, 7, dtype=np.int32))[part("content")]
    expected = [np.log((np.exp(10 * one) + np.exp(10 * other)) / 2) for one, other in ((1, 0), (0, 1), (0.6, 0.8))]
    assert parts.tolist() == pytest.approx([*expected, -np.inf, np.log((np.exp(-10) + 1) / 2), -np.inf], rel=1e-3)
    (unknown,) = gather([Request(history([4]))], sources)
    assert not np.isfinite(unknown.parts(np.array([1], np.int32))[part("content")]).any()


def test_a_habit_grows_with_repeats_and_fades_with_later_events() -> None:
    (found,) = gather([Request(history([7, 3, 7, 3, 9, 8, 8], [0, 0, 1, 2, 3, 4, 4]))], sources_of(log_of({}, 9)))
    # Ages: 3 at 5 and 3, 7 at 5 and 4, 8 twice at 0, 9 at 2.
    strength = [100 / 105 + 100 / 103, 0, 100 / 105 + 100 / 104, 2, 100 / 102]
    habit = found.parts(np.array([3, 4, 7, 8, 9], np.int32))[part("repeat")]
    assert habit.tolist() == pytest.approx(np.log1p(strength).tolist(), rel=1e-6)


def test_each_event_of_a_history_adds_its_logarithm_and_a_basket_shares_one_weight() -> None:
    settings = RankingSettings(count_decay=0.5, count_smoothing=2.0, popularity_weight=0)
    sources = sources_of(log_of({1: history([1, 2, 3]), 2: history([3, 1])}, 4), settings)
    (found,) = gather([Request(history([3, 1]))], sources)
    # c(1, 2) = 1, c(1, 3) = 1/2, c(3, 1) = 1; item 1 is the last event (j = 0), item 3 the one before (j = 1).
    expected = [0.5 * np.log(1 + 4 / 2), np.log(1 + 4 / 2), np.log(1 + 4 / 2 / 2), 0]
    items = np.arange(1, 5, dtype=np.int32)
    assert found.parts(items)[part("counts")].tolist() == pytest.approx(expected, rel=1e-5)
    basket = sources_of(log_of({1: history([1, 3]), 2: history([2, 4])}, 4), settings)
    (found,) = gather([Request(history([1, 2], [5, 5]))], basket)
    counts = found.parts(items)[part("counts")]
    assert counts[2] == counts[3] > 0


def test_an_association_is_the_cosine_of_how_items_occur() -> None:
    sources = sources_of(log_of({1: history([1, 2, 3]), 2: history([1, 3])}, 4))
    (found,) = gather([Request(history([2, 1, 4]))], sources)
    # c(1, 2) = 1, c(1, 3) = 1/2 + 1, c(2, 3) = 1; one event came after the 1, two after the 2; of 4 nothing is known.
    one, two, three = 1 / np.sqrt(np.array([3, 2, 3]))
    of_one, of_two = 0.8, 0.64
    expected = [
        0,
        of_one * np.log(1 + 100 * one * two),
        of_one * np.log(1 + 100 * 1.5 * one * three) + of_two * np.log(1 + 100 * two * three),
        0,
    ]
    parts = found.parts(np.arange(1, 5, dtype=np.int32))
    assert parts[part("association")].tolist() == pytest.approx(expected, rel=1e-4)


def test_last_follows_the_end_of_a_history_and_counts_the_whole() -> None:
    long_ago = {user: history([1, 2]) for user in range(1, 9)}
    just_now = {user: history([3, 4]) for user in range(9, 14)}
    (found,) = gather([Request(history([1, 1, 1, 3]))], sources_of(log_of(long_ago | just_now, 5)))
    items = np.array([2, 4], np.int32)
    counts, last = (found.parts(items)[part(name)] for name in ("counts", "last"))
    assert counts[0] > counts[1]
    assert last[1] > last[0] > 0


def test_other_speaks_against_what_was_just_met() -> None:
    sources = sources_of(ring(5, 5, 4))
    basket, nobody = gather([Request(history([4, 1, 2], [0, 1, 1])), Request(history([]))], sources)
    items = np.arange(1, 6, dtype=np.int32)
    assert basket.parts(items)[part("other")].tolist() == [0, 0, 1, 1, 1]
    assert nobody.parts(items)[part("other")].tolist() == [1, 1, 1, 1, 1]


def test_a_large_catalogue_is_asked_in_small_chunks_where_all_of_it_is_looked_at() -> None:
    bare = sources_of(log_of({}, 7999))
    looking = replace(bare, encoder=encoder(np.zeros((8000, 1), np.float32)))
    assert chunk_size(looking) == 1000 > chunk_size(bare)


def test_the_trending_part_is_the_share_of_its_events_that_an_item_had_in_the_last_week() -> None:
    """Item 1 was met 300 times, all but 20 long ago; item 2 was met 50 times, all of them now."""
    day = 24 * 3_600_000_000
    old, new = history([1] * 280), history([1] * 20 + [2] * 50)
    new = replace(new, times=new.times + 100 * day)
    sources = sources_of(log_of({1: old, 2: new}, 3), RankingSettings())
    # So many events that the last week is not stretched.
    sources.behaviour.popularity.add(np.full(1000, 3, np.int32), np.full(1000, 99 * day))
    (found,) = gather([Request(history([]), time=101 * day)], sources)
    trending = found.parts(np.array([1, 2], np.int32))[part("trending")]
    assert_allclose(trending, np.log([21 / 400, 51 / 150]), rtol=1e-5)
