"""The strongest columns of long rows of counts, kept up to date; see `CountRows.pool`.

A row of thousands of columns would take most of the time of an answer, and those beyond the first hundreds say nothing:
read by its 256 largest counts, NDCG@10 is 0.0622 instead of 0.0621 on completejourney's groceries, 0.0078 and 0.0078
for what is new, and 0.1021 and 0.1022 on movietweetings-100k. Which columns these are follows from the counts alone
(equal counts go to the lower column), so that the way a table came about leaves no trace in an answer.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from headrace.core.compiled import Whole, compiled
from headrace.data.log import Floats, Ints, Longs
from headrace.ranking.largest import item_of, key_of, select

HEAD = 256
"""Columns of a row that are read."""


class Heads(NamedTuple):
    """The heads of those rows that have more columns than one holds and were read. Shapes: R rows, H heads.

    Args:
        of: (R,) the head of each row, or -1.
        columns: (H, HEAD) the columns with the largest counts, in no order.
        counts: (H, HEAD) their counts.
        least: (H,) the place of the one that goes first, -1 where the head must be made anew.
        used: (1,) heads that were given out.
    """

    of: Ints
    columns: Ints
    counts: Ints | Longs
    least: Ints
    used: Longs


@compiled
def follow_count(heads: Heads, row: Whole, column: Whole, before: Whole, after: Whole) -> None:
    """Take in that one count of a row has changed."""
    head = heads.of[row]
    if head < 0 or heads.least[head] < 0:
        return
    columns, counts, least = heads.columns[head], heads.counts[head], heads.least[head]
    inside = before > counts[least] or (before == counts[least] and column <= columns[least])
    if inside and after < before:
        heads.least[head] = -1  # one from outside may be larger now
        return
    place = least
    if inside:
        place = 0
        while columns[place] != column:
            place += 1
    elif after < counts[least] or (after == counts[least] and column > columns[least]):
        return
    columns[place], counts[place] = column, after
    if place == least:
        heads.least[head] = _least(columns, counts)


@compiled
def forget_head(heads: Heads, row: Whole) -> None:
    """Take in that any count of a row may have changed."""
    if heads.of[row] >= 0:
        heads.least[heads.of[row]] = -1


@compiled
def read_head(heads: Heads, row: Whole, slots: tuple[Ints, Ints | Longs], columns: Ints, counts: Floats) -> Whole:
    """Write the columns of a row's largest counts above 0, and these counts, and return how many there are.

    Args:
        heads: where the row's head is, or is put if there is room.
        row: one that has more columns than a head holds, some of which may have the count 0.
        slots: the row's columns, 0 in an empty slot, and their counts.
        columns: (HEAD + 1,) to write to, in no order.
        counts: (HEAD + 1,) likewise.
    """
    head = heads.of[row]
    if head < 0 and heads.used[0] < len(heads.least):
        head = heads.of[row] = heads.used[0]
        heads.least[head] = -1
        heads.used[0] += 1
    if head >= 0 and heads.least[head] >= 0:
        for place in range(HEAD):
            columns[place], counts[place] = heads.columns[head, place], heads.counts[head, place]
        return HEAD
    found, of_found = _largest(slots[0], slots[1])
    for place in range(len(found)):
        columns[place], counts[place] = found[place], of_found[place]
    if head >= 0 and len(found) == HEAD:
        for place in range(HEAD):
            heads.columns[head, place], heads.counts[head, place] = found[place], of_found[place]
        heads.least[head] = _least(heads.columns[head], heads.counts[head])
    return len(found)


@compiled
def _least(columns: Ints, counts: Ints | Longs) -> int:
    """Return the place of the smallest count, of equal ones that of the highest column."""
    least = 0
    for place in range(1, HEAD):
        if counts[place] < counts[least] or (counts[place] == counts[least] and columns[place] > columns[least]):
            least = place
    return least


@compiled
def _largest(columns: Ints, counts: Ints | Longs) -> tuple[Ints, Ints | Longs]:
    """Return the columns of the at most HEAD largest counts above 0, and these; equal ones go to the lower column."""
    live, of_live, n = np.empty(len(columns) + 1, np.int32), np.empty(len(columns) + 1, counts.dtype), 0
    keys = np.empty(len(columns) + 1, np.uint64)
    for slot in range(len(columns)):
        # A count alone may take all of a key's bits, so that equal ones are told apart in a second step.
        live[n], of_live[n], keys[n] = columns[slot], counts[slot], np.uint64(counts[slot])
        n += (columns[slot] != 0) & (counts[slot] > 0)
    if n <= HEAD:
        return live[:n], of_live[:n]
    select(keys, np.int64(n), np.int64(HEAD))
    last = np.int64(keys[0])
    for place in range(1, HEAD):
        if np.int64(keys[place]) < last:
            last = np.int64(keys[place])
    found, of_found, more, tied = np.empty(HEAD, np.int32), np.empty(HEAD, counts.dtype), 0, 0
    for place in range(n):
        if of_live[place] > last:
            found[more], of_found[more] = live[place], of_live[place]
            more += 1
        elif of_live[place] == last:
            keys[tied] = key_of(np.float32(0), live[place])
            tied += 1
    select(keys, np.int64(tied), np.int64(HEAD - more))
    for place in range(HEAD - more):
        found[more + place], of_found[more + place] = item_of(keys[place]), last
    return found, of_found
