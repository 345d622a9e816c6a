"""What one transaction writes: the events and items of the requests that waited together.

A request is checked as a whole before a row of it is written, so that one with a fault leaves nothing behind and does
not disturb the others of its group.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import islice
from typing import NamedTuple, TypeVar

import msgspec
from sqlalchemy import Connection, Dialect, Table, insert, select, update

from headrace.core.errors import ConflictError, NotFoundError
from headrace.core.types import Event, Item, Scalar
from headrace.data.row_rules import event_type
from headrace.serving.schema import DELETED, LISTED, MENTIONED, answers, events, items, meta, users
from headrace.serving.store import Store, StoredItem, item_columns, largest, read_item

_CHUNK = 5000
"""Values in one `IN (...)`; SQLite allows 32,766."""
_ROWS_TOGETHER = 50
"""Rows of one statement; the driver keeps some 100 statements ready, and each number of rows is one of its own."""

Value = TypeVar("Value")


class Written(msgspec.Struct, frozen=True):
    """What became of a list of events. `sequence` is the largest number among them, retries included."""

    accepted: int
    duplicates: int
    sequence: int


class Applied(NamedTuple):
    """One event as the engine takes it in; `type` is an index into `Store.types`."""

    sequence: int
    user_key: int
    user_id: str
    item_key: int
    type: int
    value: float | None
    time: int


@dataclass
class Commit:
    """What a transaction changed, for the engine.

    Args:
        events: by sequence.
        mentioned: (key, id) of items never heard of before, by key.
        items: those put, changed or deleted.
        duplicates: events that came again.
        followed: answers that led to an event, per model.
        since: when the first request of the group came, by `perf_counter`.
    """

    events: list[Applied] = field(default_factory=list)
    mentioned: list[tuple[int, str]] = field(default_factory=list)
    items: list[StoredItem] = field(default_factory=list)
    duplicates: int = 0
    followed: Counter[str] = field(default_factory=Counter)
    since: float | None = None


@dataclass
class Counters:
    """The last numbers given."""

    sequence: int
    user_key: int
    item_key: int

    @classmethod
    def read(cls, connection: Connection, store: Store) -> Counters:
        """Read them from the store."""
        return cls(largest(connection, "sequence"), largest(connection, "user"), len(store.item_ids))


class _Content(NamedTuple):
    """What must be equal for two events of one `event_id` to be the same event; the time is compared apart."""

    user_id: str
    item_id: str
    type: str
    value: float | None
    recommendation_id: str | None
    context: str | None


class _Known(NamedTuple):
    sequence: int
    content: _Content
    time: int
    received: int


class Batch:
    """One open transaction. Call the verbs, then `flush`, commit, and `publish` what became visible."""

    def __init__(self, connection: Connection, store: Store, counters: Counters, now: int) -> None:
        """`now` is the time of receipt, microseconds UTC; `counters` are moved only by `publish`."""
        self.connection = connection
        self._store = store
        self._counters = counters
        self._next = Counters(counters.sequence, counters.user_key, counters.item_key)
        self._now = now
        self._types = {name: index for index, name in enumerate(store.types)}
        self._users: dict[str, int] = {}
        self._known: dict[str, _Known] = {}
        self._new_items: dict[str, int] = {}
        self._user_rows: list[dict[str, Scalar]] = []
        self._item_rows: list[dict[str, Scalar]] = []
        self._event_rows: list[dict[str, Scalar]] = []
        self.commit = Commit()

    def prefetch(self, coming: Iterable[Event]) -> None:
        """Read what is known of the users and event ids of the whole group, in as few statements as possible."""
        listed = list(coming)
        self._users.update(known_users(self.connection, {event.user_id for event in listed}))
        for some in chunks({event.event_id for event in listed if event.event_id is not None}, _CHUNK):
            query = select(events, users.c.user_id, items.c.item_id)
            query = query.join(users, users.c.key == events.c.user_key).join(items, items.c.key == events.c.item_key)
            for row in self.connection.execute(query.where(events.c.event_id.in_(some))):
                content = _Content(row.user_id, row.item_id, row.type, row.value, row.recommendation_id, row.context)
                self._known[row.event_id] = _Known(row.sequence, content, row.time, row.received)

    def add_events(self, given: Sequence[Event]) -> Written:
        """Take a list of events, whole or not at all; `prefetch` must have seen them.

        Raises:
            ConflictError: an `event_id` is known with other content.
        """
        fresh: list[tuple[Event, _Content]] = []
        own: dict[str, _Known] = {}
        last = duplicates = 0
        for event in given:
            content = _content(event)
            known = None if event.event_id is None else own.get(event.event_id) or self._known.get(event.event_id)
            if known is not None:
                _check_same(event, content, known)
                duplicates += 1
                last = max(last, known.sequence)
                continue
            fresh.append((event, content))
            if event.event_id is not None:
                time = self._now if event.time is None else event.time
                own[event.event_id] = _Known(self._next.sequence + len(fresh), content, time, self._now)
        for event, content in fresh:
            self._add_event(event, content)
        self._known.update(own)
        self.commit.duplicates += duplicates
        return Written(len(fresh), duplicates, self._next.sequence if fresh else last)

    def upsert_items(self, given: Sequence[Item]) -> list[StoredItem]:
        """Put items into the catalogue, each replacing what was there; the last of one id wins."""
        self.flush()
        stored: dict[str, StoredItem] = {}
        existing = self._read_items([item.item_id for item in given])
        for item in given:
            before = stored.get(item.item_id) or existing.get(item.item_id)
            key = self._item_key(item.item_id) if before is None else before.key
            first = before is None or before.state != LISTED
            same = before is not None and before.item.content_text() == item.content_text()
            stored[item.item_id] = StoredItem(
                key,
                LISTED,
                self._now if before is None or first else before.created,
                before.changed if before is not None and same else self._now,
                item,
            )
        self.flush()
        self._write_items(list(stored.values()))
        return list(stored.values())

    def patch_item(self, item_id: str, changes: Mapping[str, object]) -> StoredItem:
        """Change some fields of an item; see `merge_item`.

        Raises:
            NotFoundError: there is no such item.
        """
        self.flush()
        before = self._read_items([item_id]).get(item_id)
        if before is None or before.state == DELETED:
            raise NotFoundError(f"no item has the id {item_id!r}; PUT it first")
        return self.upsert_items([merge_item(before.item, changes)])[0]

    def delete_item(self, item_id: str) -> StoredItem:
        """Take an item out of the catalogue; events keep pointing at it.

        Raises:
            NotFoundError: there is no such item.
        """
        self.flush()
        before = self._read_items([item_id]).get(item_id)
        if before is None or before.state == DELETED:
            raise NotFoundError(f"no item has the id {item_id!r}")
        gone = StoredItem(before.key, DELETED, before.created, self._now, Item(item_id=item_id, available=False))
        self._write_items([gone])
        return gone

    def flush(self) -> None:
        """Send the rows that wait to the database."""
        for table, rows in ((users, self._user_rows), (items, self._item_rows), (events, self._event_rows)):
            if rows:
                insert_rows(self.connection, table, rows)
        led = {str(row["recommendation_id"]) for row in self._event_rows if row["recommendation_id"] is not None}
        for some in chunks(led, _CHUNK):
            follow = update(answers).where(answers.c.recommendation_id.in_(some), ~answers.c.followed)
            done = self.connection.execute(follow.values(followed=True).returning(answers.c.model))
            self.commit.followed.update(row.model for row in done)
        if len(self._types) > len(self._store.types):
            write_meta(self.connection, "types", msgspec.json.encode(list(self._types)).decode())
        self._user_rows, self._item_rows, self._event_rows = [], [], []

    def publish(self) -> Commit:
        """Make the new keys and types known, after the commit, and return what changed."""
        for item_id, key in self._new_items.items():
            added = self._store.item_ids.append(item_id)
            assert added == key, "keys have no gaps"
        self._store.types[:] = self._types
        self._counters.sequence = self._next.sequence
        self._counters.user_key = self._next.user_key
        self._counters.item_key = self._next.item_key
        return self.commit

    def _add_event(self, event: Event, content: _Content) -> None:
        user_key = self._user_key(event.user_id)
        item_key = self._item_key(event.item_id)
        kind = self._types.setdefault(content.type, len(self._types))
        self._next.sequence += 1
        time = self._now if event.time is None else event.time
        self._event_rows.append(
            {
                "sequence": self._next.sequence,
                "user_key": user_key,
                "item_key": item_key,
                "type": content.type,
                "value": event.value,
                "time": time,
                "event_id": event.event_id,
                "recommendation_id": event.recommendation_id,
                "context": content.context,
                "received": self._now,
            }
        )
        applied = Applied(self._next.sequence, user_key, event.user_id, item_key, kind, event.value, time)
        self.commit.events.append(applied)

    def _user_key(self, user_id: str) -> int:
        key = self._users.get(user_id)
        if key is None:
            self._next.user_key += 1
            key = self._users[user_id] = self._next.user_key
            self._user_rows.append({"key": key, "user_id": user_id})
        return key

    def _item_key(self, item_id: str) -> int:
        """Return the key of an item; one never heard of gets a row without content."""
        key = self._new_items.get(item_id) or self._store.item_ids.index(item_id)
        if not key:
            self._next.item_key += 1
            key = self._new_items[item_id] = self._next.item_key
            self.commit.mentioned.append((key, item_id))
            empty = item_columns(Item(item_id=item_id))
            self._item_rows.append(
                {
                    "key": key,
                    "item_id": item_id,
                    "state": MENTIONED,
                    "created": self._now,
                    "changed": self._now,
                    **empty,
                }
            )
        return key

    def _read_items(self, ids: Sequence[str]) -> dict[str, StoredItem]:
        found: dict[str, StoredItem] = {}
        for some in chunks(ids, _CHUNK):
            rows = self.connection.execute(select(items).where(items.c.item_id.in_(some)))
            found.update({row.item_id: read_item(row) for row in rows})
        return found

    def _write_items(self, stored: Sequence[StoredItem]) -> None:
        for one in stored:
            stands = {"state": one.state, "created": one.created, "changed": one.changed}
            self.connection.execute(update(items).where(items.c.key == one.key), stands | item_columns(one.item))
        self.commit.items.extend(stored)


def merge_item(item: Item, changes: Mapping[str, object]) -> Item:
    """Return an item with some fields changed (RFC 7396): the attributes that are not named stay, null removes one."""
    merged = msgspec.structs.asdict(item) | dict(changes)
    if "attributes" in changes:
        named = msgspec.convert(changes["attributes"], dict[str, Scalar] | None)
        both = {} if named is None else item.attributes | named
        merged["attributes"] = {name: value for name, value in both.items() if value is not None}
    return msgspec.convert(merged, Item)


def known_users(connection: Connection, ids: Iterable[str]) -> dict[str, int]:
    """Return the keys of those users that the store knows."""
    sql = "SELECT json_group_array(user_id), json_group_array(key) FROM users "
    sql += "WHERE user_id IN (SELECT value FROM json_each(?))"
    row = connection.exec_driver_sql(sql, (msgspec.json.encode(list(ids)).decode(),)).one()
    known: list[str] = msgspec.json.decode(row[0])
    return dict(zip(known, msgspec.json.decode(row[1], type=list[int]), strict=True))


def insert_rows(connection: Connection, table: Table, rows: Sequence[Mapping[str, Scalar]]) -> None:
    """Insert rows that name the same columns, past SQLAlchemy's work on each row, which takes most of the time.

    Many rows are one statement: at its end alone the driver gives the interpreter lock away and waits for it.
    """
    sql, row_sql, names = _insert_statement(table, connection.dialect, tuple(rows[0]))
    for some in chunks(rows, _ROWS_TOGETHER):
        cells = tuple(row[name] for row in some for name in names)
        connection.exec_driver_sql(sql + f", {row_sql}" * (len(some) - 1), cells)


@lru_cache(maxsize=64)
def _insert_statement(table: Table, dialect: Dialect, columns: tuple[str, ...]) -> tuple[str, str, tuple[str, ...]]:
    """Return the statement in the words of a database, its part for a row, and the columns in the order of places."""
    compiled = insert(table).compile(dialect=dialect, column_keys=list(columns))
    sql = str(compiled)
    return sql, sql[sql.rindex("(") :], tuple(getattr(compiled, "positiontup", None) or columns)


def write_meta(connection: Connection, key: str, value: str) -> None:
    """Set one entry of the `meta` table."""
    if connection.execute(update(meta).where(meta.c.key == key), {"value": value}).rowcount == 0:
        connection.execute(insert(meta), {"key": key, "value": value})


def chunks(values: Iterable[Value], size: int) -> Iterator[list[Value]]:
    """Cut values into lists of at most `size`."""
    rest = iter(values)
    while some := list(islice(rest, size)):
        yield some


def _content(event: Event) -> _Content:
    context = None if event.context is None else msgspec.json.encode(event.context, order="deterministic").decode()
    return _Content(event.user_id, event.item_id, event_type(event), event.value, event.recommendation_id, context)


def _check_same(event: Event, content: _Content, known: _Known) -> None:
    """A retry without a time equals a first attempt without one: such an event took its time of receipt."""
    time = known.received if event.time is None else event.time
    if content != known.content or time != known.time:
        raise ConflictError(
            f"an event_id names one event for ever, {event.event_id!r} is stored with other content; "
            "send a new event_id for a new event"
        )
