"""What an evaluation asks: at which moments, with which history, about which events; and what may be learned before.

Shapes: N events of the log, U users, Q questions. Both protocols leave each user a *prefix* of the events to learn
from, so one place per user says all.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import Literal, TypeAlias

import numpy as np

from headrace.core.errors import DataError
from headrace.core.types import Seen
from headrace.data.log import Bools, EventLog, History, Ints, Longs

TaskProtocol: TypeAlias = Literal["time", "leave-one-out"]


@dataclass(frozen=True)
class Questions:
    """Questions in time order: q has the history `log[starts[q]:ends[q]]` and the targets `log[ends[q]:untils[q]]`.

    Args:
        log: all events.
        users: (Q,) who asks.
        starts: (Q,) place of the user's first event.
        ends: (Q,) place behind the last event of the history.
        untils: (Q,) place behind the last target.
        times: (Q,) when it is asked, microseconds: the time of its targets. Ascending.
    """

    log: EventLog
    users: Ints
    starts: Longs
    ends: Longs
    untils: Longs
    times: Longs

    def __len__(self) -> int:
        return len(self.users)

    def part(self, first: int, last: int) -> Questions:
        """Return the questions `first:last`."""
        cut = slice(first, last)
        return Questions(self.log, self.users[cut], self.starts[cut], self.ends[cut], self.untils[cut], self.times[cut])

    def history(self, place: int) -> History:
        """Return the history of the question at `place`."""
        return slice_of(self.log, int(self.starts[place]), int(self.ends[place]))

    def targets(self) -> tuple[Longs, Longs]:
        """Return for all N targets, question by question, their places in the log and their questions."""
        sizes = self.untils - self.ends
        questions = np.repeat(np.arange(len(self)), sizes)
        first = np.cumsum(sizes) - sizes
        return np.arange(len(questions)) - first[questions] + self.ends[questions], questions

    def moments(self) -> Iterator[tuple[int, int]]:
        """Yield `(first, last)` for each run of questions of one time."""
        inner = (np.flatnonzero(np.diff(self.times)) + 1).tolist()
        bounds = [0, *inner, len(self)] if len(self) else [0]
        yield from pairwise(bounds)


@dataclass(frozen=True)
class Task:
    """One evaluation: what may be learned and what is asked.

    Args:
        log: all events.
        learned: (U + 1,) a method may have learned from the events `offsets[u]:learned[u]` of user u before the start.
        questions: in time order.
        protocol: under `time` everything learned from is earlier than every question, and later events can be learned
            from as they come; under `leave-one-out` neither holds.
        seen: whether lists may hold what the user has met; the same for every method.
    """

    log: EventLog
    learned: Longs
    questions: Questions
    protocol: TaskProtocol
    seen: Seen

    @cached_property
    def first_rows(self) -> Longs:
        """(M,) the places of the events to learn from before the start, in time order."""
        return in_time_order(self.log, np.flatnonzero(np.arange(len(self.log)) < self.learned[self.log.users]))

    @cached_property
    def known_items(self) -> Bools:
        """(V + 1,) whether an item has an event among `first_rows`."""
        known = np.zeros(self.log.n_items + 1, np.bool_)
        known[self.log.items[self.first_rows]] = True
        return known

    def strange_targets(self) -> int:
        """Return how many targets are of items that nobody met before, so that only content could place them.

        Before the target under `time`, even where that is after the cut; in what may be learned from under
        `leave-one-out`.
        """
        places, _ = self.questions.targets()
        items = self.log.items[places]
        if self.protocol == "leave-one-out":
            return int(np.count_nonzero(~self.known_items[items]))
        first = np.full(self.log.n_items + 1, np.iinfo(np.int64).max)
        np.minimum.at(first, self.log.items, self.log.times)
        return int(np.count_nonzero(self.log.times[places] == first[items]))


def time_task(log: EventLog, cut: int, seen: Seen) -> Task:
    """Learn from the events before `cut` (microseconds); every later event is a target once.

    The events of a user at one moment share one question and the strictly earlier history.

    Raises:
        DataError: no event at or after the cut, or none before it.
    """
    log = _plain(log)
    early = log.times < cut
    if early.all() or not early.any():
        raise DataError(
            f"there must be events before and after the cut at {cut} (microseconds), got {int(early.sum())} before and "
            f"{int((~early).sum())} after; evaluate on the dataset that was trained on, or on a later one"
        )
    offsets = log.offsets()
    learned = offsets[:-1] + np.bincount(log.users[early], minlength=log.n_users + 1)
    rows = np.flatnonzero(~early)
    users, times = log.users[rows], log.times[rows]
    fresh = (np.diff(users, prepend=-1) != 0) | (np.diff(times, prepend=times[0] - 1) != 0)
    ends = rows[fresh]
    untils = np.append(ends[1:], 0)
    last_of_user = np.append(np.diff(log.users[ends]) != 0, True)
    untils[last_of_user] = offsets[log.users[ends[last_of_user]] + 1]
    return Task(log, learned, _questions(log, ends, untils), "time", seen)


def rest_of_baskets(task: Task) -> Task:
    """Return the task that shows the first half of each basket of two targets or more and asks for the rest.

    The order within a basket is the log's: by a hash that favours no item. It is asked before anything of the basket is
    learned from, so only the frozen table can have it.
    """
    asked = task.questions
    several = np.flatnonzero(asked.untils - asked.ends > 1)
    halves = (asked.untils - asked.ends)[several] // 2
    rest = Questions(
        asked.log,
        asked.users[several],
        asked.starts[several],
        asked.ends[several] + halves,
        asked.untils[several],
        asked.times[several],
    )
    return replace(task, questions=rest)


def last_event_task(log: EventLog, test: Bools, validation: Bools | None, seen: Seen) -> Task:
    """Ask for each user's last event, with everything before it in canonical order as the history.

    Ties with the last event belong to the history, as in the papers that hold out a last event.

    Args:
        log: all events.
        test: (N,) marks each user's last event, at most one a user.
        validation: (N,) marks events that may be read but not learned from either; None where there are none.
        seen: see `Task`.

    Raises:
        DataError: no event is marked.
    """
    if not test.any():
        raise DataError("leave-one-out needs a user with three events or more, there is none; use --protocol time")
    log = _plain(log)
    held = test if validation is None else test | validation
    learned = log.offsets()[1:] - np.bincount(log.users[held], minlength=log.n_users + 1)
    ends = np.flatnonzero(test).astype(np.int64)
    return Task(log, learned, _questions(log, ends, ends + 1), "leave-one-out", seen)


def in_time_order(log: EventLog, rows: Longs) -> Longs:
    """Return the places `rows`, ascending, in the order of their times; ties keep the order of places."""
    return rows[np.argsort(log.times[rows], kind="stable")]


def slice_of(log: EventLog, start: int, end: int) -> History:
    """Return the events `start:end` of one user."""
    return History(log.items[start:end], log.types[start:end], log.values[start:end], log.times[start:end])


def _questions(log: EventLog, ends: Longs, untils: Longs) -> Questions:
    order = np.argsort(log.times[ends], kind="stable")
    ends, untils = ends[order], untils[order]
    users = log.users[ends]
    return Questions(log, users, log.offsets()[users], ends, untils, log.times[ends])


def _plain(log: EventLog) -> EventLog:
    """Return the log with arrays as compiled loops take them: contiguous and writable."""
    kept = {
        name: np.require(getattr(log, name), requirements=("C", "W"))
        for name in ("users", "items", "types", "values", "times")
    }
    return replace(log, **kept)
