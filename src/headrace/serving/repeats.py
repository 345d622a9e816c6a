"""How often people come back to an item: the learned habit of whether lists hold what the user met."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from headrace.core.types import Seen
from headrace.data.log import EventLog, History
from headrace.ranking.scorer import SEEN_SHARE, repeat_share


@dataclass
class Repeats:
    """Counts over all users, a pure function of their histories; `habit` is `ranking.scorer.seen_habit` of the log."""

    events: int = 0
    repeated: int = 0

    @classmethod
    def of_log(cls, log: EventLog) -> Repeats:
        """Count a whole log."""
        return cls(len(log), round(repeat_share(log) * len(log)) if len(log) else 0)

    @classmethod
    def of_labels(cls, labels: Mapping[str, str]) -> Repeats:
        """Read what `labels` gave."""
        return cls(int(labels["events"]), int(labels["repeated"]))

    def labels(self) -> dict[str, str]:
        """Return the counts as text, for a snapshot."""
        return {"events": str(self.events), "repeated": str(self.repeated)}

    @property
    def habit(self) -> Seen:
        """`include` where people come back to items."""
        return "include" if self.events and self.repeated / self.events >= SEEN_SHARE else "exclude"

    def change(self, before: History, after: History, first: int) -> None:
        """Replace one user's history by another; the events before place `first` are the same in both."""
        self.events += len(after) - len(before)
        self.repeated += _repeated(after, first) - _repeated(before, first)


def _repeated(history: History, first: int) -> int:
    """Count the events from place `first` on whose item stands at an earlier time in the history."""
    n = len(history) - first
    if n <= 0:
        return 0
    if n <= 4:  # a new event or two: one look at the history each
        return sum(_met_before(history, place) for place in range(first, len(history)))
    order = np.lexsort((history.times, history.items))
    items, times = history.items[order], history.times[order]
    starts = np.concatenate((np.ones(1, np.bool_), items[1:] != items[:-1]))
    earliest = times[np.maximum.accumulate(np.where(starts, np.arange(len(times)), 0))]
    return int(np.sum((times > earliest) & (order >= first)))


def _met_before(history: History, place: int) -> bool:
    same = history.items[:place] == history.items[place]
    return bool(np.any(history.times[:place][same] < history.times[place]))
