"""Numbers in half precision, as the kernels read and write them."""

from __future__ import annotations

import numpy as np
import pytest
from numba import njit
from numpy.typing import NDArray

from headrace.ranking.processor import narrowed, widened


@njit
def read(numbers: NDArray[np.uint16], out: NDArray[np.float32]) -> None:
    for place in range(len(numbers)):
        out[place] = widened(numbers[place])


@njit
def write(numbers: NDArray[np.float32], out: NDArray[np.uint16]) -> None:
    for place in range(len(numbers)):
        out[place] = narrowed(numbers[place], out[place])


def test_every_half_is_read_as_numpy_reads_it_and_written_back() -> None:
    halves = np.arange(1 << 16, dtype=np.uint16)
    finite = halves[np.isfinite(halves.view(np.float16))]
    found, again = np.empty(len(finite), np.float32), np.empty_like(finite)
    read(finite, found)
    np.testing.assert_array_equal(found, finite.view(np.float16).astype(np.float32))
    write(found, again)
    np.testing.assert_array_equal(again, finite)


@pytest.mark.parametrize("size", [1e-7, 1e-5, 1e-3, 1.0, 300.0, 60_000.0])
def test_a_number_is_written_as_the_nearest_half(size: float) -> None:
    numbers = (np.random.default_rng(1).uniform(-size, size, 10_000)).astype(np.float32)
    found = np.empty(len(numbers), np.uint16)
    write(numbers, found)
    nearest = numbers.astype(np.float16)
    normal = np.abs(numbers) >= np.finfo(np.float16).smallest_normal
    np.testing.assert_array_equal(found[normal], nearest.view(np.uint16)[normal])
    # Below that, rounded twice, it may be the neighbour.
    np.testing.assert_allclose(found.view(np.float16), nearest, atol=6e-8)


def test_what_a_half_cannot_hold_becomes_its_largest_number() -> None:
    found = np.zeros(4, np.uint16)
    write(np.array([1e6, -1e38, np.inf, np.nan], np.float32), found)
    assert found.view(np.float16).tolist() == [65504, -65504, 65504, 65504]
