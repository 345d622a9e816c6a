"""A Headrace store as a source: its events and items, read through SQLAlchemy and never written."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import polars as pl
import sqlalchemy as sa

from headrace.core.errors import DataError
from headrace.core.types import Scale
from headrace.data.columns import EVENT_FIELDS, ITEM_FIELDS
from headrace.data.tables import CHUNK_ROWS, ROW, RawTable, keep_chunks

_EVENTS = """
SELECT e.sequence, u.user_id, i.item_id, e.type, e.value, e.time, e.event_id, e.recommendation_id, e.context
FROM events AS e JOIN users AS u ON u.key = e.user_key JOIN items AS i ON i.key = e.item_key
ORDER BY e.sequence
"""
# State 1 is "in the catalogue"; the others are known from events only, or deleted.
_ITEMS = f"SELECT {', '.join(ITEM_FIELDS)} FROM items WHERE state = 1 ORDER BY key"
_SCALE = "SELECT value FROM meta WHERE key = 'scale'"
_EVENT_SCHEMA = {
    ROW: pl.Int64,
    **dict.fromkeys(EVENT_FIELDS, pl.String),
    "value": pl.Float64,
    "time": pl.Int64,
}
_ITEM_SCHEMA = {**dict.fromkeys(ITEM_FIELDS, pl.String), "price": pl.Float64, "available": pl.Boolean}


def is_store_url(source: str) -> bool:
    """Whether a source is a store's URL, such as `sqlite:///headrace.db`."""
    return "://" in source and source.split("://", 1)[0].split("+")[0] in ("sqlite", "postgresql")


def read_store(url: str, scratch: Path) -> tuple[RawTable, RawTable, Scale | None]:
    """Read a store's events, in the order in which they were accepted, its catalogue and its rating scale.

    Args:
        url: an SQLAlchemy URL.
        scratch: a folder for what does not fit in memory.

    Raises:
        DataError: no such store, or a database that is not one.
    """
    try:
        parsed = sa.make_url(url)
        name = parsed.render_as_string(hide_password=True)
        engine = sa.create_engine(parsed)
    except (sa.exc.SQLAlchemyError, ValueError, ImportError) as error:
        raise DataError(
            f"a store must be named by a URL such as sqlite:///headrace.db, this one cannot be opened: {error}"
        ) from None
    if parsed.get_backend_name() == "sqlite" and not Path(parsed.database or "").is_file():
        raise DataError(f"the store must exist, {name} does not; start a service on it, or name another")
    try:
        with engine.connect().execution_options(stream_results=True) as connection:
            rows = [(*row[:5], bool(row[5]), *row[6:]) for row in connection.execute(sa.text(_ITEMS))]
            items = pl.DataFrame(rows, schema=_ITEM_SCHEMA, orient="row")
            scale = connection.execute(sa.text(_SCALE)).scalar_one_or_none()
            events = keep_chunks(_chunks(connection), scratch, EVENT_FIELDS)
    except sa.exc.SQLAlchemyError as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"{name} must be a Headrace store and cannot be read as one: {reason}") from None
    finally:
        engine.dispose()
    numbered = items.with_row_index(ROW, offset=1).with_columns(pl.col(ROW).cast(pl.Int64))
    known = None if scale is None else msgspec.json.decode(scale, type=Scale)
    return RawTable(name, events), RawTable(f"{name} (items)", numbered.lazy()), known


def _chunks(connection: sa.Connection) -> Iterator[pl.DataFrame]:
    result = connection.execute(sa.text(_EVENTS))
    while rows := result.fetchmany(CHUNK_ROWS):
        yield pl.DataFrame([tuple(row) for row in rows], schema=_EVENT_SCHEMA, orient="row")
