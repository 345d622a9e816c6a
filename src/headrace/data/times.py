"""Times in every usual spelling become int64 microseconds since 1970 in UTC.

A number's unit is read off its size, once for a whole column: 1e8 to 1e11 are seconds (1973 to 5138), 1e11 to 1e14
milliseconds, 1e14 to 1e17 microseconds. Smaller numbers fit any unit and count as the column's.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal, TypeAlias
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import polars as pl

from headrace.core.errors import DataError, SettingsError

Kind: TypeAlias = Literal["s", "ms", "us", "text", "date", "none"]
"""A number's unit; ISO 8601 text; a column of dates; no time at all."""

_BOUNDS: dict[Kind, tuple[float, float]] = {"s": (1e8, 1e11), "ms": (1e11, 1e14), "us": (1e14, 1e17)}
_MICROSECONDS: dict[Kind, int] = {"s": 1_000_000, "ms": 1_000, "us": 1}
_NAMES: dict[Kind, str] = {"s": "seconds", "ms": "milliseconds", "us": "microseconds", "text": "ISO 8601"}
_LIMIT = 2**63 - 1
_ISO = r"^\s*\d{4}-\d{2}-\d{2}"
_OFFSET = r"(?i)[T ].*?(Z|[+-]\d{2}(?::?\d{2})?)$"
_FORMATS = ("%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%d %H:%M", "%Y-%m-%d")


@dataclass(frozen=True)
class TimeFormat:
    """How the times of one column are written; `zone` is that of times without an offset."""

    kind: Kind
    zone: str


def zone_named(name: str) -> ZoneInfo:
    """Return the zone of an IANA name.

    Raises:
        SettingsError: no such zone.
    """
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, IsADirectoryError):
        raise SettingsError(
            f"data.timezone must be an IANA name, got {name!r}; give one such as Europe/Berlin"
        ) from None


def detect_times(table: pl.LazyFrame, where: str, zone: str) -> TimeFormat:
    """Find how the column `time` of a table is written, in one streaming pass.

    Args:
        table: with a column `time` of any type.
        where: the source, for the message.
        zone: the IANA name of the zone of times without an offset.

    Raises:
        DataError: the column mixes units or spellings.
        SettingsError: no such zone.
    """
    zone_named(zone)
    dtype = table.collect_schema()["time"]
    if isinstance(dtype, pl.Datetime) or dtype == pl.Date:
        return TimeFormat("date", zone)
    sized = table.select("time", size=_number(dtype).abs())
    tests = _tests(dtype)
    found = sized.select(
        *(test.sum().alias(kind) for kind, test in tests.items()),
        given=pl.col("time").count(),
        small=(pl.col("size") < _BOUNDS["s"][0]).sum(),
    ).collect(engine="streaming")
    seen = [kind for kind in tests if found[kind][0]]
    if len(seen) > 1 or (seen == ["text"] and found["small"][0]):
        raise _mixed(sized, {kind: tests[kind] for kind in seen}, found, where)
    if not found["given"][0]:
        return TimeFormat("none", zone)
    return TimeFormat(seen[0] if seen else "s", zone)


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


def parse_time(text: str | float, zone: str = "UTC") -> int | None:
    """Return one time in microseconds, None if it cannot be read; a number's unit is read off its own size."""
    if isinstance(text, str) and re.match(_ISO, text):
        return _parse_iso(text.strip(), zone)
    try:
        number = float(text)
    except ValueError:
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


def _mixed(sized: pl.LazyFrame, tests: dict[Kind, pl.Expr], found: pl.DataFrame, where: str) -> DataError:
    time = pl.col("time")
    tests = (
        {**tests, "text": pl.col("size").is_null() & time.cast(pl.String).str.contains(_ISO)}
        if "text" in tests
        else tests
    )
    examples = [
        f"{_NAMES[kind]} ({found[kind][0]:,} rows, such as "
        f"{sized.filter(test).select(time.cast(pl.String)).head(1).collect().item()})"
        for kind, test in tests.items()
    ]
    if len(examples) == 1:
        examples.append("plain numbers")
    return DataError(
        f"the times of one column must have one unit, {where} holds {' and '.join(examples)}; "
        "convert them to one unit, or prepare the parts apart"
    )


def _parse_iso(text: str, zone: str) -> int | None:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=zone_named(zone))
    since = moment.astimezone(UTC) - datetime(1970, 1, 1, tzinfo=UTC)
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
