"""Tests of what arrays of events share."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.data import log as module
from headrace.data.log import EventLog, ranges, repeated


def test_ranges_lie_behind_one_another_and_empty_ones_leave_no_trace() -> None:
    starts, ends = np.array([3, 7, 0, 3]), np.array([5, 7, 1, 4])
    assert ranges(starts, ends).tolist() == [3, 4, 0, 3]
    assert ranges(starts[:0], ends[:0]).tolist() == []


def log_of(rows: list[tuple[int, int, int]]) -> EventLog:
    """Return the log of these (user, time, item), canonical order but for ties."""
    users, times, items = (np.array(column) for column in zip(*sorted(rows), strict=True))
    nothing = np.full(len(rows), np.nan, np.float32)
    types = np.zeros(len(rows), np.int32)
    return EventLog(users.astype(np.int32), items.astype(np.int32), types, nothing, times, 9, 9)


events = st.tuples(st.integers(1, 9), st.integers(0, 5), st.integers(1, 9))


@given(st.lists(events, min_size=1, max_size=60), st.integers(1, 20))
@settings(max_examples=60, deadline=None)
def test_an_event_is_repeated_where_its_user_met_the_item_at_an_earlier_time(
    rows: list[tuple[int, int, int]], at_once: int
) -> None:
    rows = sorted(rows)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_AT_ONCE", at_once)
        marks = repeated(log_of(rows)).tolist()
    assert marks == [any((u, i) == (user, item) and t < time for u, t, i in rows) for user, time, item in rows]


@given(st.lists(events, min_size=1, max_size=60), st.integers(1, 20))
@settings(max_examples=40, deadline=None)
def test_blocks_hold_whole_users_and_no_more_than_they_must(rows: list[tuple[int, int, int]], most: int) -> None:
    log = log_of(rows)
    blocks = list(log.blocks(most))
    assert [place for start, end in blocks for place in range(start, end)] == list(range(len(log)))
    owners = [set(log.users[start:end].tolist()) for start, end in blocks]
    assert sum(map(len, owners)) == len(set().union(*owners))
    for (start, end), users in zip(blocks, owners, strict=True):
        assert end - start <= most + int((log.users == max(users)).sum())
