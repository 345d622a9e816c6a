"""Where a log is cut."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.core.errors import DataError
from headrace.data.log import EventLog
from headrace.data.splits import cuts, last_events


def log(users: list[int], times: list[int], *, has_times: bool = True) -> EventLog:
    n = len(users)
    ones = np.ones(n, dtype=np.int32)
    return EventLog(
        np.array(users, dtype=np.int32), ones, ones, ones.astype(np.float32), np.array(times, dtype=np.int64),
        max(users, default=0), 1, has_times,
    )  # fmt: skip


def test_the_cuts_stand_at_80_and_90_percent() -> None:
    assert cuts(log([1] * 100, list(range(100)))) == (80, 90)


def test_events_of_one_time_are_never_parted() -> None:
    times = [0] * 70 + [1] * 18 + [2] * 12
    assert cuts(log([1] * 100, times)) == (1, 2)


@settings(deadline=None)
@given(st.lists(st.integers(0, 20), min_size=3).filter(lambda times: len(set(times)) > 2))
def test_there_are_events_in_all_three_parts(times: list[int]) -> None:
    first, second = cuts(log([1] * len(times), sorted(times)))
    assert min(times) < first < second <= max(times)


@pytest.mark.parametrize("times", [[5, 5, 5], [5, 5, 6]])
def test_too_few_times_are_refused(times: list[int]) -> None:
    with pytest.raises(DataError, match="leave-one-out"):
        cuts(log([1, 1, 1], times))


def test_a_log_without_times_is_refused() -> None:
    with pytest.raises(DataError, match="these have none"):
        cuts(log([1, 1, 1], [0, 1, 2], has_times=False))


def test_the_last_event_is_the_test_and_the_one_before_the_validation() -> None:
    test, validation = last_events(log([1, 1, 1, 2, 2, 3, 3, 3, 3], [0, 1, 2, 0, 1, 0, 1, 2, 3]))
    assert test.nonzero()[0].tolist() == [2, 8]
    assert validation.nonzero()[0].tolist() == [1, 7]
