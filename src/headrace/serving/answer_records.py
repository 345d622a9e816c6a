"""The record of answers: what it says of each, how it is written, and how it is kept within days and bytes.

Rows are numbered as they are written (SQLite's rowid), so the lowest number is the oldest answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from typing import NamedTuple

import msgspec
from sqlalchemy import Connection

from headrace.serving.batch import insert_rows
from headrace.serving.schema import DEFAULT_SCENARIO, answers

PORTION = 1000
"""Rows that one transaction deletes at most; whoever waits behind it waits some 20 ms."""
_SAMPLE = 500
"""Rows measured to know the bytes of all, evenly spread over the table; up to 999, which takes 3 ms."""
_PAGE, _LONGEST, _BEGINNING, _REST = 4096, 4061, 489, 4092
"""Bytes of a page; of the longest row that is not cut; of one that is, what stands with other rows at least, and what a
page of its own takes: sqlite.org/fileformat2.html, "payload overflow"."""
_FIXED = 35
"""Bytes of a row beside its texts: its numbers, lengths and place on the page."""
_INDICES = 85
"""Bytes of a row in the three indices: its id once more, user and time, and what pages of random users leave empty."""


class AnswerRecord(NamedTuple):
    """One answer given, a row of the table `answers`. It is written in the background, and nobody waits for it.

    Args:
        recommendation_id: 32 hexadecimal digits that begin with the time, see `moments.answer_id`.
        user_key: 1 or more; None where the store knew no such user, or the history came with the question.
        sequence: the last event counted in, 0 or more; `events_seen` of the answer.
        model: the version that answered, or `counts` or `degraded`, see `questions`.
        items: keys, 1 or more, best first, each once. The order is the positions: 0 is the first. May be empty.
        created: when it was answered, microseconds UTC.
        scenario: which was asked for; `DEFAULT_SCENARIO` where none was.
        propensities: for each item, in the order of `items`, the probability with which it was shown at its place,
            above 0 and up to 1. None where all are 1, as in any list without chance; the store has NULL then.
    """

    recommendation_id: str
    user_key: int | None
    sequence: int
    model: str
    items: Sequence[int]
    created: int
    scenario: str = DEFAULT_SCENARIO
    propensities: Sequence[float] | None = None


def write_answers(connection: Connection, records: Sequence[AnswerRecord]) -> None:
    """Record answers given."""
    if not records:
        return
    rows = [
        record._asdict()
        | {
            "items": msgspec.json.encode(record.items).decode(),
            "followed": False,
            "propensities": _propensities_text(record.propensities),
        }
        for record in records
    ]
    insert_rows(connection, answers, rows)


def prune_by_age(connection: Connection, before: int) -> int:
    """Delete the oldest answers given before a time, a portion at most; returns how many they were."""
    old = "SELECT rowid FROM answers WHERE created < ? ORDER BY created LIMIT ?"
    return connection.exec_driver_sql(f"DELETE FROM answers WHERE rowid IN ({old})", (before, PORTION)).rowcount


def prune_by_bytes(connection: Connection, most: int) -> int:
    """Delete the oldest answers where all take more than `most` bytes, a portion at most; returns how many they were.

    Call it until nothing is left to delete: each call measures anew, so that no more than a portion is deleted too
    much where old rows are longer than new ones. Freed pages of the file are used again, the file does not shrink.
    """
    taken = estimate_bytes(connection)
    if taken <= most:
        return 0
    first, last = _numbers(connection)
    surplus = ceil((last - first + 1) * (taken - most) / taken)
    below = first + min(surplus, PORTION)
    return connection.exec_driver_sql("DELETE FROM answers WHERE rowid < ?", (below,)).rowcount


def estimate_bytes(connection: Connection) -> int:
    """Return about how many bytes of the file the answers and their indices take, from a sample of them."""
    first, last = _numbers(connection)
    step = max(1, (last - first + 1) // _SAMPLE)
    asked = msgspec.json.encode(list(range(first, last + 1, step))).decode()
    texts = "recommendation_id || model || items || scenario || coalesce(propensities, '')"
    sql = f"SELECT length(CAST({texts} AS BLOB)) FROM answers WHERE rowid IN (SELECT value FROM json_each(?))"
    # A number whose row is gone, by an erasure, takes nothing: so those found stand for their share of all.
    return round(step * sum(_bytes_on_disk(length) for length in connection.exec_driver_sql(sql, (asked,)).scalars()))


def _numbers(connection: Connection) -> tuple[int, int]:
    """Return the lowest and the highest number of a row, one look at each end of the table; 1 and 0 without rows."""
    sql = "SELECT coalesce((SELECT min(rowid) FROM answers), 1), coalesce((SELECT max(rowid) FROM answers), 0)"
    first, last = connection.exec_driver_sql(sql).one()
    return first, last


def _bytes_on_disk(texts: int) -> float:
    """Return what a row with so many bytes of text takes.

    As many rows stand on a page as fit whole; of one longer than a page, the end has pages of its own.
    """
    row = beginning = texts + _FIXED
    if row > _LONGEST:
        beginning = _BEGINNING + (row - _BEGINNING) % _REST
        if beginning > _LONGEST:
            beginning = _BEGINNING
    pages = -(-(row - beginning) // _REST)
    return pages * _PAGE + _PAGE / (_LONGEST // beginning) + _INDICES


def _propensities_text(propensities: Sequence[float] | None) -> str | None:
    if propensities is None or all(one == 1 for one in propensities):
        return None
    return msgspec.json.encode(propensities).decode()
