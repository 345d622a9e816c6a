"""Delimited files: regular ones, odd ones, and that the slow reader and the fast one agree."""

from __future__ import annotations

import csv
import io
import tempfile
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.core.errors import DataError
from headrace.data import delimited
from headrace.data.delimited import read_dat, read_delimited
from headrace.data.tables import ROW


def table(path: Path, text: str | bytes) -> tuple[list[tuple[object, ...]], list[tuple[object, ...]]]:
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    found = read_delimited(path, path.parent)
    rows = found.rows.collect()
    return rows.drop(ROW).rows(), found.dropped.select("row", "raw").rows()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "events.csv"


@pytest.mark.parametrize("separator", [",", "\t", ";", "|"])
def test_the_separator_is_read_off_the_header(path: Path, separator: str) -> None:
    text = "user_id,item_id\n007,1.0\n".replace(",", separator)
    assert table(path, text) == ([("007", "1.0")], [])


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_line_ends_a_missing_last_one_and_a_byte_order_mark_do_not_matter(path: Path, end: str) -> None:
    assert table(path, b"\xef\xbb\xbf" + f"a,b{end}1,2{end}3,4".encode()) == ([("1", "2"), ("3", "4")], [])


def test_blank_lines_are_no_rows(path: Path) -> None:
    assert table(path, "a,b\n1,2\n\n3,4\n\n") == ([("1", "2"), ("3", "4")], [])


def test_an_empty_field_is_null(path: Path) -> None:
    assert table(path, "a,b,c\n1,,3\n1,2,\n") == ([("1", None, "3"), ("1", "2", None)], [])


@pytest.mark.parametrize("line", ["3", "3,4,5"])
def test_a_line_of_the_wrong_length_costs_itself_alone(path: Path, line: str) -> None:
    assert table(path, f"a,b\n1,2\n{line}\n5,6\n") == ([("1", "2"), ("5", "6")], [(2, line)])


def test_a_short_and_a_long_line_do_not_make_up_for_each_other(path: Path) -> None:
    rows, dropped = table(path, "a,b\n1\n2,3,4\n5,6\n")
    assert rows == [("5", "6")]
    assert [row for row, _ in dropped] == [1, 2]


def test_a_line_that_is_not_utf8_costs_itself_alone(path: Path) -> None:
    rows, dropped = table(path, b"a,b\n1,2\n\xff\xfe,4\n5,\xc3\xa9\n")
    assert rows == [("1", "2"), ("5", "é")]
    assert dropped == [(2, "\\xff\\xfe,4")]


def test_an_open_quote_costs_its_line_alone(path: Path) -> None:
    rows, dropped = table(path, 'a,b\n1,"2\n3,4\n5,6\n')
    assert rows == [("3", "4"), ("5", "6")]
    assert dropped == [(1, '1,"2')]


def test_two_open_quotes_cost_their_lines_alone(path: Path) -> None:
    rows, dropped = table(path, 'a,b\n1,"2\n3,4\n5,"6\n7,8\n')
    assert ("3", "4") in rows
    assert ("7", "8") in rows
    assert [raw for _, raw in dropped] == ['1,"2', '5,"6']


def test_quoted_fields_may_hold_separators_quotes_and_lines(path: Path) -> None:
    assert table(path, 'a,b\n1,"x, ""y"""\n2,"one\ntwo"\n3,z\n') == (
        [("1", 'x, "y"'), ("2", "one\ntwo"), ("3", "z")],
        [],
    )


def test_a_sign_for_inches_opens_no_field(path: Path) -> None:
    rows, dropped = table(path, 'a,b\n1,27" tv\n2,x\n3,"y"\n4,3" nail\n')
    assert rows == [("1", '27" tv'), ("2", "x"), ("3", "y"), ("4", '3" nail')]
    assert dropped == []


@pytest.mark.parametrize("text", ["line\n" * 200, "x" * 200_000 + "\n"])
def test_a_long_quoted_field_is_one_field(path: Path, text: str) -> None:
    assert table(path, f'a,b\n1,"{text}"\n2,x\n') == ([("1", text), ("2", "x")], [])


def test_a_line_too_long_costs_itself_alone_among_quoted_ones(path: Path) -> None:
    assert table(path, 'a,b\n"1",2\n3,4,5\n6,7\n') == ([("1", "2"), ("6", "7")], [(2, "3,4,5")])


def test_an_empty_quoted_field_is_null_too(path: Path) -> None:
    assert table(path, 'a,b\n"","1"\n"",2\n') == ([(None, "1"), (None, "2")], [])


def test_blank_lines_may_stand_before_the_header(path: Path) -> None:
    assert table(path, "\n\na,b\n1,2\n") == ([("1", "2")], [])


def test_columns_without_a_name_do_not_stand_in_the_way(path: Path) -> None:
    assert table(path, "a,b,,\n1,2,,\n") == ([("1", "2", None, None)], [])


def test_a_file_with_carriage_returns_alone_is_refused_with_what_to_do(path: Path) -> None:
    with pytest.raises(DataError, match=r"carriage return.*save it"):
        table(path, "a,b\r1,2\r")


def test_a_column_may_not_bear_the_name_of_the_row_numbers(path: Path) -> None:
    with pytest.raises(DataError, match="rename it"):
        table(path, f"a,{ROW}\n1,2\n")


def test_a_header_that_names_a_column_twice_is_refused(path: Path) -> None:
    with pytest.raises(DataError, match="stands twice"):
        table(path, "a,a\n1,2\n")


cells = st.text(st.sampled_from('ab,"\n é'), max_size=4)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(cells, cells, cells.filter(bool)), min_size=1, max_size=5))
def test_what_the_csv_module_writes_is_read_back(rows: list[tuple[str, ...]]) -> None:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([("a", "b", "c"), *rows])
    with tempfile.TemporaryDirectory() as folder:
        found, dropped = table(Path(folder) / "rows.csv", text.getvalue())
    assert found == [tuple(cell or None for cell in row) for row in rows]
    assert dropped == []


def test_many_chunks_are_one_table(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delimited, "CHUNK_ROWS", 10)
    lines = [f"{number},{number + 1}" for number in range(45)]
    rows, dropped = table(path, "a,b\n" + "\n".join([*lines[:20], "odd", *lines[20:]]) + "\n")
    assert rows == [(str(number), str(number + 1)) for number in range(45)]
    assert dropped == [(21, "odd")]


def test_dat_files_of_movielens_have_their_columns(tmp_path: Path) -> None:
    ratings = tmp_path / "ratings.dat"
    ratings.write_text("1::007::8::1365029107\n1::odd\n2::008::3::1365029108\n")
    found = read_dat(ratings, "events", tmp_path)
    assert found.rows.drop(ROW).collect().to_dicts() == [
        {"user_id": "1", "item_id": "007", "rating": "8", "timestamp": "1365029107"},
        {"user_id": "2", "item_id": "008", "rating": "3", "timestamp": "1365029108"},
    ]
    assert found.dropped.select("row", "raw").rows() == [(2, "1::odd")]


def test_a_first_dat_line_cut_short_does_not_decide_for_all(tmp_path: Path) -> None:
    ratings = tmp_path / "ratings.dat"
    ratings.write_text("\n1::2\n1::3::3::1365029107\n2::4::5::1365029108\n")
    found = read_dat(ratings, "events", tmp_path)
    assert found.rows.select("user_id", "item_id", "rating").collect().rows() == [("1", "3", "3"), ("2", "4", "5")]
    assert found.dropped["raw"].to_list() == ["1::2"]


def test_a_control_character_in_a_dat_file_costs_no_line(tmp_path: Path) -> None:
    ratings = tmp_path / "ratings.dat"
    ratings.write_text("\ufeff1::a\x01b::3::1365029107\r\n2::4::5::1365029108\r\n")
    found = read_dat(ratings, "events", tmp_path).rows.collect()
    assert found["user_id"].to_list() == ["1", "2"]
    assert found["item_id"].to_list() == ["a\x01b", "4"]
    assert found["timestamp"].to_list() == ["1365029107", "1365029108"]


def test_the_movies_of_movielens_1m_are_latin_1(tmp_path: Path) -> None:
    movies = tmp_path / "movies.dat"
    movies.write_bytes("1::Café::Drama|War\n2::Heat::\n".encode("latin-1"))
    found = read_dat(movies, "items", tmp_path)
    assert found.rows.select("title", "genres").collect().rows() == [("Café", "Drama|War"), ("Heat", None)]
    assert "Latin-1" in found.notes[0]
    assert found.rows.collect_schema()[ROW] == pl.Int64
