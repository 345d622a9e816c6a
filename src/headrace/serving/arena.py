"""The arena: what the encoder computed of recent users' events, in one block of memory with a hard cap.

A question reads only the events that came since the user's last one. Whoever was not asked about for the longest time
leaves first, and is read anew from their history when they come back.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice, pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from headrace.data.log import Floats, History, Ints, joined, ranges
from headrace.ranking.item_vectors import ItemVectors
from headrace.ranking.network import Network
from headrace.ranking.state_kernels import PAGE, NewEvents
from headrace.ranking.stepping import Precision, Stepper

SEAT_BYTES = 450
"""The Python objects of one user, measured with tracemalloc: the seat, its list of pages, the place in the cache."""
_ROWS_AT_ONCE = 256
"""New events of all users that are read by one call."""
_SHARED_AT_LEAST = 64
"""Users that have room whatever another arena holds, as so many may be asked about together."""
_USERS_AT_ONCE = 64
"""Users whose new events are prepared together."""


class Asked(NamedTuple):
    """Whose vector is asked for: `key` of a user whose state is kept, None for a history that came with a question.

    `time` of the request in microseconds; None hides it from the model.
    """

    key: int | None
    history: History
    time: int | None


@dataclass
class _Seat:
    """One user's place in the arena.

    Args:
        pages: theirs; the first is the number by which the kernels know them.
        start: how many events of the history stand before the first one that was read.
        read: how many were read and still hold, from `start` on.
        written: how many slots were written since the first; those before `written` minus a ring are gone.
        epoch: of the input vectors that were read.
    """

    pages: list[int] = field(default_factory=list)
    start: int = 0
    read: int = 0
    written: int = 0
    epoch: int = 0


class Arena:
    """States of users under one model; used by one thread at a time."""

    def __init__(
        self, network: Network, stepper: Stepper, vectors: ItemVectors, *, limit: int, precision: Precision
    ) -> None:
        """Make room; the memory is taken as it is used.

        Args:
            network: how events are read.
            stepper: of the same model.
            vectors: of the items, growing.
            limit: the cap in bytes; one user has room in any.
            precision: of what is kept.
        """
        self._network = network
        self._stepper = stepper
        self._vectors = vectors
        self._page_bytes = stepper.page_bytes(precision) + SEAT_BYTES
        self._ring = stepper.slots // PAGE
        count = max(self._ring, limit // self._page_bytes)
        self._pages = stepper.pages(count, precision)
        self._free = list(range(count - 1, -1, -1))
        self._seats: OrderedDict[int, _Seat] = OrderedDict()
        self._changed: dict[int, int] = {}
        self._other: Arena | None = None
        self._epoch = 0
        self.rebuilt = 0
        """Users that were read from the beginning of what counts."""

    def __len__(self) -> int:
        """Return how many users' states are kept."""
        return len(self._seats)

    def __contains__(self, key: int) -> bool:
        """Return whether there is a state of this user, with all their events or with some."""
        return key in self._seats

    def recent(self, n: int) -> list[int]:
        """Return up to n users, those asked about last first."""
        return list(islice(reversed(self._seats), n))

    def set_behind(self, users: Sequence[int]) -> None:
        """Let users leave before all others; of these the last first."""
        for key in users:
            if key in self._seats:
                self._seats.move_to_end(key, last=False)

    def share_with(self, other: Arena | None) -> None:
        """Leave the memory to another arena that its users hold, as long as they do; None: use all of it again."""
        self._other = other

    @property
    def bytes(self) -> int:
        """Memory that users hold."""
        return (len(self._pages.rows) - len(self._free)) * self._page_bytes

    def users(self, asked: Sequence[Asked]) -> Floats:
        """Return (B, D) user vectors, those of `Network.users`, and keep what was computed of users with a key."""
        found = np.empty((len(asked), self._stepper.shape.width), np.float32)
        # So many have room at the same time, whoever they are.
        together = len(self._pages.rows) // self._ring
        if self._other is not None:
            together = min(together, _SHARED_AT_LEAST)
        for start in range(0, len(asked), together):
            found[start : start + together] = self._users(asked[start : start + together])
        return found

    def unread(self, key: int, events: int) -> int:
        """Return how many events a user's vector would take to read, who has so many."""
        seat = self._seats.get(key)
        known = 0 if seat is None or not seat.read else seat.start + seat.read
        return min(events - known, self._stepper.shape.reach)

    def changed(self, key: int, first: int) -> None:
        """Take in that a user's history has become longer, and another one from place `first` on."""
        seat = self._seats.get(key)
        if seat is None or first >= seat.start + seat.read:
            return
        read = first - seat.start
        if read <= 0 or not self._stepper.goes_back(read, seat.written):
            self.forget(key)
        else:
            seat.read = read

    def inputs_changed(self, items: Ints) -> None:
        """Take in that these items have other input vectors: whoever met them is read anew."""
        if len(items):
            self._epoch += 1
            self._changed.update(dict.fromkeys(items.tolist(), self._epoch))

    def forget(self, key: int) -> None:
        """Drop a user's state."""
        seat = self._seats.pop(key, None)
        if seat is not None:
            self._empty(seat)

    def clear(self) -> None:
        """Drop all states."""
        for key in list(self._seats):
            self.forget(key)

    def saved(self, limit: int) -> dict[str, NDArray[np.generic]]:
        """Return the states of the users asked about last, in up to so many bytes, as named arrays; copies."""
        kept: list[tuple[int, _Seat]] = []
        pages = 0
        for key, seat in reversed(self._seats.items()):
            pages += len(seat.pages)
            if pages * self._page_bytes > limit:
                break
            if seat.read and seat.epoch == self._epoch:
                kept.append((key, seat))
        numbers = [page for _, seat in kept for page in seat.pages]
        return {
            "users": np.array(
                [(key, len(seat.pages), seat.start, seat.read, seat.written) for key, seat in kept], np.int64
            ).reshape(-1, 5),
            "rows": self._pages.rows[numbers],
            "times": self._pages.times[numbers],
            "states": self._pages.states[[seat.pages[0] for _, seat in kept]],
        }

    def restore(self, saved: Mapping[str, NDArray[Any]], without: Container[int]) -> int:
        """Take in what `saved` gave, but for some users; return how many. Their histories must be those of then."""
        ends, taken = np.cumsum(saved["users"][:, 1]), 0
        for place in range(len(ends) - 1, -1, -1):  # those asked about last come last, and leave last
            key, count, start, read, written = saved["users"][place].tolist()
            if key in without or key in self._seats or count > len(self._free):
                continue
            seat = self._seats[key] = _Seat([], start, read, written, self._epoch)
            self._give_pages(seat, count)
            of_user = slice(ends[place] - count, ends[place])
            self._pages.rows[seat.pages], self._pages.times[seat.pages] = (
                saved["rows"][of_user],
                saved["times"][of_user],
            )
            self._pages.states[seat.pages[0]] = saved["states"][place]
            taken += 1
        return taken

    def _users(self, asked: Sequence[Asked]) -> Floats:
        seats: list[_Seat] = []
        try:
            seats.extend(self._seated(one) for one in asked)
            self._read([(seat, one.history) for seat, one in zip(seats, asked, strict=True)])
            return self._stepper.ask(
                self._pages,
                np.array([seat.pages[0] if seat.pages else 0 for seat in seats], np.int32),
                np.array([seat.read - 1 for seat in seats], np.int64),
                self._network.asked([one.time for one in asked]),
            )
        except BaseException:
            for seat in seats:  # what they say they have read, they may not have
                self._empty(seat)
            raise
        finally:
            for seat, one in zip(seats, asked, strict=False):
                if one.key is None:
                    self._empty(seat)

    def _seated(self, one: Asked) -> _Seat:
        """Return a user's seat with pages for all that is to be read; others may lose theirs."""
        if one.key is None:
            seat = _Seat()
        else:
            seat = self._seats.setdefault(one.key, _Seat())
            self._seats.move_to_end(one.key)
        events, reach = len(one.history), self._stepper.shape.reach
        if seat.read and (events - seat.start - seat.read >= reach or self._stale(seat, one.history)):
            self._empty(seat)
        if not seat.read and events:
            seat.start = max(0, events - reach)
            self.rebuilt += one.key is not None and not seat.pages
        seat.epoch = self._epoch
        self._give_pages(seat, min(self._ring, -(-(events - seat.start) // PAGE)))
        return seat

    def _stale(self, seat: _Seat, history: History) -> bool:
        """Return whether an item that was read has got another input vector since."""
        if seat.epoch == self._epoch:
            return False
        read = history.part(0, seat.start + seat.read).last(self._stepper.shape.reach)
        return any(self._changed.get(item, 0) > seat.epoch for item in read.items.tolist())

    def _give_pages(self, seat: _Seat, count: int) -> None:
        while len(seat.pages) < count:
            if self._full() or not self._free:
                _, longest = self._seats.popitem(last=False)
                self._empty(longest)
                continue
            page = self._free.pop()
            seat.pages.append(page)
            self._pages.tables[seat.pages[0], len(seat.pages) - 1] = page

    def _full(self) -> bool:
        """Return whether what the other arena leaves is used up."""
        if self._other is None or len(self._seats) <= _SHARED_AT_LEAST:
            return False
        return self.bytes + self._other.bytes >= len(self._pages.rows) * self._page_bytes

    def _empty(self, seat: _Seat) -> None:
        """Take the pages of a seat; nothing of what stood there is left, for whoever gets them or looks."""
        for numbers in self._pages:
            numbers[seat.pages] = 0
        self._free.extend(seat.pages)
        seat.pages = []
        seat.read = seat.written = 0

    def _read(self, users: Sequence[tuple[_Seat, History]]) -> None:
        """Read what each has not read yet, a page of each at a time."""
        once = {id(seat): (seat, history) for seat, history in users}
        waiting = [(seat, history) for seat, history in once.values() if seat.start + seat.read < len(history)]
        for start in range(0, len(waiting), _USERS_AT_ONCE):
            self._read_some(waiting[start : start + _USERS_AT_ONCE])

    def _read_some(self, users: Sequence[tuple[_Seat, History]]) -> None:
        parts = [history.part(seat.start + seat.read, len(history)) for seat, history in users]
        lengths = np.array([len(part) for part in parts])
        read = self._network.read(joined(parts), self._vectors)
        # What goes into empty slots at once, then a page of each user at a time.
        within = ranges(np.zeros(len(parts), np.int64), lengths)
        places = within + np.repeat([seat.read for seat, _ in users], lengths)
        laps = np.maximum(0, (places - self._stepper.slots) // PAGE + 1)
        order = np.argsort(laps, kind="stable")
        laps, places = laps[order], places[order]
        seats = np.repeat(np.array([seat.pages[0] for seat, _ in users], np.int32), lengths)[order]
        for (seat, _), part in zip(users, parts, strict=True):
            seat.read += len(part)
            seat.written = max(seat.written, seat.read)
        rounds = np.searchsorted(laps, np.arange(laps[-1] + 2))
        for first, last in pairwise(rounds.tolist()):
            for begin in range(first, last, _ROWS_AT_ONCE):
                some = slice(begin, min(begin + _ROWS_AT_ONCE, last))
                rows = order[some]
                vectors = self._vectors.inputs.wide_at(read.items[rows])
                new = NewEvents(
                    seats[some], places[some], vectors, read.types[rows], read.values[rows], read.times[rows]
                )
                self._stepper.extend(self._pages, new)
