"""`vectors.safetensors` of a model folder: what stands there for each item is read some items at a time.

The tables of all items take up to a kilobyte an item, and nobody needs them in this form: they never stand in memory
whole, nor does what was read stay mapped.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeAlias

import msgspec
import numpy as np
from safetensors import safe_open

from headrace.data.log import Floats
from headrace.ranking.item_vectors import Placed

ReadItems: TypeAlias = Callable[[int, int], Placed]
"""Gives the vectors of the model's items `start:end`; row 0 is padding."""

_NUMBERS: Mapping[str, np.dtype[np.floating]] = {"F32": np.dtype(np.float32), "F16": np.dtype(np.float16)}


class _Table(msgspec.Struct, frozen=True):
    """Where a table stands, as the header of the file says (https://huggingface.co/docs/safetensors)."""

    dtype: str
    shape: list[int]
    data_offsets: list[int]


class VectorFile:
    """An open file. Another that takes its place later does not disturb. Safe to share between threads."""

    def __init__(self, path: Path) -> None:
        """Open it and read all tables but those of the items.

        Raises:
            OSError, SafetensorError: the file is missing or damaged.
        """
        with safe_open(path, framework="np") as file:
            names = [name for name in file.keys() if name not in Placed._fields]  # noqa: SIM118  # not a mapping
            self.tables: dict[str, Floats] = {name: file.get_tensor(name) for name in names}
        self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        weakref.finalize(self, os.close, self._file)
        size = int.from_bytes(os.pread(self._file, 8, 0), "little")
        header = msgspec.json.decode(os.pread(self._file, size, 8), type=dict[str, msgspec.Raw])
        self._start = 8 + size
        self._tables = {
            name: msgspec.json.decode(header[name], type=_Table) for name in Placed._fields if name in header
        }

    @property
    def n_items(self) -> int:
        """How many items there are, padding included."""
        return self._tables["inputs"].shape[0]

    def read(self, start: int, end: int) -> Placed:
        """Return the vectors of items `start:end`."""
        return Placed(*(self._rows(name, start, end) for name in Placed._fields))

    def _rows(self, name: str, start: int, end: int) -> Floats:
        table = self._tables.get(name)
        if table is None:  # an older folder does not compare items by what they say
            return np.zeros((end - start, 0), np.float32)
        width, numbers = table.shape[1], _NUMBERS[table.dtype]
        begin = self._start + table.data_offsets[0] + start * width * numbers.itemsize
        read = os.pread(self._file, (end - start) * width * numbers.itemsize, begin)
        rows: Floats = np.frombuffer(read, numbers).reshape(end - start, width).astype(np.float32, copy=False)
        return rows


def reader_of(tables: dict[str, Floats]) -> ReadItems:
    """Return what reads tables that stand in memory."""
    return lambda start, end: Placed(*(tables[name][start:end] for name in Placed._fields))
