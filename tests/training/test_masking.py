"""Masked training: what is hidden, and what is asked."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from training_cases import log_of, ring_log, sequences_of, training_of

from headrace.training.asking import users_at_places
from headrace.training.batches import START_PLACE
from headrace.training.learner import Noise
from headrace.training.masking import HIDDEN_SHARE, LAST_SHARE, hide

baskets = st.lists(st.lists(st.integers(0, 6), min_size=1, max_size=12).map(sorted), min_size=1, max_size=6)


@given(baskets, st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_hidden_events_are_asked_for_and_no_others(hours: list[list[int]], seed: int) -> None:
    log = log_of([list(range(1, len(own) + 1)) for own in hours], hours)
    for batch in sequences_of(log, batch_events=16).epoch(0, seed):
        inside = batch.pair_targets >= 0
        assert (batch.items[batch.pair_targets[inside]] == batch.pair_items[inside]).all()
        assert (batch.pair_places[inside] < batch.pair_targets[inside]).all()
        masked = hide(batch, np.random.default_rng(seed))
        hidden = masked.items == 0
        assert (masked.items[~hidden] == batch.items[~hidden]).all()
        if not hidden.any():
            continue
        # What nobody reads (the last of a history, the first of a new one) is asked for in any case.
        assert sorted(masked.pair_items.tolist()) == sorted(
            batch.pair_items[~inside].tolist() + batch.pair_items[inside][hidden[batch.pair_targets[inside]]].tolist()
        )
        assert (masked.types[hidden] == -1).all()


def test_as_many_events_and_histories_are_hidden_as_is_said() -> None:
    (batch,) = sequences_of(ring_log(50, 400, 20), batch_events=10**6).epoch(0, 1)
    masked = hide(batch, np.random.default_rng(5))
    hidden = masked.items == 0
    by_user = np.bincount(batch.segments, hidden) / np.bincount(batch.segments)
    assert np.mean(by_user == 0) == pytest.approx(LAST_SHARE, abs=0.06)
    assert by_user[by_user > 0].mean() == pytest.approx(HIDDEN_SHARE, abs=0.03)
    # Besides: the last event of each history, which is never read; the first is asked of nobody in particular.
    firsts = np.diff(batch.segments, prepend=-1) > 0
    assert np.count_nonzero(masked.pair_places != START_PLACE) == np.count_nonzero(hidden & ~firsts) + 400


def test_a_ring_is_learned_from_hidden_events() -> None:
    log = ring_log(12, 60, 15)
    training = training_of(log, steps=200)
    training.learner.noise = Noise(events=True)
    training.run(200, lambda _: None)
    inputs, outputs = training.learner.vectors(torch.arange(13) > 0)
    users = users_at_places(training.learner.model, inputs, sequences_of(log, ties="file"))[1:]
    best = (users @ outputs.numpy().T)[:, 1:].argmax(1) + 1
    assert np.array_equal(best, log.items % 12 + 1)


def test_a_step_hides_events_where_it_is_told_to() -> None:
    losses = []
    for noise in (Noise(), Noise(events=True)):
        training = training_of(ring_log(12, 60, 15), steps=3)
        training.learner.noise = noise
        training.run(1, lambda _: None)
        losses.append(training.loss)
    assert losses[0] != losses[1]
