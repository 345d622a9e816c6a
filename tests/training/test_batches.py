"""Packing: each event once, each target once, and no place that sees what it must predict."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from training_cases import HOUR, SHAPE, log_of, sequences_of

from headrace.core.formats import Shape
from headrace.training import batches
from headrace.training.batches import SAME_BASKET_WEIGHT, START_PLACE, Batch, Sequences

SHORT = Shape(width=8, layers=1, heads=1, window=4, content=0, types=["a"])


def pairs_of(batch: Batch) -> list[tuple[list[int], int, float]]:
    """Return (history that the place may read, target, weight) of each pair."""
    found = []
    for place, item, weight in zip(batch.pair_places, batch.pair_items, batch.pair_weights, strict=True):
        history: list[int] = []
        if place != START_PLACE:
            own = batch.segments[: place + 1] == batch.segments[place]
            history = batch.items[: place + 1][own].tolist()
        found.append((history, int(item), float(weight)))
    return found


def all_pairs(sequences: Sequences) -> list[tuple[list[int], int, float]]:
    return [pair for batch in sequences.epoch(0, 1) for pair in pairs_of(batch)]


histories = st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=25), min_size=1, max_size=8)


@given(histories, st.sampled_from([8, 20, 64]))
@settings(max_examples=40, deadline=None)
def test_in_file_order_each_event_is_a_target_once_behind_its_own_past(items: list[list[int]], batch: int) -> None:
    sequences = sequences_of(log_of(items), shape=SHORT, batch_events=batch, ties="file")
    reach = SHORT.reach
    found = sorted((history[-reach:], item) for history, item, _ in all_pairs(sequences))
    expected = sorted((own[max(0, t - reach) : t], own[t]) for own in items for t in range(len(own)))
    assert found == expected


@given(histories, st.integers(1, 5))
@settings(max_examples=40, deadline=None)
def test_the_parts_of_a_batch_hold_whole_histories_and_all_pairs(items: list[list[int]], most: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batches, "LEAST_EVENTS", 3)
        for batch in sequences_of(log_of(items), shape=SHORT, batch_events=64, ties="file").epoch(0, 1):
            parts = batch.parts(most)
            assert len(parts) <= most
            assert [pair for part in parts for pair in pairs_of(part)] == pairs_of(batch)
            histories = [part.items[part.segments == row] for part in parts for row in np.unique(part.segments)]
            whole = [batch.items[batch.segments == row] for row in np.unique(batch.segments)]
            assert [each.tolist() for each in histories] == [each.tolist() for each in whole]
            read = [part.pair_targets >= 0 for part in parts]
            for part, inside in zip(parts, read, strict=True):
                assert np.array_equal(part.items[part.pair_targets[inside]], part.pair_items[inside])
            assert sum(each.sum() for each in read) == (batch.pair_targets >= 0).sum()


@given(histories)
@settings(max_examples=20, deadline=None)
def test_walking_reads_every_event_once(items: list[list[int]]) -> None:
    log = log_of(items)
    places = np.concatenate([p[owned] for _, p, owned in sequences_of(log, shape=SHORT, batch_events=16).walk()])
    assert sorted(places.tolist()) == list(range(len(log)))


def test_the_last_of_a_basket_predicts_each_item_of_the_next() -> None:
    log = log_of([[1, 2, 3, 4, 5]], [[0, 0, 5, 5, 9]])
    pairs = all_pairs(sequences_of(log))
    strict = sorted((sorted(history), item) for history, item, weight in pairs if weight == 1.0)
    assert strict == [([], 1), ([], 2), ([1, 2], 3), ([1, 2], 4), ([1, 2, 3, 4], 5)]
    inside = [(set(history), item) for history, item, weight in pairs if np.isclose(weight, SAME_BASKET_WEIGHT)]
    assert len(inside) == 2
    assert all(item not in history for history, item in inside)


def test_a_place_is_asked_at_the_time_of_what_it_predicts_and_inside_a_basket_the_time_is_not_hidden() -> None:
    log = log_of([[1, 2, 3]], [[0, 0, 7]])
    (batch,) = sequences_of(log).epoch(0, 1)
    asked = batch.requests - 10**15
    assert asked.tolist() == [0, 7 * HOUR]
    assert batch.hideable.tolist() == [False, True]


def test_a_basket_is_shuffled_anew_each_epoch_and_the_same_epoch_is_the_same() -> None:
    log = log_of([list(range(1, 13))], [[0] * 12])
    orders = [next(iter(sequences_of(log).epoch(number, 1))).pair_items[:12].tolist() for number in (0, 1, 0)]
    assert orders[0] != orders[1]
    assert orders[0] == orders[2]
    assert sorted(orders[0]) == list(range(1, 13))


def test_an_epoch_goes_on_from_any_batch() -> None:
    sequences = sequences_of(log_of([[1, 2, 3, 4]] * 40), batch_events=32)
    whole = list(sequences.epoch(3, 1))
    rest = list(sequences.epoch(3, 1, first=2))
    assert len(whole) == len(rest) + 2
    assert all(np.array_equal(a.items, b.items) for a, b in zip(whole[2:], rest, strict=True))


def test_the_last_event_of_a_history_is_taught_and_not_read() -> None:
    (batch,) = sequences_of(log_of([[1, 2, 3], [4], [5, 6]])).epoch(0, 1)
    assert batch.events == 6
    assert sorted(batch.items.tolist()) == [1, 2, 5]
    assert sorted(batch.pair_items.tolist()) == [1, 2, 3, 4, 5, 6]


def test_an_event_that_is_no_target_is_read_and_not_predicted() -> None:
    log = log_of([[1, 2, 3, 4, 5], [6, 7]], [[0, 0, 5, 5, 9], [1, 2]])
    targets = np.array([True, False, True, False, True, False, True])
    nothing = np.full(len(log), -1, np.float32)
    sequences = Sequences(log, nothing, shape=SHAPE, batch_events=512, ties="hash", targets=targets)
    (batch,) = sequences.epoch(0, 1)
    found = {(tuple(sorted(history)), item): weight for history, item, weight in pairs_of(batch)}
    for inside in (((1, 2, 4), 3), ((2,), 1)):  # within their baskets, where the other happens to stand first
        found.pop(inside, None)
    assert found == {((), 1): 1.0, ((1, 2), 3): 1.0, ((1, 2, 3, 4), 5): 1.0, ((6,), 7): 1.0}
    assert np.isclose(sequences.pairs_per_batch, (7 - 2) * 4 / 7)
    read = batch.pair_targets >= 0
    assert len(batch.pair_items) == len(batch.pair_places) == len(read)
    assert np.array_equal(batch.items[batch.pair_targets[read]], batch.pair_items[read])


def test_events_are_counted_once_where_long_histories_overlap() -> None:
    log = log_of([[1] * 200, [2] * 7])
    assert sum(batch.events for batch in sequences_of(log, shape=SHORT, batch_events=16).epoch(0, 1)) == len(log)
