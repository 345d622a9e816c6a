"""Tests of the table of counts against a plain dictionary."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from headrace.ranking.count_kernels import read_strongest
from headrace.ranking.count_rows import CountRows, Groups
from headrace.ranking.head_kernels import HEAD

cells = st.tuples(st.integers(0, 200), st.integers(1, 40), st.integers(-3, 3))


def add(table: CountRows, changes: list[tuple[int, int, int]]) -> None:
    rows, columns, deltas = zip(*changes, strict=True) if changes else ((), (), ())
    table.add(np.array(rows, np.int32), np.array(columns, np.int32), np.array(deltas, np.int64))


def content(table: CountRows) -> dict[tuple[int, int], int]:
    rows, columns, counts = (array.tolist() for array in table.triples())
    return {(row, column): count for row, column, count in zip(rows, columns, counts, strict=True)}


@settings(deadline=None)
@given(st.lists(st.lists(cells, max_size=60), max_size=5))
def test_counts_equal_those_of_a_dictionary(batches: list[list[tuple[int, int, int]]]) -> None:
    table, expected = CountRows(slots=16), Counter[tuple[int, int]]()
    for batch in batches:
        add(table, batch)
        for row, column, delta in batch:
            expected[row, column] += delta
    assert content(table) == {cell: count for cell, count in expected.items() if count}


@settings(deadline=None)
@given(st.lists(cells, max_size=80), st.lists(cells, max_size=80))
def test_groups_add_what_single_cells_add(first: list[tuple[int, int, int]], later: list[tuple[int, int, int]]) -> None:
    one, other = CountRows(slots=16), CountRows(slots=16)
    add(one, [*first, *later])
    add(other, first)
    grouped = sorted(later)
    offsets = np.searchsorted([row for row, _, _ in grouped], np.arange(202)).astype(np.int64)
    columns = np.array([column for _, column, _ in grouped], np.int32)
    other.add_grouped(0, Groups(offsets, columns, np.array([delta for _, _, delta in grouped], np.int64)))
    assert content(one) == content(other)


@settings(deadline=None)
@given(st.lists(cells, max_size=80))
def test_a_saved_table_counts_the_same(changes: list[tuple[int, int, int]]) -> None:
    table = CountRows()
    add(table, changes)
    again = CountRows.from_state(table.state())
    assert content(again) == content(table)
    add(again, [(3, 7, 2)])
    add(table, [(3, 7, 2)])
    assert content(again) == content(table)


@settings(deadline=None)
@given(st.lists(cells, max_size=80), st.lists(cells, max_size=80))
def test_a_compacted_table_counts_the_same_and_goes_on(
    changes: list[tuple[int, int, int]], more: list[tuple[int, int, int]]
) -> None:
    one, other = CountRows(), CountRows()
    add(one, changes)
    add(other, changes)
    other.compact()
    assert content(other) == content(one)
    add(one, more)
    add(other, more)
    assert content(other) == content(one)


def test_a_compacted_table_holds_no_holes() -> None:
    table = CountRows()
    for row in range(50):
        table.add(np.full(3000, row, np.int32), np.arange(1, 3001, dtype=np.int32), np.ones(3000, np.int64))
    before = content(table)
    table.compact()
    assert content(table) == before
    # 50 rows of 8,192 slots of 8 bytes, and the step that the pool grows by.
    assert table.nbytes < 8 * (50 * 8192 + (1 << 16)) + 10_000
    # Rows that come later take no place where a hole was.
    table.add(np.arange(50, 150, dtype=np.int32), np.ones(100, np.int32), np.ones(100, np.int64))
    assert content(table) == before | {(row, 1): 1 for row in range(50, 150)}


def test_triples_come_by_row_and_column_whatever_the_order_of_arrival() -> None:
    one, other = CountRows(), CountRows()
    changes = [(5, 9, 1), (0, 3, 2), (5, 1, 4), (2, 8, -6)]
    add(one, changes)
    add(other, changes[::-1])
    for ours, theirs in zip(one.triples(), other.triples(), strict=True):
        assert_array_equal(ours, theirs)
    assert list(content(one)) == [(0, 3), (2, 8), (5, 1), (5, 9)]


def test_a_count_beyond_32_bits_stays_exact() -> None:
    table = CountRows()
    for _ in range(3):
        add(table, [(1, 1, 2**31 - 5), (1, 2, 1)])
    add(table, [(1, 1, -(2**31) + 5)])
    assert content(table) == {(1, 1): 2 * (2**31 - 5), (1, 2): 3}
    grouped = CountRows()
    offsets = np.array([0, 1, 4], np.int64)
    columns, deltas = np.array([5, 6, 7, 6], np.int32), np.array([1, 2**31 - 1, 4, 9], np.int64)
    grouped.add_grouped(0, Groups(offsets, columns, deltas))
    assert content(grouped) == {(0, 5): 1, (1, 6): 2**31 + 8, (1, 7): 4}
    assert content(CountRows.from_state(grouped.state())) == content(grouped)
    # 32 bits again, once they do.
    assert CountRows.from_state(table.state()).state()["counts"].dtype == np.int64
    add(table, [(1, 1, -(2**32))])
    assert CountRows.from_state(table.state()).state()["counts"].dtype == np.int32


def test_rows_that_grow_and_are_emptied_again_do_not_fill_the_memory() -> None:
    table = CountRows()
    columns = np.arange(1, 2001, dtype=np.int32)
    for _ in range(30):
        for row in range(20):
            add_all = np.full(2000, row, np.int32)
            table.add(add_all, columns, np.ones(2000, np.int64))
        for row in range(20):
            table.add(np.full(2000, row, np.int32), columns, np.full(2000, -1, np.int64))
    assert content(table) == {}
    # 20 rows of 4,096 slots of 8 bytes are 0.7 MB.
    assert table.nbytes < 4_000_000


def test_cells_are_read_one_by_one_and_by_row() -> None:
    table = CountRows()
    add(table, [(1, 2, 5), (1, 3, 7), (4, 2, 11), (1, 9, 1)])
    assert table.get(np.array([1, 4, 4, 900], np.int32), np.array([3, 2, 3, 1], np.int32)).tolist() == [7, 11, 0, 0]
    sums = table.sum_rows(np.array([1, 4, 900], np.int32), np.array([1, 10, 1], np.int64), 4)
    assert sums.tolist() == [0, 0, 5 + 110, 7]


def strongest(table: CountRows, row: int, size: int) -> list[tuple[int, int]]:
    """Return (column, count) of what is read of a row, by column."""
    columns, counts = np.empty(HEAD + 1, np.int32), np.empty(HEAD + 1, np.float32)
    n = read_strongest(table.pool, np.int64(row), size, columns, counts)
    return sorted(zip(columns[:n].tolist(), counts[:n].astype(int).tolist(), strict=True))


@pytest.mark.parametrize("large", [0, 2**33])
def test_of_a_long_row_the_largest_counts_are_read_whatever_came_before(large: int) -> None:
    """Row 1 is read after each change, row 2 at times, row 3 stays short; counts rise, fall, and tie."""
    chance, table, plain = np.random.default_rng(2), CountRows(), np.zeros((4, 900), np.int64)
    plain[2, 7] = large  # so large that counts take 64 bits
    table.add(np.array([2], np.int32), np.array([7], np.int32), np.array([large]))
    for turn in range(200):
        n = 400 if turn < 3 else int(chance.integers(1, 30))
        rows = chance.integers(1, 3, n)
        columns, deltas = chance.integers(1, 900, n), chance.integers(-2 if turn % 5 == 0 else 1, 3, n)
        rows = np.append(rows, 3)
        columns, deltas = np.append(columns, 1 + turn % 200), np.append(deltas, 1)
        table.add(rows.astype(np.int32), columns.astype(np.int32), deltas)
        np.add.at(plain, (rows, columns), deltas)
        if turn == 100:
            table = CountRows.from_state(table.state())
        for row in (1, 3) if turn % 7 else (1, 2, 3):
            ranked = sorted((-int(plain[row, column]), column) for column in range(900) if plain[row, column] > 0)
            expected = sorted((column, -count) for count, column in ranked[:HEAD] if column < 800)
            found = strongest(table, row, 800)
            assert [column for column, _ in found] == [column for column, _ in expected]
            assert [count for _, count in found] == pytest.approx([count for _, count in expected], rel=1e-6)
    assert (plain[1] > 0).sum() > HEAD > (plain[3] > 0).sum() > 100


def test_rows_that_find_no_room_for_a_head_are_read_the_same() -> None:
    rows, columns = np.repeat(np.arange(1, 200, dtype=np.int32), 300), np.tile(np.arange(1, 301, dtype=np.int32), 199)
    table = CountRows()
    table.add(rows, columns, np.arange(len(rows)) % 7)
    pool = table.pool
    room = np.empty(HEAD + 1, np.int32), np.empty(HEAD + 1, np.float32)
    found = [set(room[0][: read_strongest(pool, np.int64(row), 301, *room)].tolist()) for row in range(1, 200)]
    assert len(pool.heads.least) < 199
    again = [{column for column, _ in strongest(table, row, 301)} for row in range(1, 200)]
    assert found == again
