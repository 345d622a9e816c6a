"""The tables of the store, their format number, and how an older store is brought up to it.

User ids stand in `users` alone; every other table uses the integer key, so that one row is all that names a person.
"""

from __future__ import annotations

import glob
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path

from sqlalchemy import Boolean, Column, Float, Index, Integer, MetaData, Table, Text

from headrace.core.errors import FormatError, StoreError

STORE_FORMAT = 2

DEFAULT_SCENARIO = "default"
"""The scenario of a question that names none."""

MENTIONED, LISTED, DELETED = 0, 1, 2
"""Where an item stands: known from events only, in the catalogue, or taken out of it."""

metadata = MetaData()

users = Table(
    "users",
    metadata,
    Column("key", Integer, primary_key=True),
    Column("user_id", Text, nullable=False, unique=True),
)

items = Table(
    "items",
    metadata,
    Column("key", Integer, primary_key=True),
    Column("item_id", Text, nullable=False, unique=True),
    Column("state", Integer, nullable=False),
    Column("title", Text),
    Column("text", Text),
    Column("categories", Text),
    Column("price", Float),
    Column("available", Boolean, nullable=False),
    Column("image", Text),
    Column("audio", Text),
    Column("attributes", Text),
    Column("created", Integer, nullable=False),
    Column("changed", Integer, nullable=False),
)

events = Table(
    "events",
    metadata,
    Column("sequence", Integer, primary_key=True),
    Column("user_key", Integer, nullable=False),
    Column("item_key", Integer, nullable=False),
    Column("type", Text, nullable=False),
    Column("value", Float),
    Column("time", Integer, nullable=False),
    Column("event_id", Text),
    Column("recommendation_id", Text),
    Column("context", Text),
    Column("received", Integer, nullable=False),
)

answers = Table(
    "answers",
    metadata,
    Column("recommendation_id", Text, primary_key=True),
    Column("user_key", Integer),
    Column("sequence", Integer, nullable=False),
    Column("model", Text, nullable=False),
    Column("items", Text, nullable=False),
    Column("created", Integer, nullable=False),
    Column("followed", Boolean, nullable=False),
    Column("scenario", Text, nullable=False, server_default=DEFAULT_SCENARIO),
    Column("propensities", Text),
)
"""See `answer_records.AnswerRecord`; `followed` once an event has named the answer."""

models = Table(
    "models",
    metadata,
    Column("version", Text, primary_key=True),
    Column("until", Integer, nullable=False),
    Column("taken", Integer, nullable=False),
)

meta = Table("meta", metadata, Column("key", Text, primary_key=True), Column("value", Text, nullable=False))

EVENT_INDICES = (
    Index("events_by_user", events.c.user_key, events.c.sequence),
    Index("events_by_event_id", events.c.event_id, unique=True, sqlite_where=events.c.event_id.is_not(None)),
)
Index("answers_by_user", answers.c.user_key)
Index("answers_by_created", answers.c.created)

UPGRADES: Mapping[int, Sequence[str]] = {
    1: (
        f"ALTER TABLE answers ADD COLUMN scenario TEXT DEFAULT '{DEFAULT_SCENARIO}' NOT NULL",
        "ALTER TABLE answers ADD COLUMN propensities TEXT",
    ),
}
"""From each format, the statements that lead to the next."""


def check_format(path: Path, *, newest: int = STORE_FORMAT, upgrades: Mapping[int, Sequence[str]] = UPGRADES) -> None:
    """Make sure that the file is a store of the newest format, upgrading the one before after copying it.

    A file that does not exist, or is empty, is fine: the tables will be made in it. The copy stands beside the store
    as `NAME.format-N`; it holds personal data, and the first erasure deletes it.

    Raises:
        FormatError: no SQLite file, not a store, or of a format that this version does not read.
        StoreError: there is no room for the copy, say; the store is as it was.
    """
    if not path.exists() or path.stat().st_size == 0:
        return
    number = _read_format(path)
    if number == newest:
        return
    if number != newest - 1 or number not in upgrades:
        raise FormatError(
            f"{path} must be a store of format {newest}, it is of {number}; start the Headrace version that wrote it "
            "and run `headrace prepare STORE --out DATASET` there, then serve with `--history DATASET`"
        )
    try:
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            _copy(connection, path.with_name(f"{path.name}.format-{number}"))
            connection.execute("BEGIN IMMEDIATE")
            for statement in upgrades[number]:
                connection.execute(statement)
            connection.execute("UPDATE meta SET value = ? WHERE key = 'format'", (str(newest),))
            connection.execute("COMMIT")
    except sqlite3.Error as error:
        raise StoreError(
            f"the store {path} must be copied and upgraded from format {number} to {newest}: {error}; nothing was "
            "changed, make room for the copy and start again"
        ) from None


def copies(path: Path) -> list[Path]:
    """Return the copies that upgrades left beside the store."""
    return sorted(path.parent.glob(f"{glob.escape(path.name)}.format-*"))


def _copy(connection: sqlite3.Connection, path: Path) -> None:
    """Copy a store for its owner alone, and what stands in its log, which a reader may keep from being emptied."""
    path.touch(mode=0o600)
    with closing(sqlite3.connect(path)) as copy:
        connection.backup(copy)


def _read_format(path: Path) -> int:
    try:
        with closing(sqlite3.connect(path)) as connection:
            row = connection.execute("SELECT value FROM meta WHERE key = 'format'").fetchone()
    except sqlite3.Error as error:
        raise FormatError(f"{path} must be a Headrace store, it is not ({error}); name another file") from None
    if row is None:
        raise FormatError(f"{path} must be a Headrace store, it holds no format number; name another file")
    return int(row[0])
