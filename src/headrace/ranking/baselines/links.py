"""Who met what, as two lists of lists that grow with time: the items of each user, the users of each item.

The room is laid out once for all pairs that the evaluation will come to; how much of each list is visible follows
what was learned so far, and nothing reads behind that. Shapes: U users, V items, P distinct pairs.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from headrace.core.compiled import compiled
from headrace.data.log import Bools, Ints, Longs
from headrace.ranking.questions import Task


class Lists(NamedTuple):
    """Row r holds `values[starts[r]:starts[r] + sizes[r]]`, in the order in which they came."""

    starts: Longs
    sizes: Ints
    values: Ints


class Links:
    """Distinct pairs of user and item, in the order in which they first came."""

    def __init__(self, task: Task) -> None:
        log = task.log
        later, _ = task.questions.targets()
        rows = np.concatenate((task.first_rows, later))
        keys = log.users[rows].astype(np.int64) * (log.n_items + 1) + log.items[rows]
        _, first = np.unique(keys, return_index=True)
        fresh = rows[np.sort(first)]
        self._log = log
        self._fresh: Bools = np.zeros(len(log), np.bool_)
        self._fresh[fresh] = True
        self.of_users = _empty_lists(log.users[fresh], log.items[fresh], log.n_users)
        self.of_items = _empty_lists(log.items[fresh], log.users[fresh], log.n_items)
        self.observe(task.first_rows)

    def observe(self, rows: Longs) -> Longs:
        """Make the pairs of events visible; return the places of those that brought a new pair."""
        fresh = rows[self._fresh[rows]]
        _lengthen(self.of_users.sizes, self._log.users, fresh)
        _lengthen(self.of_items.sizes, self._log.items, fresh)
        return fresh


def _empty_lists(rows: Ints, values: Ints, n_rows: int) -> Lists:
    order = np.argsort(rows, kind="stable")
    starts = np.searchsorted(rows[order], np.arange(n_rows + 2)).astype(np.int64)
    return Lists(starts, np.zeros(n_rows + 1, np.int32), np.ascontiguousarray(values[order]))


@compiled
def _lengthen(sizes: Ints, keys: Ints, events: Longs) -> None:
    for event in events:
        sizes[keys[event]] += 1
