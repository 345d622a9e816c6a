"""Raw tables: what the readers of files and frames hand on, before any column has a meaning.

A raw table is lazy and keeps each row's number in its source; rows that cannot be read at all stand apart, with the
reason and the raw text. Long tables that only a slow reader understands are kept as Parquet chunks in a scratch folder.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol, TypeAlias

import msgspec
import numpy as np
import polars as pl

from headrace.core.errors import DataError

Role: TypeAlias = Literal["events", "items"]

ROW = "__row__"
"""The column of row numbers: 1 for the first row of data (a header is not counted), ascending."""

UNREADABLE = "unreadable rows"
DROPPED_SCHEMA = {
    "source": pl.String,
    "row": pl.Int64,
    "step": pl.String,
    "reason": pl.String,
    "raw": pl.String,
}
# Rows of a chunk: large enough for vectors, small enough for memory (about 100 MB of Python strings).
CHUNK_ROWS = 250_000


@dataclass(frozen=True)
class RawTable:
    """A source's rows.

    Args:
        name: the source as messages and quarantine call it.
        rows: the readable rows with `ROW` beside the source's own columns.
        dropped: the others, by `DROPPED_SCHEMA`.
        notes: what a reader of the report should know about the reading.
    """

    name: str
    rows: pl.LazyFrame
    dropped: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=DROPPED_SCHEMA))
    notes: tuple[str, ...] = ()

    @property
    def columns(self) -> list[str]:
        """The source's own column names."""
        return [name for name in self.rows.collect_schema().names() if name != ROW]


def check_names(names: Sequence[str], where: str) -> None:
    """Make sure that the columns of a source can be told apart, and from ours.

    Raises:
        DataError: a name stands twice, or is that of the row numbers.
    """
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise DataError(f"the columns of {where} must have different names, {twice!r} stands twice; rename one")
    if ROW in names:
        raise DataError(f"no column may be called {ROW}, {where} has one; rename it")


class PandasFrame(Protocol):
    """As much of a pandas frame as is read here; pandas itself is never imported."""

    @property
    def columns(self) -> Iterable[str]:
        """The names of the columns."""

    def __getitem__(self, key: str) -> PandasColumn:
        """Return one column."""


class PandasColumn(Protocol):
    """As much of a pandas column as is read here."""

    @property
    def dtype(self) -> object:
        """The type of the values."""

    def tolist(self) -> list[object]:
        """Return the values as Python objects."""

    def to_numpy(self) -> np.ndarray[tuple[int, ...], np.dtype[np.generic]]:
        """Return the values as an array."""

    def isna(self) -> PandasColumn:
        """Return which values are missing."""


class Unreadable:
    """Gathers rows that cannot be read."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._rows: list[tuple[str, int, str, str, str]] = []

    def add(self, row: int, reason: str, raw: str) -> None:
        """Add one row."""
        self._rows.append((self._source, row, UNREADABLE, reason, raw))

    def table(self) -> pl.DataFrame:
        """Return all of them by `DROPPED_SCHEMA`."""
        return pl.DataFrame(self._rows, schema=DROPPED_SCHEMA, orient="row")


def keep_chunks(chunks: Iterable[pl.DataFrame], scratch: Path, empty: Sequence[str]) -> pl.LazyFrame:
    """Keep chunks of rows: one in memory, more as Parquet files.

    Args:
        chunks: frames of text columns with `ROW`; their columns may differ.
        scratch: the folder for the files.
        empty: the columns of the table if there is no chunk.
    """
    folder = scratch / f"chunks-{uuid.uuid4().hex}"
    first: pl.DataFrame | None = None
    files: list[Path] = []
    for chunk in chunks:
        if first is None and not files:
            first = chunk
            continue
        if first is not None:
            folder.mkdir(parents=True)
            files.append(_keep(first, folder, 0))
            first = None
        files.append(_keep(chunk, folder, len(files)))
    if first is not None:
        return first.lazy()
    if files:
        return pl.concat([pl.scan_parquet(file) for file in files], how="diagonal")
    return pl.DataFrame(schema={**dict.fromkeys(empty, pl.String), ROW: pl.Int64}).lazy()


def from_frame(frame: pl.DataFrame | pl.LazyFrame, name: str) -> RawTable:
    """Take a Polars frame as it is."""
    check_names(frame.lazy().collect_schema().names(), name)
    numbered = frame.lazy().with_row_index(ROW, offset=1)
    return RawTable(name, numbered.with_columns(pl.col(ROW).cast(pl.Int64)))


def from_pandas(frame: PandasFrame, name: str) -> RawTable:
    """Take a pandas frame: numbers and times as they are, all else as text, missing values as null (floats as NaN).

    Raises:
        DataError: two columns of one name.
    """
    check_names([str(key) for key in frame.columns], name)
    return from_frame(pl.DataFrame([_from_pandas_column(frame[key], str(key)) for key in frame.columns]), name)


def read_parquet(path: Path) -> RawTable:
    """Scan a Parquet file.

    Raises:
        DataError: it is truncated or not Parquet.
    """
    try:
        frame = pl.scan_parquet(path)
        frame.collect_schema()
    except (pl.exceptions.PolarsError, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        raise DataError(
            f"{path} must be a whole Parquet file and cannot be read: {reason}; it may be cut short, copy it again"
        ) from None
    return from_frame(frame, str(path))


def raw_text(rows: pl.DataFrame, names: Mapping[str, str]) -> pl.Series:
    """Return each row as JSON under the names that its source uses.

    Args:
        rows: of any columns.
        names: our name of each column to show, to the source's.
    """
    shown = [pl.col(ours).cast(pl.String, strict=False).alias(theirs) for ours, theirs in names.items()]
    return rows.select(pl.struct(shown).struct.json_encode().alias("raw"))["raw"]


def _keep(chunk: pl.DataFrame, folder: Path, number: int) -> Path:
    path = folder / f"{number:06}.parquet"
    chunk.write_parquet(path, compression="lz4", statistics=False)
    return path


def _from_pandas_column(column: PandasColumn, name: str) -> pl.Series:
    dtype = column.dtype
    if isinstance(dtype, np.dtype) and dtype.kind in "iufbM":
        return pl.Series(name, column.to_numpy(), nan_to_null=False)
    values, missing = column.tolist(), column.isna().tolist()
    present = [None if gone else value for value, gone in zip(values, missing, strict=True)]
    kinds = {type(value) for value in present if value is not None}
    if kinds <= {int} or kinds <= {float}:
        return pl.Series(name, present)
    if any(hasattr(value, "isoformat") for value in present[:1]):
        present = [value.isoformat() if hasattr(value, "isoformat") else value for value in present]
    return pl.Series(name, [None if value is None else as_text(value) for value in present], dtype=pl.String)


def as_text(value: object) -> str:
    """Return a Python value as the text that a file would hold.

    Whole numbers have no point, truth is in lower case, lists and objects are JSON.
    """
    if isinstance(value, str):
        return value
    if isinstance(value, bool | np.bool_):
        return "true" if value else "false"
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, dict | list | tuple):
        return msgspec.json.encode(value, enc_hook=as_text).decode()
    return str(value)


def by_text(column: pl.Series, function: Callable[[str], object], dtype: pl.DataType) -> pl.Series:
    """Apply a function to each distinct text of a column; null stays null."""
    distinct = column.drop_nulls().unique()
    table = pl.DataFrame({"old": distinct, "new": pl.Series([function(text) for text in distinct], dtype=dtype)})
    mapped = column.alias("old").to_frame().join(table, on="old", how="left", maintain_order="left")
    return mapped["new"].alias(column.name)
