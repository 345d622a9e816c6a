"""Ratings as arithmetic that can be redone by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from headrace.core.errors import FormatError
from headrace.core.formats import RatingFit
from headrace.core.types import Scale
from headrace.data.damped_means import ItemSums
from headrace.data.log import Floats, History
from headrace.ranking.item_vectors import ItemVectors, Placed
from headrace.ranking.ratings import RatingModel


class Constant:
    """A residual of 0.2 for every pair; remembers the features."""

    features: NDArray[np.generic]

    def __call__(self, outputs: list[str], **inputs: NDArray[np.generic]) -> list[Floats]:
        self.features = inputs["features"]
        return [np.full(len(self.features), 0.2, np.float32)]


def model_of(weight: float) -> tuple[RatingModel, Constant, ItemVectors]:
    # Item 1: ratings 0.9 and 0.7 around a mean of 0.5: sum 0.6 of 2; item 2: nothing.
    sums = ItemSums(0.5, np.array([0, 0.6, 0], np.float32), np.array([0, 2, 0], np.float32))
    fit = RatingFit(mean=0.5, item_damping=1.0, user_damping=2.0, weight=weight, low=-0.1, high=0.3)
    graph = Constant()
    vectors = ItemVectors.of(
        Placed(np.zeros((4, 2), np.float32), np.zeros((4, 2), np.float32), np.zeros((4, 0), np.float32)),
        np.array([0, 1, 2, 0], np.int32),
        np.array([0, 1], np.int32),
    )
    return RatingModel(fit, Scale(1.0, 5.0), ["click", "rating"], sums, graph), graph, vectors


def rated(items: list[int], values: list[float], types: list[int]) -> History:
    n = len(items)
    return History(np.array(items, np.int32), np.array(types, np.int32), np.array(values, np.float32), np.arange(n))


def test_a_rating_is_mean_plus_offsets_plus_weighted_residual() -> None:
    model, graph, vectors = model_of(0.5)
    # The user rated item 1 with 5 (unit 1.0): 1.0 - 0.5 - 0.2 = 0.3 above, damped to 0.3 / (1 + 2) = 0.1.
    history = rated([1, 2], [5.0, 3.0], [1, 0])
    users = np.zeros((1, 2), np.float32)
    found = model.rate(users, [history], np.zeros(2, np.int32), np.array([1, 3], np.int32), vectors)
    # Item 1: 0.5 + 0.2 + 0.1 + 0.5 * 0.2 = 0.9; item 3 is unknown: 0.5 + 0 + 0.1 + 0.1 = 0.7. On 1..5: 1 + 4 x.
    assert found.ratings.tolist() == pytest.approx([4.6, 3.8])
    assert found.low.tolist() == pytest.approx([4.2, 3.4])
    assert found.high.tolist() == pytest.approx([5.0, 5.0])
    expected = [0.1, 0.2, np.log(2) / 5, np.log(3) / 5]
    assert graph.features[0].tolist() == pytest.approx(expected)


def test_many_pairs_share_their_users() -> None:
    model, _, vectors = model_of(0.0)
    histories = [rated([], [], []), rated([1], [1.0], [1])]
    rows, items = np.array([1, 0, 1], np.int32), np.array([2, 2, 1], np.int32)
    found = model.rate(np.zeros((2, 2), np.float32), histories, rows, items, vectors)
    # The second user gave 0 where 0.7 was expected: -0.7 / 3.
    assert found.ratings.tolist() == pytest.approx([1 + 4 * (0.5 - 0.7 / 3), 3.0, 1 + 4 * (0.7 - 0.7 / 3)], rel=1e-5)


def test_values_of_a_type_that_the_model_never_heard_of_are_no_ratings() -> None:
    model, _, vectors = model_of(0.0)
    vectors.types = np.array([1, 0], np.int32)
    histories = [rated([1], [1.0], [9]), rated([1], [1.0], [0])]
    rows, items = np.array([0, 1], np.int32), np.array([2, 2], np.int32)
    found = model.rate(np.zeros((2, 2), np.float32), histories, rows, items, vectors)
    assert found.ratings.tolist() == pytest.approx([3.0, 1 + 4 * (0.5 - 0.7 / 3)], rel=1e-5)


def test_no_pairs_give_no_ratings() -> None:
    model, _, vectors = model_of(0.5)
    found = model.rate(np.zeros((0, 2), np.float32), [], np.zeros(0, np.int32), np.zeros(0, np.int32), vectors)
    assert len(found.ratings) == 0


def test_a_folder_that_is_no_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FormatError):
        RatingModel.load(tmp_path)
