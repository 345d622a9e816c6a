"""Loops that arrays cannot say, compiled by Numba; typed decorators, and what several packages compile into theirs.

Machine code is kept until the file of its kernel changes: who changes what is compiled into a kernel from elsewhere, a
constant or `exponential`, deletes `__pycache__`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias, TypeVar, cast

import numpy as np
from numba import njit
from numpy.typing import NDArray

Whole: TypeAlias = int | np.int64
"""A whole number in a kernel."""

Numbers = TypeVar("Numbers", NDArray[np.int32], NDArray[np.int64])
Function = TypeVar("Function", bound=Callable[..., object])

# Sums in any order and fused multiplications, so that loops become vector instructions; but NaN stays NaN.
_FAST = {"contract", "reassoc", "nsz", "arcp"}


def compiled(function: Function) -> Function:
    """Compile `function` at its first call, keep the machine code on disk, and run it without the interpreter lock.

    Every sum is taken in its order. Callers pass contiguous, writable arrays of one dtype per argument: another layout
    would compile it anew.
    """
    # Numba returns a dispatcher, which is called as the function is.
    return cast("Function", njit(cache=True, nogil=True)(function))


def fused(function: Function) -> Function:
    """Compile as `compiled` does, with sums in any order: faster, and for one machine always the same numbers."""
    return cast("Function", njit(cache=True, nogil=True, fastmath=_FAST, error_model="numpy")(function))


def brief(function: Function) -> Function:
    """Compile as `compiled` does, for some microseconds at a time, and keep the interpreter lock.

    Who gives it away for a moment may wait for a whole turn of another thread, many times as long.
    """
    return cast("Function", njit(cache=True)(function))


def inlined(function: Function) -> Function:
    """Compile `function` into the kernels that call it, as `fused` does."""
    return cast("Function", njit(inline="always", fastmath=_FAST, error_model="numpy")(function))


def plain(array: Numbers) -> Numbers:
    """Return the array as the kernels take it: contiguous and writable, else they would be compiled anew."""
    array = np.ascontiguousarray(array)
    return array if array.flags.writeable else array.copy()


@inlined
def exponential(x: np.float32) -> np.float32:
    """Return e to the power of x, held within -87..88, to 1.2e-7 of itself; vector instructions throughout (Cephes)."""
    low, high = np.float32(-87.0), np.float32(88.0)
    x = low if x < low else high if x > high else x  # NaN stays
    whole = np.floor(x * np.float32(1.44269504088896341) + np.float32(0.5))
    rest = x - whole * np.float32(0.693359375) + whole * np.float32(2.12194440e-4)
    power = np.float32(1.9875691500e-4)
    power = power * rest + np.float32(1.3981999507e-3)
    power = power * rest + np.float32(8.3334519073e-3)
    power = power * rest + np.float32(4.1665795894e-2)
    power = power * rest + np.float32(1.6666665459e-1)
    power = power * rest + np.float32(5.0000001201e-1)
    power = power * rest * rest + rest + np.float32(1.0)
    # Two to a whole power is written into the bits of the exponent.
    return np.float32(power * np.int32((np.int32(whole) + np.int32(127)) << np.int32(23)).view(np.float32))
