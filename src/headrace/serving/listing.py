"""What the items of a store say, read some at a time: of ten million nothing may stand in memory whole.

A statement gives the columns of some items as lists in JSON: the driver gives the interpreter lock away, and waits for
it, at each row, and other threads compute meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

import msgspec
import polars as pl

from headrace.data.item_ids import ItemIds
from headrace.ranking.catalogue import Catalogue
from headrace.serving.store import Store

_TOGETHER = 2000
"""Items of one statement: 2 ms."""
_STATEMENTS = 50
"""Whose items stand in one frame."""
_COLUMNS = {
    "item_id": pl.String,
    "title": pl.String,
    "text": pl.String,
    "categories": pl.String,
    "price": pl.Float64,
    "attributes": pl.String,
    "state": pl.Int8,
}


def listing(store: Store) -> Iterator[pl.DataFrame]:
    """Yield what every item says, by key 1..V, deleted ones too, as frames of `items.parquet`'s columns and `state`."""
    parts = (
        pl.DataFrame(dict(zip(_COLUMNS, lists, strict=True)), schema=_COLUMNS) for lists in _lists(store, [*_COLUMNS])
    )
    while frames := list(islice(parts, _STATEMENTS)):
        yield pl.concat(frames).with_columns(pl.col("categories").str.json_decode(pl.List(pl.String)))


def catalogue_of(store: Store) -> Catalogue:
    """Return the items of a store as the rules see them."""
    catalogue, texts = Catalogue(store.item_ids), dict[str | None, tuple[str, ...]]({None: ()})
    for titles, categories, available in _lists(store, ["title", "categories", "available"]):
        for text in set(categories) - texts.keys():
            texts[text] = tuple(msgspec.json.decode(str(text), type=list[str]))
        catalogue.extend(titles, [texts[text] for text in categories], available)
    return catalogue


def ids_of(ids: ItemIds) -> pl.Series:
    """Return all ids, in order."""
    each, parts = iter(ids), [pl.Series("item_id", [], pl.String)]
    while some := list(islice(each, _TOGETHER * _STATEMENTS)):
        parts.append(pl.Series("item_id", some, pl.String))
    return pl.concat(parts, rechunk=True)


def _lists(store: Store, columns: Sequence[str]) -> Iterator[list[list[Any]]]:
    """Yield lists of columns, by key; of all items that there are at the beginning."""
    arrays = ", ".join(f"json_group_array({name})" for name in columns)
    sql = f"SELECT {arrays} FROM (SELECT * FROM items WHERE key > ? AND key <= ? ORDER BY key)"
    last = len(store.item_ids)
    with store.engine.connect() as connection:
        for start in range(0, last, _TOGETHER):
            row = connection.exec_driver_sql(sql, (start, min(start + _TOGETHER, last))).one()
            yield [msgspec.json.decode(text) for text in row]
