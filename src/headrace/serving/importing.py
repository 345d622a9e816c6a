"""Import a dataset into the store, once: the past that a service starts with."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec
import numpy as np
import polars as pl
from sqlalchemy import Connection
from sqlalchemy.exc import OperationalError
from sqlalchemy.schema import CreateIndex, DropIndex

from headrace.core.errors import StoreError
from headrace.core.formats import VOCABULARY_FILE
from headrace.core.types import Item
from headrace.data.dataset import Dataset
from headrace.serving.batch import Counters, write_meta
from headrace.serving.schema import EVENT_INDICES, LISTED, MENTIONED
from headrace.serving.store import EVENT_ROW, Store, item_columns

_ROWS = 100_000
"""Rows that are turned into Python objects at once."""
_ITEM_COLUMNS = ("title", "text", "categories", "price", "available", "image", "audio", "attributes")


def import_dataset(store: Store, folder: Path, *, now: int) -> int:
    """Copy a dataset's events and items into the store and return how many events came in.

    A dataset that was imported before changes nothing, nor does an event that the store holds already (same user, item,
    type and time). Events of users marked as bots stay out. A dataset without times keeps its order per user: the n-th
    event of a user gets the time of n microseconds after 1970.

    Args:
        store: open, and not yet served from.
        folder: what `headrace prepare` wrote.
        now: the time of import, microseconds UTC.

    Raises:
        FormatError: no dataset.
        StoreError: the disk is full.
    """
    dataset = Dataset.open(folder)
    name = f"imported:{dataset.report.fingerprint}"
    if store.read_meta(name) is not None:
        return 0
    events = _events(dataset)
    try:
        with store.engine.begin() as connection:
            counters = Counters.read(connection, store)
            items = _import_items(connection, store, dataset.items(), now)
            users = _import_users(connection, events["user_id"].unique(maintain_order=True), counters.user_key)
            rows = events.join(users, on="user_id", how="left", maintain_order="left")
            rows = rows.join(items, on="item_id", how="left", maintain_order="left")
            types = list(dict.fromkeys([*store.types, *rows["type"].unique(maintain_order=True)]))
            if counters.sequence:
                rows = _without_known(rows, store)
            _import_events(connection, rows, counters.sequence, now)
            write_meta(connection, "types", msgspec.json.encode(types).decode())
            write_meta(connection, name, str(now))
            if dataset.report.scale is not None:
                write_meta(connection, "scale", msgspec.json.encode(dataset.report.scale).decode())
    except OperationalError as error:
        raise StoreError(f"the dataset {folder} could not be imported into {store.path}: {error.orig}") from None
    store.read_item_ids()
    store.types[:] = types
    return rows.height


def import_catalogue(store: Store, model: Path, *, now: int) -> None:
    """Give a store that knows no item those of a model folder, so that the model has something to list.

    Raises:
        StoreError: the disk is full.
    """
    path = model / VOCABULARY_FILE
    if len(store.item_ids) or not path.is_file():
        return
    try:
        with store.engine.begin() as connection:
            _import_items(connection, store, pl.read_parquet(path), now)
    except OperationalError as error:
        raise StoreError(f"the items of {model} could not be imported into {store.path}: {error.orig}") from None
    store.read_item_ids()


def _events(dataset: Dataset) -> pl.DataFrame:
    events = dataset.events().filter(~pl.col("bot")).collect()
    if not dataset.report.has_times:
        events = events.with_columns(time=pl.int_range(pl.len(), dtype=pl.Int64).over("user_id") + 1)
    return events


def _import_items(connection: Connection, store: Store, frame: pl.DataFrame, now: int) -> pl.DataFrame:
    """Insert the items that the store lacks and return `item_id, item_key` of all of the dataset's."""
    keys, last = np.empty(frame.height, np.int64), len(store.item_ids)
    for start in range(0, frame.height, _ROWS):
        part = frame[start : start + _ROWS]
        columns = [part[name].to_list() if name in part.columns else [None] * part.height for name in _ITEM_COLUMNS]
        rows: list[tuple[object, ...]] = []
        for place, (item_id, *fields) in enumerate(zip(part["item_id"].to_list(), *columns, strict=True), start):
            keys[place] = store.item_ids.index(item_id)
            if not keys[place]:
                keys[place] = last = last + 1
                rows.append(_item_row(last, item_id, fields, now))
        _insert(connection, "items", 13, rows)
    return frame.select("item_id", pl.Series("item_key", keys))


def _item_row(key: int, item_id: str, fields: Sequence[object], now: int) -> tuple[object, ...]:
    named = {name: value for name, value in zip(_ITEM_COLUMNS, fields, strict=True) if value is not None}
    if isinstance(named.get("attributes"), str):
        named["attributes"] = msgspec.json.decode(str(named["attributes"]))
    item = msgspec.convert({"item_id": item_id, **named}, Item)
    return (key, item_id, LISTED if named else MENTIONED, *item_columns(item).values(), now, now)


def _import_users(connection: Connection, ids: pl.Series, last: int) -> pl.DataFrame:
    """Insert the users that the store lacks and return `user_id, user_key` of all."""
    schema = {"user_id": pl.String, "user_key": pl.Int64}
    found = connection.exec_driver_sql("SELECT user_id, key FROM users").all() if last else []
    known = pl.DataFrame([tuple(row) for row in found], schema=schema, orient="row")
    fresh = ids.to_frame("user_id").join(known, on="user_id", how="anti", maintain_order="left")
    fresh = fresh.with_columns(user_key=pl.int_range(last + 1, last + 1 + pl.len(), dtype=pl.Int64))
    _insert(connection, "users", 2, fresh.select("user_key", "user_id").iter_rows())
    return pl.concat([known, fresh])


def _without_known(rows: pl.DataFrame, store: Store) -> pl.DataFrame:
    stored = pl.from_numpy(store.event_rows(), schema=dict.fromkeys(EVENT_ROW.names or (), pl.Int64))
    kinds = pl.DataFrame(
        {"type": range(len(store.types)), "name": store.types}, schema={"type": pl.Int64, "name": pl.String}
    )
    stored = stored.join(kinds, on="type").select(user_key="user", item_key="item", time="time", type="name")
    return rows.join(stored, on=["user_key", "item_key", "time", "type"], how="anti", maintain_order="left")


def _import_events(connection: Connection, rows: pl.DataFrame, last: int, now: int) -> None:
    # Where there were no events before, the indices are made at once at the end, not row by row.
    fill = not last
    if fill:
        for index in EVENT_INDICES:
            connection.execute(DropIndex(index))
    optional = [name for name in ("value", "event_id", "recommendation_id", "context") if rows[name].count()]
    columns = rows.select(
        pl.int_range(last + 1, last + 1 + pl.len(), dtype=pl.Int64).alias("sequence"),
        *("user_key", "item_key", "type", "time", *optional),
    )
    places = ",".join("?" * columns.width)
    sql = f"INSERT INTO events ({','.join(columns.columns)}, received) VALUES ({places}, {int(now)})"
    for part in columns.iter_slices(_ROWS):
        connection.exec_driver_sql(sql, part.rows())
    if fill:
        for index in EVENT_INDICES:
            connection.execute(CreateIndex(index))


def _insert(connection: Connection, table: str, width: int, rows: Iterable[tuple[object, ...]]) -> None:
    listed = list(rows)
    if listed:
        places = ",".join("?" * width)
        connection.exec_driver_sql(f"INSERT INTO {table} VALUES ({places})", listed)
