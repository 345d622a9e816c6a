"""Ids and their indices: the id `ids[i]` has index i + 1, since index 0 is padding."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property

import numpy as np
import polars as pl

from headrace.core.errors import DataError
from headrace.data.log import Ints


class Vocabulary:
    """Distinct ids in a fixed order. Immutable."""

    def __init__(self, ids: Iterable[str] | pl.Series) -> None:
        """Take distinct ids in order.

        Raises:
            DataError: an id stands twice.
        """
        self.series = (ids if isinstance(ids, pl.Series) else pl.Series(list(ids), dtype=pl.String)).alias("id")
        if self.series.n_unique() != len(self.series):
            twice = self.series.filter(self.series.is_duplicated())[0]
            raise DataError(f"the ids of a vocabulary must be distinct, {twice!r} stands twice; leave one out")

    def __len__(self) -> int:
        return len(self.series)

    @cached_property
    def ids(self) -> list[str]:
        """The ids in order."""
        ids: list[str] = self.series.to_list()
        return ids

    @cached_property
    def _table(self) -> dict[str, int]:
        return {text: index for index, text in enumerate(self.ids, start=1)}

    def index(self, text: str) -> int:
        """Return the index of one id, 0 if it is unknown."""
        return self._table.get(text, 0)

    def indices(self, ids: pl.Series | Sequence[str]) -> Ints:
        """Return (N,) the index of each id, 0 for an unknown or missing one."""
        asked = ids if isinstance(ids, pl.Series) else pl.Series(list(ids), dtype=pl.String)
        if len(asked) == len(self) and (asked == self.series).all(ignore_nulls=False):
            return np.arange(1, len(self) + 1, dtype=np.int32)  # a store that was made with the model
        return _places(self.series, asked, first=1).fill_null(0).to_numpy().astype(np.int32, copy=False)


def codes(column: pl.Series) -> tuple[pl.Series, Ints]:
    """Return the distinct texts of a column and (N,) the place of each row's text among them.

    Args:
        column: texts without nulls.
    """
    distinct = column.unique()
    return distinct, _places(distinct, column, first=0).to_numpy()


def _places(distinct: pl.Series, asked: pl.Series, *, first: int) -> pl.Series:
    table = pl.DataFrame({"id": distinct, "index": np.arange(first, first + len(distinct), dtype=np.int32)})
    return asked.alias("id").to_frame().join(table, on="id", how="left", maintain_order="left")["index"]
