"""Vectors in 8 bits a number: how far they are from those that came in, and what is computed with them."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.testing import assert_allclose, assert_array_equal

from headrace.data.log import Floats
from headrace.ranking.byte_rows import ByteRows

numbers = st.floats(-1e6, 1e6, width=32, allow_subnormal=False)
tables = st.tuples(st.integers(1, 20), st.integers(1, 9)).flatmap(
    lambda shape: arrays(np.float32, shape, elements=numbers)
)


@settings(deadline=None)
@given(tables)
def test_no_number_moves_by_more_than_a_254th_of_the_largest_of_its_vector(vectors: Floats) -> None:
    largest = np.abs(vectors).max(axis=1, keepdims=True)
    assert (np.abs(ByteRows.of(vectors).wide() - vectors) <= largest / 254 * 1.001 + 1e-37).all()


@settings(deadline=None)
@given(tables)
def test_vectors_that_were_narrowed_once_stay_as_they_are(vectors: Floats) -> None:
    once = ByteRows.of(vectors).wide()
    assert_allclose(ByteRows.of(once).wide(), once, rtol=1e-6)


def test_scores_and_cosines_are_those_of_the_widened_vectors() -> None:
    chance = np.random.default_rng(1)
    vectors, users = chance.normal(size=(10_000, 24)).astype(np.float32), chance.normal(size=(3, 24)).astype(np.float32)
    vectors[[0, 77]] = 0
    rows = ByteRows.of(vectors)
    wide = rows.wide().astype(np.float64)
    assert_allclose(rows.scores(users), users @ wide.T, atol=1e-4)
    cosines = rows.cosines(users[0])
    assert_array_equal(np.flatnonzero(np.isinf(cosines)), [0, 77])
    told = np.delete(np.arange(10_000), [0, 77])
    expected = wide[told] @ users[0] / (np.linalg.norm(wide[told], axis=1) * np.linalg.norm(users[0]))
    assert_allclose(cosines[told], expected, atol=1e-5)


def test_some_rows_are_read_and_written_alone() -> None:
    vectors = np.random.default_rng(2).normal(size=(9, 5)).astype(np.float32)
    rows = ByteRows.of(vectors)
    wide = rows.wide()
    assert_array_equal(rows.wide_at(np.array([[3, 1], [0, 8]])), wide[[[3, 1], [0, 8]]])
    assert_array_equal(rows.part(2, 5).wide(), wide[2:5])
    rows.put(np.array([4, 2]), rows.take(np.array([0, 8])))
    wide[[4, 2]] = wide[[0, 8]]
    assert_array_equal(rows.grown(12).wide(), np.concatenate((wide, np.zeros((3, 5), np.float32))))
    assert_array_equal(np.flatnonzero(rows.differ(rows.part(0, 1))), [1, 2, 3, 5, 6, 7, 8])


def test_a_vector_with_what_is_no_number_is_seen_by_its_scale() -> None:
    vectors = np.ones((4, 3), np.float32)
    vectors[1, 1], vectors[2, 0] = np.nan, np.inf
    assert np.isfinite(ByteRows.of(vectors).scales).tolist() == [True, False, False, True]
