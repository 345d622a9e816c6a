"""A typed decorator of Numba for loops that arrays cannot say; every sum in its order, unlike `model.compiled`."""

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


def compiled(function: Function) -> Function:
    """Compile `function` at its first call, keep the machine code on disk, and run it without the interpreter lock.

    Callers pass contiguous, writable arrays of one dtype per argument: another layout would compile it anew.
    """
    # Numba returns a dispatcher, which is called as the function is.
    return cast("Function", njit(cache=True, nogil=True)(function))


def plain(array: Numbers) -> Numbers:
    """Return the array as the kernels take it: contiguous and writable, else they would be compiled anew."""
    array = np.ascontiguousarray(array)
    return array if array.flags.writeable else array.copy()
