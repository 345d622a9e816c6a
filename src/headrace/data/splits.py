"""Where a log is cut for training, choosing and testing: by time, or at each user's last events."""

from __future__ import annotations

import numpy as np

from headrace.core.errors import DataError
from headrace.data.log import Bools, EventLog

_FIRST_SHARE, _SECOND_SHARE = 0.8, 0.9
_LEAST_EVENTS = 3


def cuts(log: EventLog) -> tuple[int, int]:
    """Return the two times at which 80 % and 90 % of the events are over.

    An event is before a cut if its time is smaller; events of one time are never parted, so the shares are as near as
    that allows. There are events before the first cut, between the two, and after the second.

    Raises:
        DataError: the events have no times, or too few different ones.
    """
    if not log.has_times:
        raise DataError("the protocol `time` needs events with times, these have none; use --protocol leave-one-out")
    moments, counts = np.unique(log.times, return_counts=True)
    if len(moments) < _LEAST_EVENTS:
        raise DataError(
            f"the protocol `time` needs events at three times or more, these have {len(moments)}; "
            "use --protocol leave-one-out"
        )
    # before[i] events lie strictly before moments[i].
    before = np.concatenate([[0], np.cumsum(counts)[:-1]])
    first = int(np.abs(before[1:-1] - _FIRST_SHARE * len(log)).argmin()) + 1
    second = int(np.abs(before[first + 1 :] - _SECOND_SHARE * len(log)).argmin()) + first + 1
    return int(moments[first]), int(moments[second])


def last_events(log: EventLog) -> tuple[Bools, Bools]:
    """Return (N,) marks of each user's last event (the test) and of the one before it (the validation).

    A user with fewer than three events has neither: all of theirs is learned from, as nothing would be left to ask
    from. The order is the log's, so that ties fall as the canonical order has them.
    """
    offsets = log.offsets()
    lengths = np.diff(offsets)
    ends = offsets[1:][lengths >= _LEAST_EVENTS]
    test = np.zeros(len(log), dtype=np.bool_)
    validation = np.zeros(len(log), dtype=np.bool_)
    test[ends - 1] = True
    validation[ends - 2] = True
    return test, validation
