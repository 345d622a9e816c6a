"""One pass over memory where PyTorch's operations make five: loops compiled by Numba, shared out to threads.

Numbers differ from PyTorch's in their last bits, since sums may be taken in another order; for one number of threads
they are always the same. Machine code is kept until the file of its kernel changes: who changes what is compiled into a
kernel from elsewhere, a constant or `exponential`, deletes `__pycache__`.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, TypeAlias, TypeVar, cast

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray
from torch import Tensor

Floats: TypeAlias = NDArray[np.float32]
Bytes: TypeAlias = NDArray[np.uint8]
Longs: TypeAlias = NDArray[np.int64]
Function = TypeVar("Function", bound=Callable[..., object])

# Sums in any order and fused multiplications, so that loops become vector instructions; but NaN stays NaN.
_FAST = {"contract", "reassoc", "nsz", "arcp"}
_LEAST_ROWS = 256
"""A thread with fewer would wait for longer than it computes."""
_THREADS = ThreadPoolExecutor()


def kernel(function: Function) -> Function:
    """Compile `function` at its first call, keep the machine code on disk, and run it without the interpreter lock."""
    # Numba returns a dispatcher, which is called as the function is.
    return cast("Function", njit(cache=True, nogil=True, fastmath=_FAST, error_model="numpy")(function))


def inlined(function: Function) -> Function:
    """Compile `function` into the kernels that call it."""
    return cast("Function", njit(inline="always", fastmath=_FAST, error_model="numpy")(function))


class Part(NamedTuple):
    """The rows `start:stop`, number `number` of as many parts as there are threads."""

    number: int
    start: int
    stop: int


def parts_of(rows: int) -> list[Part]:
    """Share out rows to PyTorch's number of threads, or fewer where there are few rows."""
    count = max(1, min(torch.get_num_threads(), rows // _LEAST_ROWS))
    return [Part(number, rows * number // count, rows * (number + 1) // count) for number in range(count)]


def in_parts(function: Callable[..., None], parts: list[Part], *arguments: object) -> None:
    """Call `function(part, *arguments)` for all parts at the same time, the first of them here."""
    others = [_THREADS.submit(function, part, *arguments) for part in parts[1:]]
    function(parts[0], *arguments)
    for other in others:
        other.result()


def floats(*tensors: Tensor) -> list[Floats]:
    """Return the tensors' own memory as arrays, or that of contiguous copies."""
    return [tensor.detach().contiguous().numpy() for tensor in tensors]


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
