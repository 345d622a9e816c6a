"""Cleaning of events: a list of pure steps, each of which returns what it kept and what it dropped.

A part of a table is cleaned alone; since a part holds all events of its users, only what spans users (the rating scale,
repeated event ids, the k-core) needs to see all parts, and stands in `spanning.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeAlias

import msgspec
import numpy as np
import polars as pl

from headrace.core.formats import Ties
from headrace.core.order import id_hashes, pair_hash
from headrace.data.columns import EVENT_FIELDS
from headrace.data.log import Ints, Longs
from headrace.data.row_rules import RULES, SCALE_RULE, Bounds, type_expression
from headrace.data.tables import ROW, as_text, by_text
from headrace.data.times import TimeFormat, microseconds
from headrace.data.vocabulary import codes

USER, PAIR = "__user__", "__pair__"
"""Beside the fields of an event: the place of its user among the users of its part, and its pair hash."""

STEPS = (
    "unreadable rows",
    "lines left out",
    "missing ids",
    "bad ids",
    "bad values",
    "impossible times",
    "exact duplicates",
    "retries",
    "values off the scale",
    "rare users and items",
)
"""The steps that drop rows, in the order in which they run."""

_SECOND = 1_000_000
_HOUR_S = 3_600
_TIME_RULE = "time must be ISO 8601, or a number of seconds, milliseconds or microseconds since 1970"


@dataclass(frozen=True)
class Facts:
    """What cleaning knows about the whole table.

    Args:
        times: how times are written; None where the table has none.
        latest: the latest possible time in microseconds.
        ties: the order of events of one moment.
        bot_visits: the most distinct seconds within an hour that a person is seen at.
    """

    times: TimeFormat | None
    latest: int
    ties: Ties
    bot_visits: int


@dataclass(frozen=True)
class Drop:
    """Rows that one step dropped for one reason; `rows` holds their numbers in the source."""

    step: str
    reason: str
    rows: pl.Series


Step: TypeAlias = Callable[[pl.DataFrame, Facts], tuple[pl.DataFrame, list[Drop]]]


def run_steps(rows: pl.DataFrame, facts: Facts, steps: Sequence[Step]) -> tuple[pl.DataFrame, list[Drop]]:
    """Run steps one after the other; return what is left and all that was dropped."""
    drops: list[Drop] = []
    for step in steps:
        rows, dropped = step(rows, facts)
        drops.extend(dropped)
    return rows, drops


def read_values(rows: pl.DataFrame, _: Facts) -> tuple[pl.DataFrame, list[Drop]]:
    """Make `value` a float64; add an empty one where the source has none."""
    if "value" not in rows.columns:
        return rows.with_columns(value=pl.lit(None, dtype=pl.Float64)), []
    given = pl.col("value").is_not_null()
    text = pl.col("value")
    if rows.schema["value"] == pl.String:
        text = text.str.strip_chars()
        given = given & (text != "")
    read = rows.select(value=text.cast(pl.Float64, strict=False), lost=given)
    lost = read["value"].is_null() & read["lost"]
    kept, drops = _split(rows.with_columns(read["value"]), ~lost, "bad values", "value must be a number")
    return kept, drops


def read_times(rows: pl.DataFrame, facts: Facts) -> tuple[pl.DataFrame, list[Drop]]:
    """Make `time` microseconds; without times it is null here and becomes a place in the user's order in the end."""
    if facts.times is None:
        return rows.with_columns(time=pl.lit(None, dtype=pl.Int64)), []
    missing = rows["time"].is_null()
    if rows.schema["time"] == pl.String:
        missing = missing | (rows["time"].str.strip_chars() == "").fill_null(True)
    times = microseconds(rows["time"], facts.times)
    lost = times.is_null()
    drops = [Drop("impossible times", "time must be given", rows[ROW].filter(missing))] if missing.any() else []
    unread = lost & ~missing
    if unread.any():
        drops.append(Drop("impossible times", _TIME_RULE, rows[ROW].filter(unread)))
    return rows.with_columns(times.alias("time")).filter(~lost), drops


def check_rows(rows: pl.DataFrame, facts: Facts) -> tuple[pl.DataFrame, list[Drop]]:
    """Run the row rules, all but the scale's, and give each event its type.

    A row that breaks several rules counts under the first.
    """
    rows = rows.with_columns(pl.col("user_id", "item_id").fill_null(""))
    if "type" not in rows.columns:
        rows = rows.with_columns(type=pl.lit(None, dtype=pl.String))
    bounds = Bounds(facts.latest)
    keep = np.ones(rows.height, dtype=np.bool_)
    drops = []
    for rule in RULES:
        if rule is SCALE_RULE or rule.field not in rows.columns:
            continue
        broken = keep & ~rows.with_columns(keep=rule.keeps(bounds).fill_null(False))["keep"].to_numpy()
        if broken.any():
            drops.append(Drop(rule.step, rule.message, rows[ROW].filter(pl.Series(broken))))
            keep &= ~broken
    kept = rows if keep.all() else rows.filter(pl.Series(keep))
    return kept.with_columns(type=type_expression()), drops


def order_rows(rows: pl.DataFrame, facts: Facts) -> tuple[pl.DataFrame, list[Drop]]:
    """Put the rows into canonical order, users by the hash of their id; adds `USER` and `PAIR`."""
    users, user_codes = codes(rows["user_id"])
    items, item_codes = codes(rows["item_id"])
    pairs = pair_hash(id_hashes(users.to_list())[user_codes], id_hashes(items.to_list())[item_codes])
    # Polars' hash decides the part of a user too, so that the order of users does not depend on the number of parts.
    order = pl.DataFrame({"id": users, "hash": users.hash()}).with_row_index("code").sort("hash", "id")["code"]
    ranks = np.empty(len(users), dtype=np.int32)
    ranks[order.to_numpy()] = np.arange(len(users), dtype=np.int32)
    rows = rows.with_columns(pl.Series(USER, ranks[user_codes]), pl.Series(PAIR, pairs))
    keys = [USER, ROW] if facts.times is None else [USER, "time", ROW]
    if facts.times is not None and facts.ties == "hash":
        keys = [USER, "time", PAIR, ROW]
    return rows.sort(keys), []


def drop_duplicates(rows: pl.DataFrame, facts: Facts) -> tuple[pl.DataFrame, list[Drop]]:
    """Drop rows that repeat another in user, item, type, value, time and event id.

    Without times nothing tells a repeated visit from a repeated row, so all are kept.
    """
    if facts.times is None or rows.height < 2:
        return rows, []
    near = [USER, "time", PAIR] if facts.ties == "hash" else [USER, "time"]
    alike = np.ones(rows.height - 1, dtype=np.bool_)
    for name in near:
        column = rows[name].to_numpy()
        alike &= column[1:] == column[:-1]
    candidate = np.concatenate([alike, [False]]) | np.concatenate([[False], alike])
    keys = [name for name in ("user_id", "item_id", "type", "value", "time", "event_id") if name in rows.columns]
    few = rows.select(ROW, *keys).filter(pl.Series(candidate)).sort(ROW)
    again = few.filter(~pl.struct(keys).is_first_distinct())[ROW] if few.height else few[ROW]
    return drop_numbered(rows, again, "exact duplicates", "the same event stands in an earlier row")


def tidy_contexts(rows: pl.DataFrame, _: Facts) -> tuple[pl.DataFrame, list[Drop]]:
    """Make `context` a JSON object of plain values, as the service keeps it; a bare value stands under `context`."""
    if "context" not in rows.columns:
        return rows, []
    return rows.with_columns(by_text(rows["context"], _plain_context, pl.String())), []


def drop_numbered(rows: pl.DataFrame, numbers: pl.Series, step: str, reason: str) -> tuple[pl.DataFrame, list[Drop]]:
    """Drop the rows of these numbers; numbers that are not here do not matter."""
    if numbers.is_empty():
        return rows, []
    return _split(rows, ~rows[ROW].is_in(numbers.implode()), step, reason)


def off_scale(bounds: Bounds) -> Step:
    """Return the step that drops ratings off the scale of `bounds`."""

    def step(rows: pl.DataFrame, _: Facts) -> tuple[pl.DataFrame, list[Drop]]:
        keep = rows.with_columns(keep=SCALE_RULE.keeps(bounds))["keep"]
        return _split(rows, keep, SCALE_RULE.step, SCALE_RULE.message)

    return step


def mark_bots(rows: pl.DataFrame, facts: Facts) -> tuple[pl.DataFrame, list[Drop]]:
    """Mark all events of users who are seen more often than a person can be; a mark of the source stays.

    Visits are distinct seconds, so that a basket of 160 lines is one.
    """
    users, bots = rows[USER].to_numpy(), np.zeros(rows.height, dtype=np.bool_)
    if facts.times is not None:
        found = fast_users(users, rows["time"].to_numpy(), facts.bot_visits)
        bots = np.isin(users, found)
    if "bot" in rows.columns:
        bots |= rows["bot"].fill_null(False).to_numpy()
    return rows.with_columns(pl.Series("bot", bots)), []


def fast_users(users: Ints, times: Longs, visits: int) -> Ints:
    """Return the users seen at more than `visits` distinct seconds within one hour.

    Args:
        users: (N,) ascending.
        times: (N,) microseconds, ascending within a user.
        visits: the most that passes.
    """
    seconds = times // _SECOND
    fresh = np.ones(len(users), dtype=np.bool_)
    fresh[1:] = (users[1:] != users[:-1]) | (seconds[1:] != seconds[:-1])
    users, seconds = users[fresh], seconds[fresh]
    # The visit `visits` places on is one too many where it falls into the same hour.
    within = (users[visits:] == users[:-visits]) & (seconds[visits:] - seconds[:-visits] < _HOUR_S)
    return np.unique(users[visits:][within]).astype(np.int32)


def number_orders(rows: pl.DataFrame, facts: Facts) -> tuple[pl.DataFrame, list[Drop]]:
    """Give the events of a table without times their place in the user's order, 0, 1, 2 …, as time."""
    if facts.times is not None or not rows.height:
        return rows, []
    users = rows[USER].to_numpy()
    places = np.arange(rows.height) - np.searchsorted(users, users)
    return rows.with_columns(pl.Series("time", places.astype(np.int64))), []


def finish(rows: pl.DataFrame) -> pl.DataFrame:
    """Return the columns of `events.parquet` in their order."""
    texts = [name for name in EVENT_FIELDS if name not in ("value", "time")]
    empty = [pl.lit(None, dtype=pl.String).alias(name) for name in texts if name not in rows.columns]
    return rows.with_columns(empty).select(*EVENT_FIELDS, "bot")


def _split(rows: pl.DataFrame, keep: pl.Series, step: str, reason: str) -> tuple[pl.DataFrame, list[Drop]]:
    if keep.all():
        return rows, []
    return rows.filter(keep), [Drop(step, reason, rows[ROW].filter(~keep))]


def _plain_context(text: str) -> str | None:
    found: object = text
    with suppress(msgspec.DecodeError, RecursionError):
        found = msgspec.json.decode(text)
    if found is None or found == "":
        return None
    fields = found if isinstance(found, dict) else {"context": found}
    plain = {key: one if isinstance(one, str | int | float | None) else as_text(one) for key, one in fields.items()}
    return msgspec.json.encode(plain, order="deterministic").decode()
