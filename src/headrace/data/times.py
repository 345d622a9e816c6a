"""Times in every usual spelling become int64 microseconds since 1970 in UTC.

A number's unit is read off its size, once for a whole column: 1e8 to 1e11 are seconds (1973 to 5138), 1e11 to 1e14
milliseconds, 1e14 to 1e17 microseconds. Smaller numbers fit any unit and count as the column's. A column and a single
time take the same spellings.
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal, TypeAlias

import polars as pl

from headrace.core.errors import DataError, SettingsError

Kind: TypeAlias = Literal["s", "ms", "us", "text", "date", "none"]
"""A number's unit; ISO 8601 text; a column of dates; no time at all."""

_BOUNDS: dict[Kind, tuple[float, float]] = {"s": (1e8, 1e11), "ms": (1e11, 1e14), "us": (1e14, 1e17)}
_MICROSECONDS: dict[Kind, int] = {"s": 1_000_000, "ms": 1_000, "us": 1}
_NAMES = {"s": "seconds", "ms": "milliseconds", "us": "microseconds", "text": "ISO 8601", "small": "small numbers"}
_LIMIT = 2**63 - 1
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ISO = r"^\s*\d{4}-\d{2}-\d{2}"
# A date, or a date and a clock with or without an offset; Polars and Python both take more, each its own.
_SPELLING = (
    r"^[0-9]{4}-[0-9]{2}-[0-9]{2}(?:[Tt ][0-9]{2}:[0-9]{2}(?::[0-5][0-9](?:\.[0-9]+)?)?"
    r"\s?(?:[Zz]|UTC|GMT|[+-](?:[01][0-9]|2[0-3])(?::?[0-5][0-9])?)?)?$"
)
_OFFSET = r"[Tt ].*?([Zz]|UTC|GMT|[+-][0-9]{2}(?::?[0-9]{2})?)$"
_FORMATS = ("%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%d %H:%M", "%Y-%m-%d")


@dataclass(frozen=True)
class TimeFormat:
    """How the times of one column are written.

    Args:
        kind: their unit or spelling.
        zone: that of times without an offset.
        guessed: no number was large enough to show its unit, so seconds are taken.
    """

    kind: Kind
    zone: str
    guessed: bool = False


def check_zone(name: str) -> None:
    """Make sure that a time zone is known by its IANA name.

    Raises:
        SettingsError: no such zone.
    """
    with suppress(pl.exceptions.PolarsError):
        if name:
            pl.select(pl.lit(0).cast(pl.Datetime("us")).dt.replace_time_zone(name))
            return
    raise SettingsError(f"data.timezone must be an IANA name, got {name!r}; give one such as Europe/Berlin")


def detect_times(table: pl.LazyFrame, where: str, zone: str) -> TimeFormat:
    """Find how the column `time` of a table is written, in one streaming pass.

    Args:
        table: with a column `time` of any type.
        where: the source, for the message.
        zone: the IANA name of the zone of times without an offset.

    Raises:
        DataError: the column mixes units or spellings, or holds dates such as 20200616.
        SettingsError: no such zone.
    """
    check_zone(zone)
    dtype = table.collect_schema()["time"]
    if isinstance(dtype, pl.Datetime) or dtype == pl.Date:
        return TimeFormat("date", zone)
    sized = table.select("time", size=_number(dtype).abs())
    tests = _tests(dtype)
    size = pl.col("size")
    found = sized.select(
        *(test.sum().alias(kind) for kind, test in tests.items()),
        given=pl.col("time").count(),
        small=(size < _BOUNDS["s"][0]).sum(),
        dates=_looks_like_date(size).sum(),
    ).collect(engine="streaming")
    if found["given"][0] and found["dates"][0] == found["given"][0]:
        example = sized.select(pl.col("size").drop_nulls().first().cast(pl.Int64)).collect().item()
        raise DataError(
            f"a date must be written as 2020-06-16 is, all times of {where} look like dates without signs, such as "
            f"{example}; write them anew, or as seconds since 1970"
        )
    seen = [kind for kind in tests if found[kind][0]]
    small = seen == ["text"] and bool(found["small"][0])
    if len(seen) > 1 or small:
        mixed: dict[str, pl.Expr] = {kind: tests[kind] for kind in seen}
        raise _mixed(sized, {**mixed, "small": size < _BOUNDS["s"][0]} if small else mixed, found, where)
    if not found["given"][0]:
        return TimeFormat("none", zone)
    return TimeFormat(seen[0], zone) if seen else TimeFormat("s", zone, guessed=bool(found["small"][0]))


def microseconds(times: pl.Series, how: TimeFormat) -> pl.Series:
    """Return a column's times in microseconds; null where a time is missing or cannot be read."""
    frame = times.alias("time").to_frame()
    if how.kind == "none":
        return pl.repeat(None, len(times), dtype=pl.Int64, eager=True)
    if how.kind == "date":
        return frame.select(_from_dates(times.dtype, how.zone))["time"]
    if how.kind == "text":
        return _from_text(times, how.zone)
    if times.dtype.is_integer():
        size = pl.col("time").cast(pl.Int64, strict=False)
        fits = size.abs() < _LIMIT // _MICROSECONDS[how.kind]
        return frame.select(pl.when(fits).then(size * _MICROSECONDS[how.kind]))["time"]
    # A float64 holds every microsecond up to the year 2255.
    return frame.select((_number(times.dtype) * _MICROSECONDS[how.kind]).round().cast(pl.Int64, strict=False))["time"]


def parse_time(text: str | float) -> int | None:
    """Return one time in microseconds, None if it cannot be read.

    A number's unit is read off its own size; a time without an offset is in UTC.
    """
    if isinstance(text, str) and re.match(_ISO, text):
        return _parse_iso(text.strip())
    if isinstance(text, str) and ("_" in text or not text.isascii()):
        return None
    try:
        number = float(text)
    except (ValueError, OverflowError):  # no number, or a whole one beyond every float
        return None
    for kind, (low, high) in _BOUNDS.items():
        if low <= abs(number) < high:
            return round(number * _MICROSECONDS[kind])
    return round(number * 1_000_000) if abs(number) < _BOUNDS["s"][0] else None


def _tests(dtype: pl.DataType) -> dict[Kind, pl.Expr]:
    size = pl.col("size")
    tests: dict[Kind, pl.Expr] = {kind: (size >= low) & (size < high) for kind, (low, high) in _BOUNDS.items()}
    if dtype == pl.String:
        # Only what is no number is looked at as text, which costs ten times as much.
        tests["text"] = pl.col("time").filter(size.is_null() & pl.col("time").is_not_null()).str.contains(_ISO)
    return tests


def _looks_like_date(size: pl.Expr) -> pl.Expr:
    """Whether a number spells a date from 1970 to 2099, such as 20200616: as seconds it would be a day of 1970."""
    month, day = size // 100 % 100, size % 100
    spelt = month.is_between(1, 12) & day.is_between(1, 31) & (size == size.floor())
    return size.is_between(19_700_101, 20_991_231) & spelt


def _mixed(sized: pl.LazyFrame, tests: dict[str, pl.Expr], found: pl.DataFrame, where: str) -> DataError:
    if "text" in tests:
        tests["text"] = pl.col("size").is_null() & pl.col("time").cast(pl.String).str.contains(_ISO)
    examples = [
        f"{_NAMES[kind]} ({found[kind][0]:,} rows, such as "
        f"{sized.filter(test).select(pl.col('time').cast(pl.String)).head(1).collect().item()})"
        for kind, test in tests.items()
    ]
    return DataError(
        f"the times of one column must have one unit, {where} holds {' and '.join(examples)}; "
        "convert them to one unit, or prepare the parts apart"
    )


def _parse_iso(text: str) -> int | None:
    if re.fullmatch(_SPELLING, text) is None:
        return None
    try:
        moment = datetime.fromisoformat(re.sub(r"\s?(?:[Zz]|UTC|GMT)$", "+00:00", text))
    except ValueError:
        return None
    since = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - _EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def _number(dtype: pl.DataType) -> pl.Expr:
    column = pl.col("time").str.strip_chars() if dtype == pl.String else pl.col("time")
    number = column.cast(pl.Float64, strict=False)
    return pl.when(number.is_finite()).then(number)


def _from_dates(dtype: pl.DataType, zone: str) -> pl.Expr:
    moment = pl.col("time").cast(pl.Datetime("us", dtype.time_zone if isinstance(dtype, pl.Datetime) else None))
    if not isinstance(dtype, pl.Datetime) or dtype.time_zone is None:
        moment = moment.dt.replace_time_zone(zone, ambiguous="earliest", non_existent="null")
    return moment.dt.epoch("us")


def _from_text(times: pl.Series, zone: str) -> pl.Series:
    text = pl.col("time").str.strip_chars()
    offset = text.str.extract(_OFFSET, 1).str.to_uppercase()
    text = pl.when(text.str.contains(_SPELLING)).then(text)
    frame = times.alias("time").to_frame().with_columns(text=text, offset=offset)
    plain = pl.col("text").str.head(pl.col("text").str.len_chars() - pl.col("offset").str.len_chars().fill_null(0))
    frame = frame.with_columns(plain=plain.str.strip_chars().str.replace("[Tt]", " "))
    local = pl.Series("local", [None] * len(times), dtype=pl.Datetime("us"))
    for form in _FORMATS:
        if local.null_count():
            parsed = frame.select(pl.col("plain").str.to_datetime(form, strict=False, time_unit="us"))["plain"]
            local = local.fill_null(parsed) if local.null_count() < len(local) else parsed
    digits = pl.col("offset").str.replace_all("[^0-9]", "").str.pad_end(4, "0")
    minutes = digits.str.head(2).cast(pl.Int64, strict=False) * 60 + digits.str.tail(2).cast(pl.Int64, strict=False)
    shift = pl.when(pl.col("offset").str.starts_with("-")).then(-minutes).otherwise(minutes).fill_null(0)
    frame = frame.with_columns(local=local, shift=shift)
    zoned = pl.col("local").dt.replace_time_zone(zone, ambiguous="earliest", non_existent="null").dt.epoch("us")
    exact = pl.col("local").dt.epoch("us") - pl.col("shift") * 60_000_000
    return frame.select(pl.when(pl.col("offset").is_null()).then(zoned).otherwise(exact).alias("time"))["time"]
