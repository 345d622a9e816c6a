"""The store: the only home of what changes while serving. Opening it, reading it; `writer.py` writes it.

SQLite with a write-ahead log. A reader sees every commit that returned before its statement began.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, TypeAlias, cast
from uuid import uuid4

import msgspec
import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, Engine, create_engine, event, func, insert, select
from sqlalchemy.engine import URL, Row, make_url
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import ArgumentError, OperationalError
from sqlalchemy.pool import ConnectionPoolEntry

from headrace.core.errors import SettingsError, StoreError
from headrace.core.types import Item, Scalar
from headrace.data.item_ids import ItemIds
from headrace.data.log import Longs
from headrace.serving import schema
from headrace.serving.schema import DELETED, STORE_FORMAT, events, items, meta, metadata, users

Rows: TypeAlias = NDArray[np.void]

EVENT_ROW = np.dtype([("user", "i8"), ("item", "i8"), ("time", "i8"), ("type", "i8"), ("sequence", "i8")])

_ATTEMPT_S = 0.05
"""How long one attempt to empty the log may keep the writer out."""


class StoredItem(msgspec.Struct, frozen=True):
    """An item with its key and where it stands (`schema.MENTIONED`, `LISTED`, `DELETED`)."""

    key: int
    state: int
    created: int
    changed: int
    item: Item


class StoredEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One event as `GET /v1/users/{user_id}` shows it; `time` and `received` in microseconds UTC."""

    sequence: int
    item_id: str
    type: str
    value: float | None
    time: int
    event_id: str | None
    recommendation_id: str | None
    context: dict[str, Scalar] | None
    received: int


class Store:
    """An open store. Reading is safe from any thread; only the writer thread writes."""

    path: Path
    engine: Engine
    item_ids: ItemIds
    """The ids of items by key, 1..V without gaps; the writer adds to it after a commit."""
    types: list[str]
    """Event types by their index, in order of first appearance."""

    def __init__(self, path: Path, engine: Engine, lock: int) -> None:
        """See `Store.open`."""
        self.path = path
        self.engine = engine
        self._lock = lock
        self.read_item_ids()
        self.types = msgspec.json.decode(self.read_meta("types") or "[]", type=list[str])

    @classmethod
    def open(cls, url: str) -> Store:
        """Open the store, making it if it is not there.

        Args:
            url: an SQLAlchemy URL, `sqlite:///` and a path.

        Raises:
            SettingsError: not such a URL.
            FormatError: the file is no store, or of a format that this version does not read.
            StoreError: another process serves from it, or it cannot be written.
        """
        path = store_path(url)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            lock = _lock(path)
        except OSError as error:
            raise StoreError(
                f"the store {path} must be writable: {error.strerror}; name another with --store"
            ) from None
        try:
            os.close(
                os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            )  # what people did is not for all to read
            schema.check_format(path)
            engine = create_engine(URL.create("sqlite", database=str(path)), connect_args={"timeout": 30})
            event.listen(engine, "connect", _prepare_connection)
            event.listen(engine, "begin", _begin)
            _create_tables(engine)
            store = cls(path, engine, lock)
            store.empty_log()  # it may hold what an erasure that was cut off has left
            return store
        except (OperationalError, OSError) as error:
            os.close(lock)
            reason = error.orig if isinstance(error, OperationalError) else error
            raise StoreError(
                f"the store {path} must be writable and its disk not full: {reason}; make room, or name another "
                "with --store"
            ) from None
        except BaseException:
            os.close(lock)
            raise

    def close(self) -> None:
        """Close every connection and let another process have the store."""
        self.engine.dispose()
        os.close(self._lock)

    def read_item_ids(self) -> None:
        """Read the ids of all items."""
        with self.engine.connect() as connection:
            rows = _cursor(connection, "SELECT item_id FROM items ORDER BY key", ())
            self.item_ids = ItemIds(item_id for (item_id,) in rows)

    def read_meta(self, key: str) -> str | None:
        """Return one entry of the `meta` table."""
        with self.engine.connect() as connection:
            return connection.execute(select(meta.c.value).where(meta.c.key == key)).scalar()

    def last_sequence(self) -> int:
        """Return the largest sequence number given so far, 0 in an empty store."""
        with self.engine.connect() as connection:
            return largest(connection, "sequence")

    def last_user(self) -> int:
        """Return the largest key given to a user so far, 0 in an empty store."""
        with self.engine.connect() as connection:
            return largest(connection, "user")

    def user_ids(self, keys: Sequence[int] | None = None) -> dict[int, str]:
        """Return user ids by key: of these keys, or all."""
        query = select(users.c.key, users.c.user_id).order_by(users.c.key)
        if keys is not None:
            query = query.where(users.c.key.in_(keys))
        with self.engine.connect() as connection:
            return {row.key: row.user_id for row in connection.execute(query)}

    def event_rows(self, after: int = 0) -> Rows:
        """Return the events of sequence above `after` as `EVENT_ROW`s, by sequence; `type` indexes `types`."""
        sql = "SELECT user_key, item_key, time, type, sequence FROM events WHERE sequence > ? ORDER BY sequence"
        index = self.type_index()
        with self.engine.connect() as connection:
            rows = _cursor(connection, sql, (after,))
            return np.fromiter(((user, item, time, index[kind], n) for user, item, time, kind, n in rows), EVENT_ROW)

    def fetch(self, sql: str, values: tuple[int | str, ...]) -> tuple[Any, ...]:
        """Read one row by one statement, which sees one state of the store, on the driver's own connection.

        Users are read for most events and answers of a large shop, and SQLAlchemy's work is most of the time.
        """
        connection = self.engine.raw_connection()
        try:
            cursor = connection.cursor()
            cursor.execute(sql, values)
            return cast("tuple[Any, ...]", cursor.fetchone())
        finally:
            connection.close()

    def type_index(self) -> dict[str, int]:
        """Return the index of each event type."""
        return {name: place for place, name in enumerate(self.types)}

    def busiest_users(self, limit: int) -> list[tuple[str, int]]:
        """Return the users with the most events, and how many."""
        sql = "SELECT u.user_id, e.n FROM (SELECT user_key, COUNT(*) AS n FROM events GROUP BY user_key "
        sql += "ORDER BY n DESC, user_key LIMIT ?) AS e JOIN users AS u ON u.key = e.user_key ORDER BY e.n DESC, u.key"
        with self.engine.connect() as connection:
            return [(user_id, n) for user_id, n in connection.exec_driver_sql(sql, (limit,))]

    def usual_type(self) -> str | None:
        """Return the most frequent event type, None without events."""
        query = select(events.c.type).group_by(events.c.type).order_by(func.count().desc(), events.c.type)
        with self.engine.connect() as connection:
            return connection.execute(query.limit(1)).scalar()

    def count(self, name: str) -> int:
        """Return how many `events` or `users` there are."""
        table = events if name == "events" else users
        with self.engine.connect() as connection:
            return connection.execute(select(func.count()).select_from(table)).scalar() or 0

    def event_numbers(self, user_id: str) -> Longs:
        """Return the sequence numbers of a user's events, oldest event first; empty if there are none."""
        sql = "SELECT e.time, e.sequence FROM users AS u JOIN events AS e ON e.user_key = u.key WHERE u.user_id = ?"
        with self.engine.connect() as connection:
            rows = connection.exec_driver_sql(sql, (user_id,))
            found = np.fromiter(
                ((time, sequence) for time, sequence in rows), np.dtype([("time", "i8"), ("sequence", "i8")])
            )
        return np.asarray(np.sort(found, order=("time", "sequence"))["sequence"], np.int64)

    def events(self, numbers: Sequence[int]) -> list[StoredEvent]:
        """Return events by their sequence numbers, in that order; those erased meanwhile are left out."""
        query = select(events, items.c.item_id).join(items, items.c.key == events.c.item_key)
        with self.engine.connect() as connection:
            found = {
                row.sequence: _event(row) for row in connection.execute(query.where(events.c.sequence.in_(numbers)))
            }
        return [found[number] for number in numbers if number in found]

    def empty_log(self) -> bool:
        """Move the write-ahead log into the file and empty it; False while a reader or the writer keeps it."""
        with closing(sqlite3.connect(self.path, timeout=_ATTEMPT_S, isolation_level=None)) as connection:
            try:
                return not connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
            except sqlite3.OperationalError:  # locked: the writer is in the middle of a commit
                return False

    def item(self, item_id: str) -> StoredItem | None:
        """Return an item, None if it was never heard of or is deleted."""
        with self.engine.connect() as connection:
            row = connection.execute(select(items).where(items.c.item_id == item_id)).first()
        return None if row is None or row.state == DELETED else read_item(row)

    def newest_time(self, after: int = 0) -> int | None:
        """Return the time of the newest event of sequence above `after`, None if there is none."""
        with self.engine.connect() as connection:
            return connection.execute(select(func.max(events.c.time)).where(events.c.sequence > after)).scalar()


def store_path(url: str) -> Path:
    """Return the full path of the file that a store's URL names.

    Raises:
        SettingsError: not a URL of an SQLite file.
    """
    try:
        parsed = make_url(url)
    except ArgumentError:
        parsed = None
    if (
        parsed is None
        or parsed.drivername not in ("sqlite", "sqlite+pysqlite")
        or parsed.database in (None, ":memory:")
    ):
        raise SettingsError(f"the store must be an SQLite file such as sqlite:///headrace.db, got {url!r}")
    return Path(str(parsed.database)).absolute()


def largest(connection: Connection, name: str) -> int:
    """Return the largest `sequence` or `user` key ever given; `meta` remembers it where the row has been erased."""
    column = events.c.sequence if name == "sequence" else users.c.key
    stored = connection.execute(select(meta.c.value).where(meta.c.key == f"last_{name}")).scalar()
    return max(int(stored or 0), connection.execute(select(func.max(column))).scalar() or 0)


def read_item(row: Row[tuple[object, ...]]) -> StoredItem:
    """Turn a row of `items` into an item."""
    item = Item(
        item_id=row.item_id,
        title=row.title,
        text=row.text,
        categories=tuple(msgspec.json.decode(row.categories or "[]", type=list[str])),
        price=row.price,
        available=row.available,
        image=row.image,
        audio=row.audio,
        attributes=msgspec.json.decode(row.attributes or "{}", type=dict[str, Scalar]),
    )
    return StoredItem(row.key, row.state, row.created, row.changed, item)


def item_columns(item: Item) -> dict[str, Scalar]:
    """Return the columns of `items` that hold what a client gave."""
    return {
        "title": item.title,
        "text": item.text,
        "categories": msgspec.json.encode(item.categories).decode() if item.categories else None,
        "price": item.price,
        "available": item.available,
        "image": item.image,
        "audio": item.audio,
        "attributes": msgspec.json.encode(item.attributes).decode() if item.attributes else None,
    }


def _cursor(connection: Connection, sql: str, values: tuple[int, ...]) -> Iterable[tuple[Any, ...]]:
    """Return the driver's own cursor, without a row object of SQLAlchemy's for each event."""
    cursor = connection.exec_driver_sql(sql, values).cursor
    assert cursor is not None
    return cursor  # type: ignore[return-value]  # sqlite3's cursor is iterable, which the driver's protocol leaves out


def _event(row: Row[tuple[object, ...]]) -> StoredEvent:
    context = msgspec.json.decode(row.context, type=dict[str, Scalar]) if row.context else None
    return StoredEvent(
        sequence=row.sequence,
        item_id=row.item_id,
        type=row.type,
        value=row.value,
        time=row.time,
        event_id=row.event_id,
        recommendation_id=row.recommendation_id,
        context=context,
        received=row.received,
    )


def _create_tables(engine: Engine) -> None:
    with engine.begin() as connection:
        metadata.create_all(connection)
        if connection.execute(select(meta.c.value).where(meta.c.key == "format")).scalar() is None:
            made = [("format", str(STORE_FORMAT)), ("store_id", uuid4().hex)]
            connection.execute(insert(meta), [{"key": key, "value": value} for key, value in made])


def _prepare_connection(connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
    # The driver must not begin transactions of its own: `_begin` does, so that reads are consistent too.
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "secure_delete=ON", "busy_timeout=30000"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN")


def _lock(path: Path) -> int:
    """Take the store for this process; the lock goes with the process, `kill -9` included."""
    handle = os.open(path.with_name(f"{path.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise StoreError(
            f"one process serves from a store, another one has {path} open; stop it or name another with --store"
        ) from None
    return handle
