"""Negatives: drawn as often as they say."""

from __future__ import annotations

import numpy as np
import pytest
from training_cases import log_of

from headrace.training import negatives
from headrace.training.negatives import NegativeSampler


def test_a_small_catalogue_is_taken_whole_and_uncorrected() -> None:
    items, shift = NegativeSampler(log_of([[1, 3, 3]]), 2).draw(np.random.default_rng(0))
    assert items.tolist() == [1, 3]
    assert shift.tolist() == [0.0, 0.0]


def test_draws_follow_the_chances_that_correct_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(negatives, "FULL_CATALOGUE", 1)
    # Item 1 has 3 of 4 events: half by popularity, half evenly among the two known items.
    sampler = NegativeSampler(log_of([[1, 1, 1, 4]]), 1)
    assert not sampler.full
    drawn = [sampler.draw(np.random.default_rng(seed)) for seed in range(4000)]
    share = np.mean([items[0] == 1 for items, _ in drawn])
    assert abs(share - (0.5 * 0.75 + 0.5 * 0.5)) < 0.03
    shifts = {int(items[0]): float(shift[0]) for items, shift in drawn}
    assert shifts == {1: pytest.approx(np.log(0.625)), 4: pytest.approx(np.log(0.375))}
