"""JSON lines: one object a line, every value as the text that a file would hold; a broken line costs itself alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import polars as pl

from headrace.core.errors import DataError
from headrace.data.tables import CHUNK_ROWS, ROW, RawTable, Unreadable, as_text, keep_chunks

_MISSING = "a line must be one JSON object"


def read_json_lines(path: Path, scratch: Path, is_id: Callable[[str], bool]) -> RawTable:
    """Read a file of JSON lines.

    Args:
        path: one object a line, in UTF-8.
        scratch: a folder for what does not fit in memory.
        is_id: whether a key holds an id; an id that is neither text nor a whole number makes its line unreadable,
            since `1.0` may stand for `1` or for itself.

    Raises:
        DataError: the file is one JSON array.
    """
    with path.open("rb") as file:
        if file.read(64).removeprefix(b"\xef\xbb\xbf").lstrip()[:1] == b"[":
            raise DataError(
                f"{path} must hold one JSON object a line, it holds one array; write it with `jq -c '.[]' {path.name}`"
            )
    unreadable = Unreadable(str(path))
    rows = keep_chunks(_chunks(path, is_id, unreadable), scratch, [])
    return RawTable(str(path), rows, unreadable.table())


def _chunks(path: Path, is_id: Callable[[str], bool], unreadable: Unreadable) -> Iterator[pl.DataFrame]:
    objects: list[dict[str, object]] = []
    numbers: list[int] = []
    decoder = msgspec.json.Decoder(dict[str, object])
    ids: dict[str, bool] = {}
    with path.open("rb") as file:
        for number, line in enumerate((line for line in file if line.strip()), start=1):
            reason, found = _decoded(line.removeprefix(b"\xef\xbb\xbf"), decoder)
            for key in found:
                if ids.setdefault(key, is_id(key)) and not isinstance(found[key], str | int | None):
                    reason = f"an id must be text or a whole number, {key} is {found[key]!r}"
                elif ids[key] and isinstance(found[key], bool):
                    reason = f"an id must be text or a whole number, {key} is {as_text(found[key])}"
            if reason is not None:
                unreadable.add(number, reason, line.rstrip(b"\r\n").decode(errors="backslashreplace"))
                continue
            objects.append(found)
            numbers.append(number)
            if len(objects) == CHUNK_ROWS:
                yield _chunk(objects, numbers)
                objects, numbers = [], []
    if objects:
        yield _chunk(objects, numbers)


def _decoded(line: bytes, decoder: msgspec.json.Decoder[dict[str, object]]) -> tuple[str | None, dict[str, object]]:
    try:
        return None, decoder.decode(line)
    except msgspec.ValidationError:
        return _MISSING, {}
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return f"{_MISSING}: {error}", {}


def _chunk(objects: list[dict[str, object]], numbers: list[int]) -> pl.DataFrame:
    keys = list(dict.fromkeys(key for found in objects for key in found))
    columns = [pl.Series(key, [_text(found.get(key)) for found in objects], dtype=pl.String) for key in keys]
    return pl.DataFrame([*columns, pl.Series(ROW, numbers, dtype=pl.Int64)])


def _text(value: object) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, dict | list):
        return msgspec.json.encode(value).decode()
    return as_text(value)
