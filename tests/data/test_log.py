"""Tests of what arrays of events share."""

from __future__ import annotations

import numpy as np

from headrace.data.log import ranges


def test_ranges_lie_behind_one_another_and_empty_ones_leave_no_trace() -> None:
    starts, ends = np.array([3, 7, 0, 3]), np.array([5, 7, 1, 4])
    assert ranges(starts, ends).tolist() == [3, 4, 0, 3]
    assert ranges(starts[:0], ends[:0]).tolist() == []
