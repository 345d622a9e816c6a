"""JSON lines: exact ids, broken lines, columns that come and go."""

from __future__ import annotations

from pathlib import Path

import pytest

from headrace.core.errors import DataError
from headrace.data import json_lines
from headrace.data.json_lines import read_json_lines
from headrace.data.tables import ROW, RawTable


def read(tmp_path: Path, text: str | bytes) -> RawTable:
    path = tmp_path / "events.jsonl"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return read_json_lines(path, tmp_path, lambda names: [name for name in names if name.endswith("_id")])


def test_values_are_the_text_that_a_file_would_hold(tmp_path: Path) -> None:
    found = read(
        tmp_path, '{"user_id": 7, "v": 1.50, "b": true, "c": {"d": 1}, "l": ["x"], "n": null}\n{"user_id": "007"}\n'
    )
    assert found.rows.drop(ROW).collect().rows() == [
        ("7", "1.5", "true", '{"d":1}', '["x"]', None),
        ("007", None, None, None, None, None),
    ]


@pytest.mark.parametrize("value", ["1.0", "true", "[1]", "{}"])
def test_an_id_that_is_neither_text_nor_whole_is_unreadable(tmp_path: Path, value: str) -> None:
    found = read(tmp_path, f'{{"user_id": {value}}}\n{{"user_id": 123456789012345678901}}\n')
    assert found.rows.collect()["user_id"].to_list() == ["123456789012345678901"]
    assert found.dropped["row"].to_list() == [1]
    assert "whole number" in found.dropped["reason"][0]


@pytest.mark.parametrize(
    "line",
    [
        b'{"user_id": ',
        b"[1]",
        b'"text"',
        b'{"user_id": NaN}',
        b'{"user_id": "\xff"}',
        b'{"v": 1e999}',
        b'{"v": ' + b"[" * 99_999,
    ],
)
def test_a_broken_line_costs_itself_alone(tmp_path: Path, line: bytes) -> None:
    found = read(tmp_path, b'{"user_id": "a"}\n' + line + b'\n\n{"user_id": "b"}')
    assert found.rows.collect()["user_id"].to_list() == ["a", "b"]
    assert found.dropped["row"].to_list() == [2]
    assert found.dropped["raw"][0] == line.decode(errors="backslashreplace")


def test_one_array_is_refused_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="jq"):
        read(tmp_path, '[{"user_id": 1}]')


def test_objects_over_several_lines_are_refused_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none of its 3 lines.*jq -c \. events"):
        read(tmp_path, '{\n"user_id": 1\n}\n')


def test_a_key_may_not_bear_the_name_of_the_row_numbers(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="rename it"):
        read(tmp_path, f'{{"user_id": 1, "{ROW}": 2}}\n')


def test_chunks_may_have_different_columns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_lines, "CHUNK_ROWS", 2)
    found = read(tmp_path, '{"user_id": 1}\n{"user_id": 2}\n{"user_id": 3, "x": 4}\n{"user_id": 5}\n{"x": 6}\n')
    assert found.rows.select("user_id", "x").collect().rows() == [
        ("1", None),
        ("2", None),
        ("3", "4"),
        ("5", None),
        (None, "6"),
    ]
