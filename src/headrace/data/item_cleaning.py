"""Cleaning of a catalogue: ids, titles, markup, prices, units and categories; what has no name of its own is kept."""

from __future__ import annotations

import ast
import html
import json
import math
import re
from collections.abc import Iterable

import msgspec
import polars as pl

from headrace.core.errors import DataError
from headrace.core.formats import CleaningStep
from headrace.data.columns import has_exact_text, match_columns
from headrace.data.row_rules import check_id
from headrace.data.tables import DROPPED_SCHEMA, ROW, RawTable, as_text, by_text, raw_text

ITEM_SCHEMA: dict[str, pl.DataType] = {
    "item_id": pl.String(),
    "title": pl.String(),
    "text": pl.String(),
    "categories": pl.List(pl.String()),
    "price": pl.Float64(),
    "available": pl.Boolean(),
    "image": pl.String(),
    "audio": pl.String(),
    "attributes": pl.String(),
}
"""The columns of `items.parquet`. An item that only events mention has nothing but its id, `available` null too."""

_NO_CATEGORY = frozenset({"(no genres listed)", "none", "null", "nan", "n/a", ""})
_YES = frozenset({"true", "yes", "y", "t", "in stock", "instock", "available"})
_NO = frozenset({"false", "no", "n", "f", "out of stock", "outofstock", "sold out", "unavailable"})
_BLOCKS = re.compile(r"<(script|style)\b.*?</\1\s*>|<!--.*?-->", re.IGNORECASE | re.DOTALL)
# Only the names that HTML has, so that `a<b and c>d` and an address in angle brackets stay.
_TAGS = re.compile(
    r"</?(a|abbr|b|big|blockquote|body|br|center|code|dd|div|dl|dt|em|font|h[1-6]|head|hr|html|i|iframe|img|input|li|"
    r"link|meta|ol|p|picture|pre|s|section|small|source|span|strike|strong|style|sub|sup|svg|table|tbody|td|th|thead|"
    r"title|tr|tt|u|ul|video|script)\b[^<>]*>",
    re.IGNORECASE,
)
_SPACE = re.compile(r"[\s\u200b\ufeff\x00-\x1f\x7f-\x9f]+")
_MEASURE = re.compile(r"(\d+(?:[.,]\d+)?)\s*([a-zA-Z]+)\.?")
_UNITS = {
    **{unit: unit for unit in ("oz", "lb", "g", "kg", "mg", "ml", "cl", "l", "cm", "mm", "m", "ft", "in", "gal", "ct")},
    "lbs": "lb",
    "gr": "g",
    "kgs": "kg",
    "ltr": "l",
    "litre": "l",
    "liter": "l",
    "inch": "in",
    "count": "ct",
}
# An attribute that is a number everywhere is kept as one; 007 and the like are codes.
_NUMBER = re.compile(r"-?(0|[1-9]\d{0,14})(\.\d+)?")


def clean_items(
    table: RawTable, item_column: str | None = None
) -> tuple[pl.DataFrame, list[CleaningStep], pl.DataFrame]:
    """Clean a catalogue.

    Args:
        table: of any columns, one of which holds the id.
        item_column: that column, if the table has one of this name; else it is found by the usual names.

    Returns:
        The items by `ITEM_SCHEMA` in the order of the source; the steps; the dropped rows by `tables.DROPPED_SCHEMA`.

    Raises:
        DataError: no column holds the id.
    """
    given = {} if item_column is None else {"item": item_column}
    names = match_columns(table.columns, "items", table.name, given)
    dtype = table.rows.collect_schema()[names["item_id"]]
    if not has_exact_text(dtype):
        raise DataError(
            f"item_id must be text or whole numbers, the column {names['item_id']!r} of {table.name} is of type "
            f"{dtype}; write it as text"
        )
    rows = table.rows.collect()
    ids, dropped = _good_ids(rows, names, table)
    rows = rows.join(ids.select(ROW), on=ROW, how="semi", maintain_order="left")
    steps = [
        CleaningStep(step, reason, n)
        for step, reason, n in dropped.group_by("step", "reason", maintain_order=True).len().iter_rows()
    ]
    columns: dict[str, pl.Series] = {"item_id": ids["item_id"]}
    for field in ("title", "text", "image", "audio"):
        if field in names:
            columns[field] = by_text(_as_strings(rows[names[field]]), clean_text, pl.String())
    if "title" in names:
        steps.append(CleaningStep("empty titles", "marked: kept without a title", columns["title"].null_count()))
    columns["categories"] = _categories(rows, names)
    columns["price"], lost = _prices(rows, names)
    steps.append(CleaningStep("prices", "marked: kept without a price, which must be a number of 0 or more", lost))
    columns["available"], lost = _available(rows, names)
    steps.append(CleaningStep("availability", "marked: taken as available, which must be true or false", lost))
    columns["attributes"] = _attributes(rows, names)
    items = pl.DataFrame(
        {
            name: columns.get(name, pl.repeat(None, rows.height, dtype=dtype, eager=True))
            for name, dtype in ITEM_SCHEMA.items()
        },
        schema=ITEM_SCHEMA,
    )
    return items, steps, dropped


def parse_price(text: str) -> float | None:
    """Return a price from text such as `$1,234.50`, `1.234,50 €` or `12.5`; None if it is not one price.

    Where both signs stand the last is the decimal point; a single comma is, unless three digits follow it.
    """
    plain = re.sub(r"^\D*[^\W\d_]\.?(?=\s*\d)", "", text.replace("\u00a0", " "))
    found = re.match(r"[^\d\-]*?([.,]?\d.*?)\D*$", plain, re.DOTALL)
    if found is None:
        return None
    digits = re.sub(r"[\s'’](?=\d{3}(\D|$))", "", found[1])
    both = re.fullmatch(r"(\d{1,3}(?:,\d{2,3})+)\.(\d+)|(\d{1,3}(?:\.\d{3})+),(\d+)", digits)
    if both:
        whole, part = (both[1], both[2]) if both[1] else (both[3], both[4])
        digits = re.sub(r"[.,]", "", whole) + "." + part
    elif re.fullmatch(r"\d{1,3}(,\d{3})+|\d{1,3}(\.\d{3}){2,}", digits):
        digits = re.sub(r"[.,]", "", digits)
    elif re.fullmatch(r"\d*[.,]?\d+", digits):
        digits = digits.replace(",", ".")
    else:
        return None
    price = float(digits)
    return price if math.isfinite(price) else None


def clean_text(text: str) -> str | None:
    """Return text without markup, entities and runs of space; None if nothing is left."""
    while True:
        plain = html.unescape(text) if "&" in text else text
        if "<" in plain:
            plain = _TAGS.sub(" ", _BLOCKS.sub(" ", plain))
        if plain == text:
            break
        text = plain
    return _SPACE.sub(" ", text).strip() or None


def split_categories(text: str) -> list[str]:
    """Return the categories of text that is a JSON list, or split by `|` or `;`; without repeats, in order."""
    text = text.strip()
    parts: list[str] | None = None
    if text.startswith("["):
        parts = _listed(text)
    if parts is None:
        parts = re.split(r"[|;]", text)
    return tidy_categories(parts)


def tidy_categories(parts: Iterable[str]) -> list[str]:
    """Return categories as clean text, without repeats and words for "none", in order."""
    tidied = (clean_text(part) for part in parts)
    return list(dict.fromkeys(part for part in tidied if part is not None and part.lower() not in _NO_CATEGORY))


def tidy_measure(text: str) -> str:
    """Return a measure such as `12OZ` or `0,5 Litre` as `12 oz`, `0.5 l`; other text as it is."""
    found = _MEASURE.fullmatch(text.strip())
    if found is None or found[2].lower() not in _UNITS:
        return text
    return f"{found[1].replace(',', '.')} {_UNITS[found[2].lower()]}"


def _good_ids(rows: pl.DataFrame, names: dict[str, str], table: RawTable) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return `ROW, item_id` of the rows that stay, and the dropped rows."""
    texts = [None if value is None else as_text(value) for value in rows[names["item_id"]].to_list()]
    frame = pl.DataFrame({ROW: rows[ROW], "item_id": pl.Series(texts, dtype=pl.String()).fill_null("")})
    faults = by_text(frame["item_id"], check_id, pl.String())
    frame = frame.with_columns(fault=faults)
    bad = frame.filter(pl.col("fault").is_not_null()).select(ROW, step=pl.lit("bad ids"), reason="fault")
    good = frame.filter(pl.col("fault").is_null())
    again = good.filter(~pl.col("item_id").is_last_distinct())
    reason = pl.lit("the same id stands in a later row, which holds, as in an upsert")
    bad = pl.concat([bad, again.select(ROW, step=pl.lit("duplicate ids"), reason=reason)])
    # The catalogue's columns stay apart from ours: it may have a `step` and a `reason` of its own.
    shown = bad.select(ROW).join(rows, on=ROW, how="left", maintain_order="left")
    raw = raw_text(shown, {name: name for name in table.columns if shown.schema[name] != pl.List})
    dropped = bad.select(source=pl.lit(table.name), row=ROW, step="step", reason="reason").with_columns(raw)
    return good.filter(pl.col("item_id").is_last_distinct()), pl.concat(
        [table.dropped, dropped.select(*DROPPED_SCHEMA)]
    )


def _as_strings(column: pl.Series) -> pl.Series:
    if column.dtype == pl.String:
        return column
    return pl.Series([None if value is None else as_text(value) for value in column.to_list()], dtype=pl.String())


def _categories(rows: pl.DataFrame, names: dict[str, str]) -> pl.Series:
    dtype = ITEM_SCHEMA["categories"]
    if "categories" not in names:
        return pl.repeat(None, rows.height, dtype=pl.Null, eager=True).cast(dtype)
    column = rows[names["categories"]]
    if not isinstance(column.dtype, pl.List):
        return by_text(_as_strings(column), split_categories, dtype)
    lists = column.cast(dtype, strict=False).to_frame("one").with_row_index("place")
    given = lists.select("place", pl.col("one").is_not_null().alias("given"))
    ones = lists.explode("one").drop_nulls("one")
    tidied = ones.with_columns(
        by_text(ones["one"], lambda text: next(iter(tidy_categories([text])), None), pl.String()).alias("one")
    )
    tidied = tidied.drop_nulls("one").unique(["place", "one"], keep="first", maintain_order=True)
    merged = given.join(tidied.group_by("place").agg("one"), on="place", how="left", maintain_order="left")
    empty = pl.lit([], dtype=dtype)
    return merged.select(pl.when("given").then(pl.col("one").fill_null(empty)).alias("categories"))["categories"]


def _listed(text: str) -> list[str] | None:
    try:
        found = json.loads(text)
    except ValueError:
        try:
            # pandas writes lists as Python does, in single quotes.
            found = ast.literal_eval(text)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            return None
    return [as_text(part) for part in found if part is not None] if isinstance(found, list) else None


def _prices(rows: pl.DataFrame, names: dict[str, str]) -> tuple[pl.Series, int]:
    if "price" not in names:
        return pl.repeat(None, rows.height, dtype=pl.Float64, eager=True), 0
    column = rows[names["price"]]
    if column.dtype == pl.String:
        given = column.str.strip_chars().str.len_bytes() > 0
        prices = by_text(column, parse_price, pl.Float64())
    else:
        given, prices = column.is_not_null(), column.cast(pl.Float64, strict=False)
        prices = prices.to_frame("p").select(pl.when(pl.col("p").is_finite() & (pl.col("p") >= 0)).then("p"))["p"]
    return prices, int((given & prices.is_null()).sum())


def _available(rows: pl.DataFrame, names: dict[str, str]) -> tuple[pl.Series, int]:
    if "available" not in names:
        return pl.repeat(True, rows.height, eager=True), 0
    column = rows[names["available"]]
    if column.dtype == pl.Boolean:
        return column.fill_null(True), 0
    texts = _as_strings(column)
    found = by_text(texts, _truth, pl.Boolean())
    lost = (texts.str.strip_chars().str.len_bytes() > 0) & found.is_null()
    return found.fill_null(True), int(lost.sum())


def _truth(text: str) -> bool | None:
    plain = text.strip().lower()
    if plain in _YES or plain in _NO:
        return plain in _YES
    try:
        return float(plain) > 0
    except ValueError:
        return None


def _attributes(rows: pl.DataFrame, names: dict[str, str]) -> pl.Series:
    """Return a JSON object of every column without a name of its own; null where there is nothing."""
    merged: list[dict[str, object]] = [{} for _ in range(rows.height)]
    for name in rows.columns:
        if name != ROW and name not in names.values():
            for found, value in zip(merged, _attribute_values(rows[name]), strict=True):
                if value is not None:
                    found[name] = value
    if "attributes" in names:
        for found, value in zip(merged, rows[names["attributes"]].to_list(), strict=True):
            found.update(_given_attributes(value))
    texts = [msgspec.json.encode(found).decode() if found else None for found in merged]
    return pl.Series("attributes", texts, dtype=pl.String())


def _attribute_values(column: pl.Series) -> list[object]:
    if column.dtype.is_decimal():
        column = column.cast(pl.Float64)
    if column.dtype.is_numeric() or column.dtype == pl.Boolean:
        values: list[object] = [
            None if isinstance(value, float) and not math.isfinite(value) else value for value in column.to_list()
        ]
        return values
    texts = [None if text is None else clean_text(text) for text in _as_strings(column).to_list()]
    given = [text for text in texts if text is not None]
    if given and all(_NUMBER.fullmatch(text) for text in given):
        return [None if text is None else (float(text) if "." in text else int(text)) for text in texts]
    return [None if text is None else tidy_measure(text) for text in texts]


def _given_attributes(value: object) -> dict[str, object]:
    if isinstance(value, str):
        try:
            value = json.loads(value) if value.strip() else None
        except (ValueError, RecursionError):
            return {"attributes": value}
    if value is None:
        return {}
    given = value if isinstance(value, dict) else {"attributes": value}
    # An attribute is one plain value; what is nested in it stays as its JSON.
    return {
        str(key): one if isinstance(one, str | int | float) else as_text(one)
        for key, one in given.items()
        if one is not None
    }
