"""What the tests of evaluation share: random logs, tasks of synthetic datasets, and the methods of the table."""

from __future__ import annotations

import numpy as np
import polars as pl
from hypothesis import strategies as st

from headrace.core.settings import RankingSettings
from headrace.data.log import EventLog, Floats, Ints
from headrace.data.vocabulary import Vocabulary
from headrace.ranking.baselines.table import traditional_methods
from headrace.ranking.evaluation import MethodMaker

HOUR = 3_600_000_000
N_ITEMS = 12


def log_of_rows(rows: list[tuple[int, int, int]], n_items: int = N_ITEMS) -> EventLog:
    """Make a log of (user, hour, item)."""
    table = np.array(sorted(rows), np.int64).reshape(-1, 3)
    n = len(table)
    return EventLog(
        table[:, 0].astype(np.int32),
        table[:, 2].astype(np.int32),
        np.zeros(n, np.int32),
        np.full(n, np.nan, np.float32),
        table[:, 1] * HOUR,
        int(table[:, 0].max(initial=0)),
        n_items,
    )


def log_of_frame(events: pl.DataFrame, items: pl.DataFrame) -> EventLog:
    """Make the log of a synthetic dataset as `prepare` would order it."""
    events = events.sort("user_id", "time", maintain_order=True)
    n = events.height
    users = Vocabulary(events["user_id"].unique(maintain_order=True))
    return EventLog(
        users.indices(events["user_id"]),
        Vocabulary(items["item_id"]).indices(events["item_id"]),
        np.zeros(n, np.int32),
        np.full(n, np.nan, np.float32),
        events["time"].to_numpy().astype(np.int64),
        len(users),
        items.height,
    )


@st.composite
def logs(draw: st.DrawFn) -> EventLog:
    """Draw a log of up to five users over up to 40 hours, with ties and repeats."""
    row = st.tuples(st.integers(1, 5), st.integers(0, 40), st.integers(1, N_ITEMS))
    rows = draw(st.lists(row, min_size=8, max_size=60, unique=True))
    return log_of_rows(rows)


def content_of(n_items: int) -> Floats:
    """Return content vectors in which neighbours by index resemble each other."""
    angles = np.arange(n_items + 1) / n_items
    vectors = np.column_stack((np.cos(angles), np.sin(angles))).astype(np.float32)
    vectors[0] = 0
    return vectors


def all_methods(log: EventLog) -> list[MethodMaker]:
    """Return every traditional method."""
    return traditional_methods(log, content_of(log.n_items), RankingSettings())


def listed(row: Ints) -> list[int]:
    """Return the items of one list."""
    return [item for item in row.tolist() if item]
