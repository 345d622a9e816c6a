"""Delimited text files: CSV, TSV and the `::` files of MovieLens.

One fast pass over the bytes decides: a regular file goes to Polars, a file with any odd line goes line by line, where a
line that cannot be read is set apart with its text and costs no other line.
"""

from __future__ import annotations

import csv
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from headrace.core.errors import DataError
from headrace.data.tables import CHUNK_ROWS, ROW, UNREADABLE, RawTable, Role, Unreadable, check_names, keep_chunks

_BLOCK_BYTES = 1 << 24
_HEAD_BYTES = 1 << 16
_SEPARATORS = "\t,;|"
_BOM = b"\xef\xbb\xbf"
# A quoted field may run over this many lines; an open quote that finds no end within them is a fault of its line.
_QUOTED_LINES = 1_000
_DAT_COLUMNS: dict[Role, tuple[str, ...]] = {
    "events": ("user_id", "item_id", "rating", "timestamp"),
    "items": ("item_id", "title", "genres"),
}


@dataclass(frozen=True)
class _Look:
    """What one pass over a file's bytes shows. `regular`: each line has as many separators as the header."""

    regular: bool
    quotes: bool
    utf8: bool
    lines: int


def read_delimited(path: Path, scratch: Path) -> RawTable:
    """Read a CSV or TSV file; every column is text, an empty field is null.

    Args:
        path: a file whose first line names the columns; the separator (tab, comma, semicolon or bar) is read off it.
        scratch: a folder for what does not fit in memory.

    Raises:
        DataError: the header cannot be read.
    """
    header = _first_line(path)
    separator = max(_SEPARATORS, key=header.count)
    names = _header(header, separator, path)
    look = _look(path, separator.encode(), len(names) - 1)
    if look.utf8 and (look.regular if not look.quotes else _polars_agrees(path, separator, names, look.lines)):
        return RawTable(str(path), _scan(path, separator, names, quotes=look.quotes))
    unreadable = Unreadable(str(path))
    rows = keep_chunks(_chunks(path, separator, names, unreadable), scratch, names)
    return RawTable(str(path), rows, unreadable.table())


def read_dat(path: Path, role: Role, scratch: Path) -> RawTable:
    """Read a `::` file of MovieLens or MovieTweetings, which has no header.

    Args:
        path: `user::item::rating::time`, the time optional, or `item::title::genres`.
        role: which of the two.
        scratch: a folder for what does not fit in memory.
    """
    width = min(_usual_parts(path), len(_DAT_COLUMNS[role]))
    names = _DAT_COLUMNS[role][:width]
    look = _look(path, b"\n", 0)
    if look.utf8:
        line = pl.col("line").str.strip_prefix("\ufeff")
        lines = pl.scan_lines(path, name="line").with_columns(line).with_row_index(ROW, offset=1)
    else:
        # The movies of MovieLens 1M are in Latin-1, in which every byte is a letter.
        lines = keep_chunks(_latin_chunks(path), scratch, ["line"])
    parts = pl.col("line").str.split("::")
    fits = parts.list.len() == width
    lines = lines.filter(pl.col("line").str.strip_chars() != "").with_columns(pl.col(ROW).cast(pl.Int64))
    rows = lines.filter(fits).select(ROW, *(_part(parts, place, name) for place, name in enumerate(names)))
    reason = pl.format("a line must have {} fields, this has {}", pl.lit(width), parts.list.len())
    dropped = lines.filter(~fits).select(
        source=pl.lit(str(path)), row=ROW, step=pl.lit(UNREADABLE), reason=reason, raw="line"
    )
    notes = () if look.utf8 else (f"{path.name} is not UTF-8 and was read as Latin-1",)
    return RawTable(str(path), rows, dropped.collect(), notes)


def _part(parts: pl.Expr, place: int, name: str) -> pl.Expr:
    part = parts.list.get(place, null_on_oob=True).str.strip_chars_end("\r")
    return pl.when(part != "").then(part).alias(name)


def _first_line(path: Path) -> str:
    with path.open("rb") as file:
        lines = iter(lambda: file.readline(_HEAD_BYTES), b"")
        line = next((line for line in lines if line.removeprefix(_BOM).strip()), b"")
    try:
        return line.removeprefix(_BOM).decode().rstrip("\r\n")
    except UnicodeDecodeError:
        return line.decode("latin-1").rstrip("\r\n")


def _usual_parts(path: Path) -> int:
    """Return how many parts most of the first lines have; a first line cut short must not decide for all."""
    with path.open("rb") as file:
        lines = file.read(_HEAD_BYTES).splitlines()
    counts = Counter(line.count(b"::") + 1 for line in lines if line.strip())
    return counts.most_common(1)[0][0]


def _header(line: str, separator: str, path: Path) -> list[str]:
    if "\r" in line:
        raise DataError(
            f"the lines of {path} must end in a line feed, these end in a carriage return alone; save it with the line "
            "ends of Unix or Windows"
        )
    try:
        names = next(csv.reader([line], delimiter=separator, strict=True), [])
    except csv.Error as error:
        raise DataError(f"the first line of {path} must name the columns, got {line[:200]!r}: {error}") from None
    # Spreadsheets leave columns without a name behind.
    names = [name.strip() or f"column {place}" for place, name in enumerate(names, start=1)]
    check_names(names, str(path))
    return names


def _look(path: Path, separator: bytes, expected: int) -> _Look:
    regular, quotes, utf8, lines = True, False, True, 0
    for block in _blocks(path):
        quotes = quotes or b'"' in block
        utf8 = utf8 and _is_utf8(block)
        data = np.frombuffer(block, dtype=np.uint8)
        ends = np.flatnonzero(data == 10)
        lines += len(ends)
        if not regular:
            continue
        starts = np.concatenate([[0], ends[:-1] + 1])
        blank = (ends - starts < 1) | ((ends - starts == 1) & (data[starts] == 13))
        if expected and not quotes:
            # Separators up to each line's end, so that the difference is the line's own number.
            places = np.flatnonzero(data == separator[0])
            counts = np.diff(np.searchsorted(places, ends), prepend=0)
            regular = bool((counts == expected).all())
        regular = regular and not blank.any()
    return _Look(regular, quotes, utf8, lines)


def _blocks(path: Path) -> Iterator[bytes]:
    """Yield the file in whole lines; the last gets the line end it may lack."""
    rest = b""
    with path.open("rb") as file:
        while data := file.read(_BLOCK_BYTES):
            data = rest + data
            cut = data.rfind(b"\n") + 1
            rest = data[cut:]
            if cut:
                yield data[:cut]
    if rest:
        yield rest + b"\n"


def _is_utf8(block: bytes) -> bool:
    if block.isascii():
        return True
    try:
        block.decode()
    except UnicodeDecodeError:
        return False
    return True


def _scan(path: Path, separator: str, names: list[str], *, quotes: bool) -> pl.LazyFrame:
    frame = pl.scan_csv(
        path,
        separator=separator,
        quote_char='"' if quotes else None,
        infer_schema=False,
        with_column_names=lambda found: names if len(found) == len(names) else found,
    )
    if quotes:
        frame = frame.with_columns(pl.when(pl.col(names) != "").then(pl.col(names)))
    return frame.with_row_index(ROW, offset=1).with_columns(pl.col(ROW).cast(pl.Int64))


def _polars_agrees(path: Path, separator: str, names: list[str], lines: int) -> bool:
    """Whether Polars reads a file with quotes as one row a line, none of them short."""
    # Of all columns, since Polars overlooks a line that is too long where it reads only some.
    nulls = pl.col(names).null_count().name.prefix("nulls ")
    try:
        found = _scan(path, separator, names, quotes=True).select(pl.len(), nulls).collect(engine="streaming")
    except (pl.exceptions.PolarsError, OSError):
        return False
    # A short line ends in nulls, and Polars tells it from an empty last field in no other manner.
    return bool(found["len"][0] == lines - 1 and found[f"nulls {names[-1]}"][0] == 0)


def _chunks(path: Path, separator: str, names: list[str], unreadable: Unreadable) -> Iterator[pl.DataFrame]:
    rows: list[list[str | None]] = []
    numbers: list[int] = []
    for number, fields in _records(path, separator, len(names), unreadable):
        numbers.append(number)
        rows.append([field or None for field in fields])
        if len(rows) == CHUNK_ROWS:
            yield _chunk(rows, numbers, names)
            rows, numbers = [], []
    if rows:
        yield _chunk(rows, numbers, names)


def _chunk(rows: list[list[str | None]], numbers: list[int], names: list[str]) -> pl.DataFrame:
    frame = pl.DataFrame(rows, schema=dict.fromkeys(names, pl.String), orient="row")
    return frame.with_columns(pl.Series(ROW, numbers, dtype=pl.Int64))


def _records(path: Path, separator: str, width: int, unreadable: Unreadable) -> Iterator[tuple[int, list[str]]]:
    waiting: deque[bytes] = deque()
    lines = (line for block in _blocks(path) for line in block.split(b"\n")[:-1])
    next((line for line in lines if line.removeprefix(_BOM).strip()), None)
    number = 0
    while True:
        raw = waiting.popleft() if waiting else next(lines, None)
        if raw is None:
            return
        if not raw.strip():
            continue
        number += 1
        # A line that is whole by itself, such as one with an inch sign, draws in no other.
        fields, reason = _fields(raw, separator, width)
        if reason is not None and raw.count(b'"') % 2:
            taken = _quoted(raw, waiting, lines)
            joined, fault = _fields(b"\n".join(taken), separator, width)
            if fault is None:
                fields, reason = joined, None
            else:
                waiting.extendleft(reversed(taken[1:]))
        if reason is None:
            yield number, fields
        else:
            unreadable.add(number, reason, raw.rstrip(b"\r").decode(errors="backslashreplace"))


def _quoted(first: bytes, waiting: deque[bytes], lines: Iterator[bytes]) -> list[bytes]:
    """Draw in lines until the open quote of `first` is closed, or no line is left."""
    taken, quotes = [first], first.count(b'"')
    while quotes % 2 and len(taken) <= _QUOTED_LINES:
        line = waiting.popleft() if waiting else next(lines, None)
        if line is None:
            break
        taken.append(line)
        quotes += line.count(b'"')
    return taken


def _fields(raw: bytes, separator: str, width: int) -> tuple[list[str], str | None]:
    try:
        text = raw.rstrip(b"\r").decode()
    except UnicodeDecodeError as error:
        return [], f"a line must be UTF-8, byte {error.start + 1} is not"
    if "\x00" in text:
        return [], "a line must be text, this holds a zero byte"
    if len(text) > csv.field_size_limit():
        # The limit of the module, 131,072 characters, is shorter than descriptions with pictures in them.
        csv.field_size_limit(len(text))
    try:
        fields = next(csv.reader([text], delimiter=separator, strict=True)) if '"' in text else text.split(separator)
    except csv.Error as error:
        return [], f"a quoted field must be closed before the next begins: {error}"
    if len(fields) != width:
        return [], f"a line must have {width} fields, this has {len(fields)}"
    return fields, None


def _latin_chunks(path: Path) -> Iterator[pl.DataFrame]:
    number = 0
    for block in _blocks(path):
        lines = block.decode("latin-1").split("\n")[:-1]
        yield pl.DataFrame({"line": lines}).with_columns(
            pl.int_range(number + 1, number + 1 + len(lines), dtype=pl.Int64).alias(ROW)
        )
        number += len(lines)
