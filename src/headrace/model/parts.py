"""One pass over memory where PyTorch's operations make five: compiled loops (`core.compiled`), shared out to threads.

Numbers differ from PyTorch's in their last bits, since sums may be taken in another order; for one number of threads
they are always the same.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Floats: TypeAlias = NDArray[np.float32]
Bytes: TypeAlias = NDArray[np.uint8]
Longs: TypeAlias = NDArray[np.int64]

_LEAST_ROWS = 256
"""A thread with fewer would wait for longer than it computes."""
_THREADS = ThreadPoolExecutor()


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
