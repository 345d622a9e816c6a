"""Times in every usual spelling."""

from __future__ import annotations

from datetime import UTC, datetime

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.core.errors import DataError, SettingsError
from headrace.data.times import TimeFormat, detect_times, microseconds, parse_time

MOMENT = 1_592_337_718  # 2020-06-16T20:01:58Z


def read(values: list[object], zone: str = "UTC") -> list[int | None]:
    column = pl.Series("time", values)
    how = detect_times(column.to_frame().lazy(), "test", zone)
    return microseconds(column, how).to_list()


@pytest.mark.parametrize(
    "value",
    [
        MOMENT,
        str(MOMENT),
        "1592337718.0",
        float(MOMENT),
        MOMENT * 1_000,
        str(MOMENT * 1_000_000),
        "2020-06-16T20:01:58Z",
        "2020-06-16 20:01:58",
        "2020-06-16T22:01:58+02:00",
        "2020-06-16T22:01:58.000+0200",
        "2020-06-16t20:01:58.000000z",
        "2020-06-16T15:01:58-05",
        "2020-06-16 20:01:58 UTC",
        "2020-06-16 20:01:58 GMT",
        datetime(2020, 6, 16, 20, 1, 58, tzinfo=UTC),
        datetime(2020, 6, 16, 20, 1, 58),
    ],
)
def test_one_moment_in_every_spelling(value: object) -> None:
    assert read([value]) == [MOMENT * 1_000_000]


def test_a_date_alone_is_its_midnight() -> None:
    assert read(["2020-06-16"]) == [1_592_265_600_000_000]


def test_a_time_without_offset_is_of_the_zone() -> None:
    assert read(["2020-06-16 22:01:58"], "Europe/Berlin") == [MOMENT * 1_000_000]
    assert read(["2020-06-16T20:01:58Z"], "Europe/Berlin") == [MOMENT * 1_000_000]


def test_a_local_time_that_the_clock_skips_cannot_be_read() -> None:
    assert read(["2020-03-29 02:30:00", "2020-03-29 03:30:00"], "Europe/Berlin")[0] is None


def test_an_unreadable_time_is_null_and_costs_no_other() -> None:
    assert read(["2020-06-16T20:01:58Z", "soon", None, "2020-13-01"]) == [MOMENT * 1_000_000, None, None, None]
    assert read([str(MOMENT), "soon", "", "nan"]) == [MOMENT * 1_000_000, None, None, None]


@pytest.mark.parametrize(
    "values",
    [[MOMENT, MOMENT * 1_000], [str(MOMENT), "2020-06-16"], ["12", "2020-06-16"], [MOMENT * 1_000, MOMENT * 10**6]],
)
def test_mixed_units_are_refused_with_an_example_of_each(values: list[object]) -> None:
    with pytest.raises(DataError, match="must have one unit") as caught:
        read(values)
    assert str(values[1]) in str(caught.value)


def test_small_numbers_are_of_the_unit_of_the_others() -> None:
    assert read([5, MOMENT * 1_000]) == [5_000, MOMENT * 1_000_000]
    assert read([1, 2, 3]) == [1_000_000, 2_000_000, 3_000_000]
    assert read(["-1", str(MOMENT)]) == [-1_000_000, MOMENT * 1_000_000]


def test_small_numbers_alone_show_no_unit_and_this_is_told() -> None:
    assert detect_times(pl.LazyFrame({"time": [1, 2, 3]}), "test", "UTC").guessed
    assert not detect_times(pl.LazyFrame({"time": [1, MOMENT]}), "test", "UTC").guessed


@pytest.mark.parametrize("values", [[20200616, 20201231], ["20200616"], [20200616.0, None]])
def test_dates_without_signs_are_not_read_as_seconds_of_1970(values: list[object]) -> None:
    with pytest.raises(DataError, match=r"20200616.*write them anew"):
        read(values)


def test_numbers_that_only_now_and_then_look_like_dates_are_seconds() -> None:
    assert read([20200616, 20209999]) == [20200616_000_000, 20209999_000_000]


def test_numbers_beyond_every_unit_do_not_overflow() -> None:
    assert read([MOMENT, 2**62]) == [MOMENT * 1_000_000, None]


def test_a_column_of_nothing_has_no_times() -> None:
    column = pl.Series("time", [None, None], dtype=pl.String)
    assert detect_times(column.to_frame().lazy(), "test", "UTC") == TimeFormat("none", "UTC")


def test_an_unknown_zone_is_a_settings_error() -> None:
    with pytest.raises(SettingsError, match="IANA"):
        read([MOMENT], "Mars/Olympus")


@pytest.mark.parametrize("name", ["", "localtime", "../etc", "europe/berlin"])
def test_a_zone_that_either_library_lacks_is_a_settings_error(name: str) -> None:
    with pytest.raises(SettingsError, match="IANA"):
        read([MOMENT], name)


SPELLINGS = st.from_regex(
    r"2020-0[1-9]-[0-3][0-9]([Tt X][0-2][0-9](:[0-6][0-9](:[0-6][0-9]([.,][0-9]{0,9})?)?)?"
    r" ?([Zz]|UTC|GMT|[+-][0-9]{2}(:?[0-9]{2}(:[0-9]{2})?)?)?)?",
    fullmatch=True,
)
ODD = ["0001-01-01T00:00:00+05:00", "9999-12-31T23:59:59-05:00", "1_600_000_000", "\u0661\u0666", "0x5", " 1600000000 "]


# None of eight digits: a column of nothing but 20200616 is refused, a single number cannot be told from seconds.
NUMBERS = st.from_regex(r"[+-]?([0-9]{0,6}(e[0-9])?|[0-9]{9,11}\.?[0-9]{0,3})", fullmatch=True)


@settings(deadline=None, max_examples=300)
@given(SPELLINGS | st.sampled_from(ODD) | NUMBERS)
def test_a_column_and_a_single_time_take_the_same_spellings(text: str) -> None:
    assert parse_time(text) == read([text])[0]


@settings(deadline=None)
@given(st.datetimes(datetime(1975, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC)))
def test_a_column_and_a_single_time_are_read_alike(moment: datetime) -> None:
    exact = (moment - datetime(1970, 1, 1, tzinfo=UTC)) // (datetime.resolution)
    text = moment.isoformat()
    assert parse_time(text) == exact == read([text])[0]
    assert parse_time(exact // 10**6) == exact // 10**6 * 10**6 == read([exact // 10**6])[0]


@pytest.mark.parametrize("number", [10**400, -(10**400), 1e308, float("inf"), float("nan"), "1e400", 10**18])
def test_a_number_beyond_every_unit_is_no_time(number: float | str) -> None:
    assert parse_time(number) is None
