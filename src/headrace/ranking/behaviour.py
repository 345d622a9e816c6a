"""All that is counted of what people do, updated together: transitions, popularity and event types.

A pure function of the histories in canonical order: late, repeated and erased events leave the same integers as one
pass over the final store.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from headrace.core.settings import RankingSettings
from headrace.data.log import Bools, EventLog, History, joined, ranges
from headrace.ranking.count_rows import Arrays
from headrace.ranking.popularity import Popularity, TypeCounts
from headrace.ranking.transition_kernels import first_at
from headrace.ranking.transitions import TransitionCounts, differing

_AT_ONCE = 4_000_000
"""Events that are counted at once, of whole users: counting takes twice their memory beside the counts."""


def window_for(events: int, settings: RankingSettings) -> int:
    """Return the window of the transition counts of a log of so many events; see `RankingSettings.count_pairs`."""
    return max(1, min(settings.count_window, settings.count_pairs // max(1, events)))


class Behaviour:
    """The fast clock: each event changes it within microseconds."""

    def __init__(self, window: int = 20) -> None:
        self.transitions = TransitionCounts(window)
        self.popularity = Popularity()
        self.types = TypeCounts()

    def add_log(self, log: EventLog) -> None:
        """Add the whole histories of users who were not counted before."""
        self.transitions.add_log(log)
        self.popularity.add(log.items, log.times)
        self.types.add(log.items, log.types)

    def add_marked(self, log: EventLog, marked: Bools) -> None:
        """Add the events that `marked` (N,) marks, of users who were not counted before, some users at a time."""
        for start, end in log.blocks(_AT_ONCE):
            self.add_log(log.part(start, end).where(marked[start:end]))
            self.transitions.compact()
            self.popularity.compact()

    def change(self, before: History, after: History, *, first: int = 0) -> None:
        """Replace one user's history by another.

        Args:
            before: what was counted; empty for a new user. Nothing changes if it equals `after` (a retry).
            after: what holds now; empty for a user who is forgotten. Both may be slices, as described at
                `TransitionCounts.change`.
            first: events before this place are known to be the same in both; saves comparing a long history.
        """
        start, old_end, new_end = differing(before, after, first)
        if start == old_end == new_end:
            return
        self.transitions.change(before, after, first=start)
        self.popularity.add(before.items[start:old_end], before.times[start:old_end], sign=-1)
        self.popularity.add(after.items[start:new_end], after.times[start:new_end])
        self.types.add(before.items[start:old_end], before.types[start:old_end], sign=-1)
        self.types.add(after.items[start:new_end], after.types[start:new_end])

    def follow(self, grown: Sequence[tuple[History, History, int]]) -> None:
        """Replace the histories of several users: before, after, and the first place at which the two differ."""
        longer = [one for one in grown if len(one[0]) <= one[2] < len(one[1])]
        if longer:
            self.extend([after for _, after, _ in longer], [first for _, _, first in longer])
        for before, after, first in grown:
            if first < len(before):
                self.change(before, after, first=first)

    def extend(self, histories: Sequence[History], firsts: Sequence[int]) -> None:
        """Count the events that came last: those from place `first` on of the history of each of several users.

        The same as a `change` for each from the history before, in one pass.
        """
        parts = []
        for history, first in zip(histories, firsts, strict=True):
            basket = first_at(history.times[:first], history.times[first])
            parts.append(history.part(max(0, basket - 2 * self.transitions.window), len(history)))
        sizes = np.array([len(part) for part in parts])
        new = np.array([len(history) for history in histories]) - firsts
        users = np.repeat(np.arange(1, len(parts) + 1, dtype=np.int32), sizes)
        place = ranges(np.zeros(len(parts), np.int64), sizes)
        both = joined(parts)
        log = EventLog(users, both.items, both.types, both.values, both.times, n_users=len(parts), n_items=0)
        self.append(log, place >= np.repeat(sizes - new, sizes))

    def append(self, log: EventLog, new: Bools) -> None:
        """Add the events that `new` (N,) marks, the last ones of their users, whose whole histories are in the log.

        What `new` does not mark was counted before. The same as a `change` for each of the users, in one pass.
        """
        self.transitions.append(log, new)
        self.popularity.add(log.items[new], log.times[new])
        self.types.add(log.items[new], log.types[new])

    def state(self) -> Arrays:
        """Return everything as named arrays, copies, for safetensors; the event log cannot be read from them."""
        parts = {
            "transitions": self.transitions.state(),
            "popularity": self.popularity.state(),
            "types": self.types.state(),
        }
        return {f"{name}.{key}": array for name, part in parts.items() for key, array in part.items()}

    @classmethod
    def from_state(cls, state: Arrays) -> Behaviour:
        """Make it again from `state()`; the arrays are copied."""
        behaviour = cls()
        behaviour.transitions = TransitionCounts.from_state(_part(state, "transitions"))
        behaviour.popularity = Popularity.from_state(_part(state, "popularity"))
        behaviour.types = TypeCounts.from_state(_part(state, "types"))
        return behaviour


def _part(state: Arrays, name: str) -> Arrays:
    return {key.removeprefix(f"{name}."): array for key, array in state.items() if key.startswith(f"{name}.")}
