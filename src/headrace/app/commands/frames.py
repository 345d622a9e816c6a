"""Small tables that commands take and give: pairs and users in, ratings and lists out. Ids stay text."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from headrace.core.errors import DataError
from headrace.core.files import replacing

READS = ".csv, .tsv, .jsonl, .ndjson and .parquet"
WRITES = ".csv and .parquet"


def read_columns(path: Path, columns: Sequence[str]) -> pl.DataFrame:
    """Read the named columns of a file as text; its ending tells the format.

    Raises:
        DataError: no such file, another ending, not readable as such, without one of the columns, or with a row that
            lacks a value in one.
    """
    if not path.is_file():
        raise DataError(f"{path} must be a file, it is not there")
    try:
        frame = _read(path)
    except (pl.exceptions.PolarsError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as its ending says: {str(error).splitlines()[0]}") from None
    missing = [name for name in columns if name not in frame.columns]
    if missing:
        raise DataError(f"{path} must have the columns {', '.join(columns)}, it has {', '.join(frame.columns)}")
    nested = [name for name in columns if frame.schema[name].is_nested()]
    if nested:
        raise DataError(f"{path} must hold text or whole numbers in {', '.join(columns)}, {nested[0]} holds lists")
    chosen = frame.select(pl.col(columns).cast(pl.String))
    lacking = chosen.select(pl.any_horizontal(pl.col(columns).fill_null("") == "").arg_true()).to_series()
    if len(lacking):
        raise DataError(f"{path} must have {' and '.join(columns)} in each row, row {lacking[0] + 1} lacks one")
    return chosen


def write_frame(frame: pl.DataFrame, path: Path) -> None:
    """Write a frame as the ending of `path` says; a reader never sees half of it."""
    check_output(path)
    with replacing(path) as temporary:
        if path.suffix.lower() == ".parquet":
            frame.write_parquet(temporary)
        else:
            frame.write_csv(temporary)


def check_output(path: Path) -> None:
    """Refuse an ending that `write_frame` cannot write, before the work is done.

    Raises:
        DataError: another ending, or a folder.
    """
    if path.is_dir():
        raise DataError(f"{path} must be a file to write, it is a folder; name another")
    if path.suffix.lower() not in (".csv", ".parquet"):
        raise DataError(f"the endings {WRITES} can be written, got {path.name}")


def _read(path: Path) -> pl.DataFrame:
    match path.suffix.lower():
        case ".csv":
            return pl.read_csv(path, infer_schema=False)
        case ".tsv":
            return pl.read_csv(path, infer_schema=False, separator="\t")
        case ".jsonl" | ".ndjson":
            return pl.read_ndjson(path)
        case ".parquet":
            return pl.read_parquet(path)
    raise DataError(f"the endings {READS} can be read, got {path.name}")
