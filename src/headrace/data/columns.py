"""Which column of a source holds what: the usual names are known, a flag names any other."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import polars as pl

from headrace.core.errors import DataError
from headrace.data.tables import ROW, RawTable, Role

EVENT_FIELDS = ("user_id", "item_id", "type", "value", "time", "event_id", "recommendation_id", "context")
ITEM_FIELDS = ("item_id", "title", "text", "categories", "price", "available", "image", "audio", "attributes")

# Compared without case and signs, so that `User ID`, `userId` and `user_id` are one name; the first that is there wins.
_EVENT_NAMES = {
    "user_id": "userid user uid customerid customer visitorid visitor memberid member accountid householdid "
    "reviewerid clientid personid sessionid session",
    "item_id": "itemid item productid product movieid asin parentasin sku trackid songid articleid bookid isbn "
    "videoid contentid listingid iid",
    "type": "type eventtype event action behaviortype interactiontype",
    "value": "value rating overall stars score eventvalue",
    "time": "time timestamp ts datetime eventtime transactiontimestamp createdat unixreviewtime date created",
    "event_id": "eventid",
    "recommendation_id": "recommendationid",
    "context": "context",
}
_ITEM_NAMES = {
    "item_id": f"{_EVENT_NAMES['item_id']} id",
    "title": "title name itemname productname itemtitle movietitle",
    "text": "text description desc summary about plot",
    "categories": "categories category genres genre tags",
    "price": "price unitprice listprice",
    "available": "available instock isavailable availability",
    "image": "image imageurl imurl picture thumbnail",
    "audio": "audio audiourl previewurl",
    "attributes": "attributes",
}
_FLAGS = {"user": "user_id", "item": "item_id", "time": "time", "type": "type", "value": "value"}
_READABLE: dict[str, tuple[type[pl.DataType], ...]] = {
    "value": (pl.String, pl.Null, pl.Boolean),
    "time": (pl.String, pl.Null, pl.Datetime, pl.Date),
}
_REQUIRED: dict[Role, tuple[str, ...]] = {"events": ("user_id", "item_id"), "items": ("item_id",)}


def match_columns(found: Sequence[str], role: Role, where: str, given: Mapping[str, str]) -> dict[str, str]:
    """Return the source's column for each of our fields.

    Args:
        found: the columns of the source.
        role: events or items.
        where: the source, for the message.
        given: what the flags named, by `user`, `item`, `time`, `type` or `value`; for items only `item` counts, and
            only where the catalogue has such a column.

    Raises:
        DataError: a column is not there, or is named for two fields.
    """
    fields = _matched(found, role, given)
    for field, name in fields.items():
        if name not in found:
            raise DataError(
                f"the column {name!r} for {field} must be in {where}; it has {_listed(found)}; "
                f"name one of them with --{_flag(field)}"
            )
        other = next(other for other, same in fields.items() if same == name)
        if other != field:
            raise DataError(
                f"a column can hold one thing, {name!r} of {where} is named for {other} and {field}; name another "
                f"with --{_flag(field)}"
            )
    for field in _REQUIRED[role]:
        if field not in fields:
            raise DataError(
                f"{where} must have a column for {field}; it has {_listed(found)}; name it with "
                f"--{_flag(field)} COLUMN (a CSV file names its columns in the first line)"
            )
    return fields


def id_columns(found: Sequence[str], role: Role, given: Mapping[str, str]) -> list[str]:
    """Return those of the columns `found` that would be taken for ids; see `match_columns`."""
    fields = _matched(found, role, given)
    return [name for field, name in fields.items() if field.endswith("_id") and name in found]


def _matched(found: Sequence[str], role: Role, given: Mapping[str, str]) -> dict[str, str]:
    fields = _given_fields(given)
    if role == "items":
        fields = {field: name for field, name in fields.items() if field == "item_id" and name in found}
    plain = {_plain(name): name for name in reversed(found) if name not in fields.values()}
    for field, usual in (_EVENT_NAMES if role == "events" else _ITEM_NAMES).items():
        known = [plain[name] for name in usual.split() if name in plain]
        if field not in fields and known:
            fields[field] = known[0]
    return fields


def take_columns(table: RawTable, fields: Mapping[str, str]) -> pl.LazyFrame:
    """Return the columns under our names, ids as text, with `ROW`.

    Raises:
        DataError: an id column is of a type that has no exact text.
    """
    schema = table.rows.collect_schema()
    taken = []
    for field, name in fields.items():
        column = pl.col(name)
        if field.endswith("_id") or field == "type":
            if not has_exact_text(schema[name]):
                raise DataError(
                    f"{field} must be text or whole numbers, the column {name!r} of {table.name} is of type "
                    f"{schema[name]}; write it as text"
                )
            column = column.cast(pl.String)
        elif field == "context" and schema[name] != pl.String:
            whole = column if isinstance(schema[name], pl.Struct) else pl.struct(name)
            column = pl.when(column.is_not_null()).then(whole.struct.json_encode())
        elif field in _READABLE and not (schema[name].is_numeric() or isinstance(schema[name], _READABLE[field])):
            raise DataError(
                f"{field} must be text or numbers, the column {name!r} of {table.name} is of type {schema[name]}; "
                f"name another with --{field}"
            )
        taken.append(column.alias(field))
    return table.rows.select(ROW, *taken)


def has_exact_text(dtype: pl.DataType) -> bool:
    """Whether ids of this type have one spelling as text: whole numbers and text do, floats do not."""
    return dtype.is_integer() or dtype in (pl.String, pl.Categorical, pl.Null) or isinstance(dtype, pl.Enum)


def _given_fields(given: Mapping[str, str]) -> dict[str, str]:
    fields = {}
    for key, name in given.items():
        field = _FLAGS.get(key, key)
        if field not in EVENT_FIELDS:
            raise DataError(f"columns may be named for {', '.join(_FLAGS)}, got {key!r}; use one of these")
        fields[field] = name
    return fields


def _flag(field: str) -> str:
    return field.removesuffix("_id")


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _listed(found: Sequence[str]) -> str:
    shown = ", ".join(repr(name[:40]) for name in found[:20])
    return f"the columns {shown}{' …' if len(found) > 20 else ''}" if found else "no columns"
