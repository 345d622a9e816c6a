"""Recent popularity and event types: integer counts per hour and item, per item and type.

The windows hour, day, week and all are mixed in proportion to the events that they hold: p(a) = sum_w n_w(a) / sum_w
N_w. A log that ended years ago so answers from its whole, and not from today's one click.
"""

from __future__ import annotations

import numpy as np

from headrace.core.compiled import compiled
from headrace.data.log import Floats, Ints, Longs
from headrace.ranking.count_rows import Arrays, CountRows
from headrace.ranking.largest import put_in_order, top

HOUR_US = 3_600_000_000
WINDOWS_H = (1, 24, 168)
"""The windows beside "all", in hours: the hours that have passed in full and the one that is running."""

LEADERS = 1024
"""Most popular items that are known without a look at all items."""

RECENT_EVENTS = 1000
"""Where fewer events stand before the running hour of the last week, `recent_log_scores` looks back further."""


class Leading:
    """The items of the n largest scores, best first, kept while scores grow one by one.

    Kept are the first `LEADERS` of one moment, and every item that has since come before the last of those.
    """

    def __init__(self, above: float) -> None:
        """Scores at or below `above` are never among them."""
        self._above = np.float32(above)
        self._members: Ints | None = None
        self._inside: set[int] = set()
        self._risen = False
        self._n_items = 0
        self._floor = self._above

    def of(self, scores: Floats, n: int) -> Ints:
        """Return the items of at least the n largest of `scores` (V + 1,), as far as there are so many, best first.

        Ties go to the lower item. Do not change it.
        """
        if n > LEADERS:
            return self._first(scores, n)
        before, self._n_items = self._n_items, len(scores)
        if len(scores) > before:
            self.follow(scores, np.arange(before, len(scores), dtype=np.int32), grown=True)
        elif len(scores) < before:
            self.reset()
        members = self._members
        if members is None or len(members) > 2 * LEADERS:
            members = self._members = self._first(scores, LEADERS)
            self._inside = set(members.tolist())
            self._floor = scores[members[-1]] if len(members) == LEADERS else self._above
        elif self._risen:
            put_in_order(members, scores)
        self._risen = False
        return members

    def follow(self, scores: Floats, items: Ints, *, grown: bool) -> None:
        """Take in that the scores of some items have changed; `grown`: none has fallen."""
        if self._members is None:
            return
        if not grown or len(items) > LEADERS:
            self.reset()
            return
        # One that equals the last of the first comes behind it or before it: it may stand among them in both cases.
        items = items[items < self._n_items]
        risen = items[scores[items] >= self._floor]
        if len(risen):
            self._risen = True
            fresh = [item for item in dict.fromkeys(risen.tolist()) if item not in self._inside]
            self._inside.update(fresh)
            self._members = np.concatenate((self._members, np.array(fresh, np.int32)))

    def reset(self) -> None:
        """Take in that any score may have changed."""
        self._members = None

    def _first(self, scores: Floats, n: int) -> Ints:
        found = top(scores, n, above=float(self._above))
        return found[np.argsort(-scores[found], kind="stable")]


class Popularity:
    """How often each item was met in each hour, and what is popular at a moment.

    Independent of the order of arrival. The sums of one moment are kept and changed in place, so that neither a
    question nor an event passes over the items while the hour stays the same.
    """

    def __init__(self) -> None:
        self._rows: dict[int, int] = {}
        self._hours = CountRows()
        self._per_hour = np.zeros(64, np.int64)
        self._totals = np.zeros(1, np.int32)
        self._rarities = np.ones(1, np.float32)
        self._newest: int | None = None
        self._hour: int | None = None
        self._sums = np.zeros(1, np.int32)
        self._logs = np.zeros(1, np.float32)
        self._recent_hour: int | None = None
        self._recent = np.zeros(1, np.int32)
        self._recent_logs = np.zeros(1, np.float32)
        self._leaders = Leading(-np.inf)
        self._risers = Leading(0)

    def add(self, items: Ints, times: Longs, *, sign: int = 1) -> None:
        """Count events.

        Args:
            items: (n,) item indices.
            times: (n,) microseconds.
            sign: -1 takes the same events away again.
        """
        if not len(items):
            return
        self._grow(int(items.max()) + 1)
        hours = times // HOUR_US
        first, last = int(hours.min()), int(hours.max())
        if first == last:
            rows = np.full(len(items), self._row(first), np.int32)
        else:
            distinct, where = np.unique(hours, return_inverse=True)
            rows = np.array([self._row(hour) for hour in distinct.tolist()], np.int32)[where]
        self._hours.add(rows, np.ascontiguousarray(items), np.full(len(items), sign, np.int64))
        np.add.at(self._per_hour, rows, sign)
        np.add.at(self._totals, items, sign)
        self._rarities[items] = 1 / np.sqrt(self._totals[items] + 1)
        self._follow_newest(last, sign)
        if self._hour is not None:
            np.add.at(self._sums, items, sign * _times_counted(hours, self._hour))
            self._logs[items] = np.log(self._sums[items] + 1)
            self._leaders.follow(self._logs, items, grown=sign > 0)
        if self._recent_hour is not None and first < self._recent_hour:
            self._recent_hour = None  # where the window begins may have changed
        elif self._recent_hour is not None:
            inside = items[hours == self._recent_hour]
            np.add.at(self._recent, inside, sign)
            self._recent_logs[inside] = np.log(self._recent[inside] + 1)
            self._risers.follow(self._recent_logs, inside, grown=sign > 0)

    def compact(self) -> None:
        """Give back the memory that growing left."""
        self._hours.compact()

    @property
    def newest(self) -> int | None:
        """The start of the last hour that holds an event, microseconds; None while nothing is counted."""
        return None if self._newest is None else self._newest * HOUR_US

    def totals(self, n_items: int) -> Ints:
        """Return (n_items + 1,) the events of each item over all time. A view: do not change it."""
        self._grow(n_items + 1)
        return self._totals[: n_items + 1]

    def rarities(self, n_items: int) -> Floats:
        """Return (n_items + 1,) 1 / sqrt(events + 1) of each item over all time. A view: do not change it."""
        self._grow(n_items + 1)
        return self._rarities[: n_items + 1]

    def probabilities(self, now: int | None, n_items: int) -> Floats:
        """Return (n_items + 1,) p(a) at `now`; it sums to 1, or is all zero where nothing is counted.

        Args:
            now: microseconds; None means the newest hour that holds an event.
            n_items: V; items above it are left out.
        """
        sums = self._at(now, n_items)
        mass = int(sums.sum())
        return (sums / max(1, mass)).astype(np.float32)

    def log_scores(self, now: int | None, n_items: int) -> Floats:
        """Return (n_items + 1,) log(1 + sum_w n_w(a)): log p(a), one event added to each item, but for a constant.

        Never minus infinity, 0 for items that nobody met. A view: do not change it.
        """
        self._at(now, n_items)
        return self._logs[: n_items + 1]

    def recent_log_scores(self, now: int | None, n_items: int) -> Floats:
        """Return (n_items + 1,) log(1 + n(a)) over the last week, or the last `RECENT_EVENTS` where it holds fewer.

        It ends at `now`, or at the newest hour that holds an event where that is earlier: what was popular last stays
        popular until something else is met. A view: do not change it.
        """
        self._grow(n_items + 1)
        hour = min(self._hour_of(now), self._hour_of(None))
        if hour != self._recent_hour:
            rows = self._recent_rows(hour)
            counted = self._hours.sum_rows(rows, np.ones(len(rows), np.int64), len(self._totals))
            self._recent, self._recent_logs = counted.astype(np.int32), _log_of_next(counted)
            self._recent_hour = hour
            self._risers.reset()
        return self._recent_logs[: n_items + 1]

    def leaders(self, now: int | None, n: int, n_items: int) -> Ints:
        """Return the items of at least the n largest `log_scores` at `now`, best first; see `Leading.of`."""
        return self._leaders.of(self.log_scores(now, n_items), n)

    def risers(self, now: int | None, n: int, n_items: int) -> Ints:
        """Return the items of at least the n largest `recent_log_scores` above 0, likewise."""
        return self._risers.of(self.recent_log_scores(now, n_items), n)

    def last_days(self, now: int | None, days: int, n_items: int) -> Longs:
        """Return (n_items + 1,) the events of each item in the last `days` days, the running hour included."""
        hour = self._hour_of(now)
        _, rows = self._between(hour - 24 * days, hour)
        return self._hours.sum_rows(rows, np.ones(len(rows), np.int64), n_items + 1)

    def triples(self) -> tuple[Longs, Ints, Longs]:
        """Return (hour, item, count) of all counts but zeros, by hour and item."""
        rows, items, counts = self._hours.triples()
        hour_of = np.fromiter(self._rows, np.int64, len(self._rows))
        order = np.lexsort((items, hour_of[rows]))
        return hour_of[rows][order], items[order], counts[order]

    def state(self) -> Arrays:
        """Return everything as arrays, copies."""
        return {"hours": np.fromiter(self._rows, np.int64, len(self._rows)), **self._hours.state()}

    @classmethod
    def from_state(cls, state: Arrays) -> Popularity:
        """Make the counts again from `state()`."""
        popularity = cls()
        popularity._hours = CountRows.from_state(state)
        popularity._rows = {hour: row for row, hour in enumerate(np.asarray(state["hours"]).tolist())}
        items, counts = np.asarray(state["columns"], np.int32), np.asarray(state["counts"], np.int64)
        offsets = np.array(state["offsets"], np.int64)
        rows = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
        popularity._grow(int(items.max(initial=0)) + 1)
        np.add.at(popularity._totals, items, counts)
        popularity._rarities = (1 / np.sqrt(popularity._totals + 1)).astype(np.float32)
        popularity._per_hour = np.bincount(rows, counts, max(64, len(popularity._rows))).astype(np.int64)
        popularity._newest = popularity._find_newest()
        return popularity

    def _at(self, now: int | None, n_items: int) -> Ints:
        """Return the sums over the windows at `now`, and keep them, with their logs, for the next question."""
        self._grow(n_items + 1)
        hour = self._hour_of(now)
        if hour != self._hour:
            hours, rows = self._between(hour - WINDOWS_H[-1], hour)
            # New arrays, as the answers of the same batch may still read the old ones.
            weights = _times_counted(hours, hour) - 1
            sums = self._totals + self._hours.sum_rows(rows, weights, len(self._totals))
            self._sums, self._logs = sums.astype(np.int32), _log_of_next(sums)
            self._hour = hour
            self._leaders.reset()
        return self._sums[: n_items + 1]

    def _hour_of(self, now: int | None) -> int:
        return now // HOUR_US if now is not None else self._newest or 0

    def _between(self, first: int, last: int) -> tuple[Longs, Ints]:
        """Return the hours first..last that were ever counted, and their rows."""
        found = [(hour, row) for hour in range(first, last + 1) if (row := self._rows.get(hour)) is not None]
        return np.array([hour for hour, _ in found], np.int64), np.array([row for _, row in found], np.int32)

    def _recent_rows(self, hour: int) -> Ints:
        """Return the rows of the hours that `recent_log_scores` sums at `hour`.

        How far back they go follows from the hours before alone, so that it stays the same while the hour runs.
        """
        hours = np.fromiter(self._rows, np.int64, len(self._rows))
        rows = np.argsort(-hours, kind="stable").astype(np.int32)
        rows = rows[hours[rows] <= hour]
        events = np.where(hours[rows] < hour, self._per_hour[rows], 0)
        later = np.cumsum(events) - events
        return rows[(hours[rows] >= hour - WINDOWS_H[-1]) | (later < RECENT_EVENTS)]

    def _row(self, hour: int) -> int:
        row = self._rows.setdefault(hour, len(self._rows))
        if row >= len(self._per_hour):
            self._per_hour = np.concatenate((self._per_hour, np.zeros(len(self._per_hour), np.int64)))
        return row

    def _follow_newest(self, last: int, sign: int) -> None:
        if sign > 0:
            self._newest = last if self._newest is None else max(self._newest, last)
        elif last == self._newest and self._per_hour[self._rows[last]] == 0:
            self._newest = self._find_newest()

    def _find_newest(self) -> int | None:
        return max((hour for hour, row in self._rows.items() if self._per_hour[row] > 0), default=None)

    def _grow(self, size: int) -> None:
        have = len(self._totals)
        if size > have:
            more = max(size, have * 9 // 8 + 16) - have
            self._totals = np.concatenate((self._totals, np.zeros(more, np.int32)))
            self._rarities = np.concatenate((self._rarities, np.ones(more, np.float32)))
        if len(self._sums) < len(self._totals):
            more = len(self._totals) - len(self._sums)
            self._sums = np.concatenate((self._sums, np.zeros(more, np.int32)))
            self._logs = np.concatenate((self._logs, np.zeros(more, np.float32)))
        if len(self._recent) < len(self._totals):
            more = len(self._totals) - len(self._recent)
            self._recent = np.concatenate((self._recent, np.zeros(more, np.int32)))
            self._recent_logs = np.concatenate((self._recent_logs, np.zeros(more, np.float32)))


class TypeCounts:
    """How often each item was met by each type of event, for lists that are ranked by one type."""

    def __init__(self) -> None:
        self._counts = np.zeros((1, 1), np.int32)
        self._by_type = np.zeros(1, np.int64)

    def add(self, items: Ints, types: Ints, *, sign: int = 1) -> None:
        """Count events.

        Args:
            items: (n,) item indices.
            types: (n,) indices of event types.
            sign: -1 takes the same events away again.
        """
        if not len(items):
            return
        have_items, have_types = self._counts.shape
        n_items, n_types = int(items.max()) + 1, int(types.max()) + 1
        if n_items > have_items or n_types > have_types:
            larger = max(n_items, have_items * 9 // 8 + 16) if n_items > have_items else have_items
            grown = np.zeros((larger, max(n_types, have_types)), np.int32)
            grown[:have_items, :have_types] = self._counts
            self._counts = grown
            self._by_type = grown.sum(axis=0, dtype=np.int64)
        np.add.at(self._counts, (items, types), sign)
        self._by_type[: int(types.max()) + 1] += sign * np.bincount(types)

    @property
    def counts(self) -> Ints:
        """(rows, T) the events of each item by type; it may lack items and types that no event had. A view."""
        return self._counts

    def share(self, event_type: int) -> float:
        """Return the share of all events that are of a type, 0 for one never seen."""
        known = 0 <= event_type < len(self._by_type)
        return float(self._by_type[event_type] / max(1, self._by_type.sum())) if known else 0.0

    def state(self) -> Arrays:
        """Return everything as arrays, copies."""
        return {"counts": self._counts.copy()}

    @classmethod
    def from_state(cls, state: Arrays) -> TypeCounts:
        """Make the counts again from `state()`."""
        types = cls()
        types._counts = np.array(state["counts"], np.int32)
        types._by_type = types._counts.sum(axis=0, dtype=np.int64)
        return types


@compiled
def _log_of_next(counts: Longs) -> Floats:
    """Return log(count + 1) of each; most items of a large catalogue have no events in a week, some never had."""
    logs = np.zeros(len(counts), np.float32)
    for item in range(len(counts)):
        if counts[item] != 0:
            logs[item] = np.log(np.float64(counts[item] + 1))
    return logs


def _times_counted(hours: Longs, now: int) -> Longs:
    """Return for events of each hour how many of the windows that end at hour `now` hold them, "all" included."""
    counted = np.ones(len(hours), np.int64)
    for window in WINDOWS_H:
        counted += (hours >= now - window) & (hours <= now)
    return counted
