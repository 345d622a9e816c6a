"""The rules of a row: the one list that `prepare` runs over tables and `POST /v1/events` runs over single events.

A rule says one thing about one field, as a Polars expression for a table and as a function for one event; a property
test holds the two together. An empty optional field passes every rule but those that ask for it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec
import polars as pl

from headrace.core.types import DEFAULT_TYPE, MAX_ID_BYTES, RATING_TYPE, Event, Item, Scale

# The control characters of Unicode (category Cc): C0, DEL and C1.
_CONTROL = r"[\x00-\x1f\x7f-\x{9f}]"
_CONTROL_SCALAR = re.compile("[\x00-\x1f\x7f-\x9f]")
# A value stands on its scale's grid when it is nearer than this share of a step.
_GRID = 1e-6


class Fault(msgspec.Struct, frozen=True):
    """One broken rule: the place of the event in its list, the field, the rule's name and what it asks for."""

    index: int
    field: str
    rule: str
    message: str


@dataclass(frozen=True)
class Bounds:
    """What the rules compare with.

    Args:
        latest: the latest possible time in microseconds.
        scale: the rating scale of the dataset; None where there is none yet, then every finite rating passes.
    """

    latest: int
    scale: Scale | None = None


@dataclass(frozen=True)
class RowRule:
    """One rule.

    Args:
        name: stable, in lower case with dashes.
        field: the field of `Event` it looks at.
        message: what the field must be.
        step: the cleaning step under which the report counts its rows.
        keeps: the rule over a table whose columns are named as the fields of `Event`; null or false drops the row.
        accepts: the same rule for one event.
    """

    name: str
    field: str
    message: str
    step: str
    keeps: Callable[[Bounds], pl.Expr]
    accepts: Callable[[Event, Bounds], bool]


def check_events(events: Sequence[Event], *, now: int, scale: Scale | None, max_future_us: int) -> list[Fault]:
    """Return every fault of every event, by index and then in the order of `RULES`.

    Args:
        events: as a client sent them.
        now: microseconds since 1970, UTC.
        scale: the rating scale in force, None for none.
        max_future_us: how far past `now` a time may lie, in microseconds.
    """
    bounds = Bounds(now + max_future_us, scale)
    return [
        Fault(index, rule.field, rule.name, rule.message)
        for index, event in enumerate(events)
        for rule in RULES
        if not rule.accepts(event, bounds)
    ]


def check_item(item: Item) -> list[Fault]:
    """Return every fault of one catalogue entry; the index is 0."""
    faults = []
    message = check_id(item.item_id)
    if message is not None:
        faults.append(Fault(0, "item_id", "item-id", message))
    if item.price is not None and not (math.isfinite(item.price) and item.price >= 0):
        faults.append(Fault(0, "price", "price", "price must be a finite number of 0 or more"))
    if any(not category or _CONTROL_SCALAR.search(category) for category in item.categories):
        faults.append(Fault(0, "categories", "category", "a category must be text without control characters"))
    return faults


def check_id(text: str) -> str | None:
    """Return what is wrong with an id, None if nothing is."""
    if not text:
        return "an id must not be empty"
    if not _is_short(text):
        return f"an id must be at most {MAX_ID_BYTES} bytes long"
    if not _is_clean(text):
        return "an id must be without control characters"
    return None


def event_type(event: Event) -> str:
    """Return the type of an event: as given, else `rating` where there is a value, else `interaction`."""
    return event.type or (DEFAULT_TYPE if event.value is None else RATING_TYPE)


def type_expression() -> pl.Expr:
    """Return `event_type` over the columns `type` and `value` of a table."""
    given = pl.when(pl.col("type").str.len_bytes() > 0).then(pl.col("type"))
    default = pl.when(pl.col("value").is_null()).then(pl.lit(DEFAULT_TYPE)).otherwise(pl.lit(RATING_TYPE))
    return given.fill_null(default)


def _is_short(text: str) -> bool:
    return len(text) <= MAX_ID_BYTES and len(text.encode("utf-8", "surrogatepass")) <= MAX_ID_BYTES


def _is_clean(text: str) -> bool:
    if text.isprintable():
        return True
    # A lone surrogate cannot be written as UTF-8, so it can stand neither in a file nor in an answer.
    return not _CONTROL_SCALAR.search(text) and not any("\ud800" <= letter <= "\udfff" for letter in text)


def _present(field: str) -> tuple[Callable[[Bounds], pl.Expr], Callable[[Event, Bounds], bool]]:
    def accepts(event: Event, _: Bounds) -> bool:
        return bool(getattr(event, field))

    return lambda _: pl.col(field).str.len_bytes() > 0, accepts


def _short(field: str) -> tuple[Callable[[Bounds], pl.Expr], Callable[[Event, Bounds], bool]]:
    def accepts(event: Event, _: Bounds) -> bool:
        text = getattr(event, field)
        return not text or _is_short(text)

    return lambda _: (pl.col(field).str.len_bytes() <= MAX_ID_BYTES).fill_null(True), accepts


def _clean(field: str) -> tuple[Callable[[Bounds], pl.Expr], Callable[[Event, Bounds], bool]]:
    def accepts(event: Event, _: Bounds) -> bool:
        text = getattr(event, field)
        return not text or _is_clean(text)

    return lambda _: (~pl.col(field).str.contains(_CONTROL)).fill_null(True), accepts


def _rule(
    name: str,
    field: str,
    message: str,
    step: str,
    both: tuple[Callable[[Bounds], pl.Expr], Callable[[Event, Bounds], bool]],
) -> RowRule:
    return RowRule(name, field, message, step, *both)


def _scale_keeps(bounds: Bounds) -> pl.Expr:
    scale = bounds.scale
    if scale is None:
        return pl.lit(True)
    value = pl.col("value")
    fits = value.is_between(scale.low, scale.high)
    if scale.step is not None:
        places = (value - scale.low) / scale.step
        fits = fits & ((places - places.round()).abs() < _GRID)
    judged = (type_expression() == RATING_TYPE) & value.is_finite()
    return pl.when(judged.fill_null(False)).then(fits).otherwise(True)


def _scale_accepts(event: Event, bounds: Bounds) -> bool:
    scale, value = bounds.scale, event.value
    if scale is None or value is None or not math.isfinite(value) or event_type(event) != RATING_TYPE:
        return True
    if not scale.low <= value <= scale.high:
        return False
    if scale.step is None:
        return True
    places = (value - scale.low) / scale.step
    return abs(places - round(places)) < _GRID


def _id_rules(field: str) -> tuple[RowRule, ...]:
    what, step = field.replace("_", "-"), "bad ids"
    return (
        _rule(f"{what}-length", field, f"{field} must be at most {MAX_ID_BYTES} bytes long", step, _short(field)),
        _rule(f"{what}-characters", field, f"{field} must be without control characters", step, _clean(field)),
    )


SCALE_RULE = RowRule(
    "rating-scale",
    "value",
    "a rating must stand on the dataset's scale",
    "values off the scale",
    _scale_keeps,
    _scale_accepts,
)

RULES: tuple[RowRule, ...] = (
    _rule("user-id", "user_id", "user_id must not be empty", "missing ids", _present("user_id")),
    _rule("item-id", "item_id", "item_id must not be empty", "missing ids", _present("item_id")),
    *_id_rules("user_id"),
    *_id_rules("item_id"),
    *_id_rules("type"),
    *_id_rules("event_id"),
    *_id_rules("recommendation_id"),
    RowRule(
        "value-finite",
        "value",
        "value must be a finite number",
        "bad values",
        lambda _: pl.col("value").is_finite().fill_null(True),
        lambda event, _: event.value is None or math.isfinite(event.value),
    ),
    RowRule(
        "rating-value",
        "value",
        "a rating must have a value",
        "bad values",
        lambda _: ~((pl.col("type") == RATING_TYPE).fill_null(False) & pl.col("value").is_null()),
        lambda event, _: event.value is not None or event.type != RATING_TYPE,
    ),
    SCALE_RULE,
    RowRule(
        "time-past",
        "time",
        "time must not lie before 1970",
        "impossible times",
        lambda _: (pl.col("time") >= 0).fill_null(True),
        lambda event, _: event.time is None or event.time >= 0,
    ),
    RowRule(
        "time-future",
        "time",
        "time must not lie in the far future",
        "impossible times",
        lambda bounds: (pl.col("time") <= bounds.latest).fill_null(True),
        lambda event, bounds: event.time is None or event.time <= bounds.latest,
    ),
)
"""Every rule, in the order in which faults are listed. In `prepare`, `rating-scale` runs last, when it is known."""
