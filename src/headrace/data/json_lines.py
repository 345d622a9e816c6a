"""JSON lines: one object a line, every value as the text that a file would hold; a broken line costs itself alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path

import msgspec
import polars as pl

from headrace.core.errors import DataError
from headrace.data.tables import CHUNK_ROWS, ROW, RawTable, Unreadable, as_text, check_names, keep_chunks


def read_json_lines(path: Path, scratch: Path, id_keys: Callable[[Sequence[str]], Sequence[str]]) -> RawTable:
    """Read a file of JSON lines.

    Args:
        path: one object a line, in UTF-8.
        scratch: a folder for what does not fit in memory.
        id_keys: which keys of an object hold its ids; an id that is neither text nor a whole number makes its line
            unreadable, since `1.0` may stand for `1` or for itself.

    Raises:
        DataError: the file is one JSON array, or no line of it can be read.
    """
    with path.open("rb") as file:
        if file.read(64).removeprefix(b"\xef\xbb\xbf").lstrip()[:1] == b"[":
            raise DataError(
                f"{path} must hold one JSON object a line, it holds one array; write it with `jq -c '.[]' {path.name}`"
            )
    unreadable = Unreadable(str(path))
    rows = keep_chunks(_chunks(path, id_keys, unreadable), scratch, [])
    dropped = unreadable.table()
    if dropped.height and not rows.collect_schema().names()[:-1]:
        raise DataError(
            f"{path} must hold one JSON object a line, none of its {dropped.height:,} lines can be read (the first: "
            f"{dropped['reason'][0]}); objects over several lines become one a line with `jq -c . {path.name}`"
        )
    return RawTable(str(path), rows, dropped)


def _chunks(
    path: Path, id_keys: Callable[[Sequence[str]], Sequence[str]], unreadable: Unreadable
) -> Iterator[pl.DataFrame]:
    objects: list[dict[str, object]] = []
    numbers: list[int] = []
    decoder = msgspec.json.Decoder(dict[str, object])
    ids_of = lru_cache(maxsize=1_024)(id_keys)
    with path.open("rb") as file:
        for number, line in enumerate((line for line in file if line.strip()), start=1):
            reason, found = _decoded(line.removeprefix(b"\xef\xbb\xbf"), decoder)
            for key in ids_of(tuple(found)):
                if isinstance(found[key], bool) or not isinstance(found[key], str | int | None):
                    reason = f"an id must be text or a whole number, {key} is {as_text(found[key])[:100]}"
            if reason is not None:
                unreadable.add(number, reason, line.rstrip(b"\r\n").decode(errors="backslashreplace"))
                continue
            objects.append(found)
            numbers.append(number)
            if len(objects) == CHUNK_ROWS:
                yield _chunk(objects, numbers, str(path))
                objects, numbers = [], []
    if objects:
        yield _chunk(objects, numbers, str(path))


def _decoded(line: bytes, decoder: msgspec.json.Decoder[dict[str, object]]) -> tuple[str | None, dict[str, object]]:
    try:
        return None, decoder.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return f"a line must be one JSON object: {error}", {}


def _chunk(objects: list[dict[str, object]], numbers: list[int], where: str) -> pl.DataFrame:
    keys = list(dict.fromkeys(key for found in objects for key in found))
    check_names(keys, where)
    columns = [pl.Series(key, [_text(found.get(key)) for found in objects], dtype=pl.String) for key in keys]
    return pl.DataFrame([*columns, pl.Series(ROW, numbers, dtype=pl.Int64)])


def _text(value: object) -> str | None:
    return None if value is None else as_text(value)
