"""What the tests of ranking share: small logs and histories."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from headrace.core.settings import RankingSettings
from headrace.data.log import EventLog, History
from headrace.ranking.behaviour import Behaviour
from headrace.ranking.catalogue import Catalogue
from headrace.ranking.sources import Sources

HOUR = 3_600_000_000


def history(items: Sequence[int], times: Sequence[int] | None = None) -> History:
    """Make a history of items, one a microsecond where no times are given."""
    n = len(items)
    return History(
        np.array(items, np.int32),
        np.zeros(n, np.int32),
        np.full(n, np.nan, np.float32),
        np.arange(n, dtype=np.int64) if times is None else np.array(times, np.int64),
    )


def log_of(users: Mapping[int, History], n_items: int) -> EventLog:
    """Put the histories of users one after the other."""
    rows = sorted(users.items())
    parts = [each for _, each in rows]
    empty = history([])
    return EventLog(
        np.repeat([user for user, _ in rows], [len(each) for each in parts]).astype(np.int32),
        np.concatenate([empty.items, *(each.items for each in parts)]),
        np.concatenate([empty.types, *(each.types for each in parts)]),
        np.concatenate([empty.values, *(each.values for each in parts)]),
        np.concatenate([empty.times, *(each.times for each in parts)]),
        max(users, default=0),
        n_items,
    )


def ring(n_items: int, n_users: int, length: int) -> EventLog:
    """After item i always comes i + 1, and after the last the first; one event an hour."""
    starts = range(n_users)
    users = {
        start + 1: history([(start + step) % n_items + 1 for step in range(length)], [HOUR * s for s in range(length)])
        for start in starts
    }
    return log_of(users, n_items)


def sources_of(log: EventLog, settings: RankingSettings | None = None, catalogue: Catalogue | None = None) -> Sources:
    """Count a log; items are called by their index."""
    behaviour = Behaviour()
    behaviour.add_log(log)
    items = catalogue or Catalogue.of_ids([str(item) for item in range(1, log.n_items + 1)])
    return Sources(items, behaviour, settings or RankingSettings())
