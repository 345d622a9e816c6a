"""A prepared dataset: events, items and the report of how they came about."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import numpy as np
import polars as pl

from headrace.core.errors import FormatError
from headrace.core.formats import (
    DATASET_FORMAT,
    EVENTS_FILE,
    ITEMS_FILE,
    QUARANTINE_FILE,
    REPORT_FILE,
    DatasetReport,
    read_document,
)
from headrace.data.log import EventLog
from headrace.data.vocabulary import Vocabulary

_CONVERT = "headrace prepare SOURCE --out DATASET"
_AT_ONCE = 4_000_000
"""Events that are read at once: as texts they take five times the memory of their indices."""


class Dataset:
    """A folder that `headrace prepare` wrote. Immutable; what it reads once it keeps."""

    def __init__(self, path: Path, report: DatasetReport) -> None:
        self.path = path
        self.report = report

    def __repr__(self) -> str:
        return f"Dataset({str(self.path)!r}: {self.report.kept:,} events, {self.report.users:,} users)"

    @classmethod
    def open(cls, path: str | Path) -> Dataset:
        """Open a dataset folder.

        Raises:
            FormatError: no such folder, not a dataset, or of a format that this version does not read.
        """
        folder = Path(path)
        report = read_document(folder / REPORT_FILE, DatasetReport, DATASET_FORMAT, _CONVERT)
        for name in (EVENTS_FILE, ITEMS_FILE):
            if not (folder / name).is_file():
                raise FormatError(f"{folder} must hold {name} and does not; write it anew with `{_CONVERT}`")
        return cls(folder, report)

    def events(self) -> pl.LazyFrame:
        """Return the events in canonical order, the users one after the other.

        Columns: `user_id, item_id, type` text, `value` float64 or null, `time` microseconds, `event_id`,
        `recommendation_id`, `context` text or null, `bot` true for users who are left out of learning.
        """
        return pl.scan_parquet(self.path / EVENTS_FILE)

    def items(self) -> pl.DataFrame:
        """Return the items: the catalogue, and a row of nulls for each item that only events mention."""
        return pl.read_parquet(self.path / ITEMS_FILE)

    def quarantine(self) -> pl.DataFrame:
        """Return every dropped row: `source, row, reason, raw`."""
        return pl.read_parquet(self.path / QUARANTINE_FILE)

    def item_vocabulary(self) -> Vocabulary:
        """Return the items in the order of `items()`; item 1 is the first."""
        return self._items

    def user_vocabulary(self) -> Vocabulary:
        """Return the users in the order of their events; user 1 is the first."""
        return self._users

    def log(self, *, include_bots: bool = False) -> EventLog:
        """Return the events as arrays, indexed by the two vocabularies and by the report's types.

        Args:
            include_bots: whether events of marked users are there; indices are the same with and without.
        """
        kinds = pl.Enum(self.report.types)
        columns = ("user_id", "item_id", pl.col("type").cast(kinds).to_physical(), "value", "time", "bot")
        events = self.events().select(*columns)
        n = int(self.events().select(pl.len()).collect().item())
        users, items, types = (np.empty(n, np.int32) for _ in range(3))
        values, times = np.empty(n, np.float32), np.empty(n, np.int64)
        filled, seen, last = 0, 0, None
        for start in range(0, n, _AT_ONCE):
            rows = events.slice(start, _AT_ONCE).collect()
            # A user's events stand together, so that a change of the id is the next user.
            changes = (rows["user_id"] != rows["user_id"].shift(1, fill_value=last)).fill_null(True)
            numbers = seen + changes.cast(pl.Int32).cum_sum()
            seen, last = int(numbers[-1]), rows["user_id"][-1]
            rows = rows.with_columns(numbers.alias("user"))
            rows = rows if include_bots else rows.filter(~pl.col("bot"))
            part = slice(filled, filled := filled + rows.height)
            users[part], items[part] = rows["user"], self._items.indices(rows["item_id"])
            types[part], times[part] = rows["type"], rows["time"]
            values[part] = rows["value"].fill_null(np.nan)
        return EventLog(
            users[:filled],
            items[:filled],
            types[:filled],
            values[:filled],
            times[:filled],
            n_users=seen,
            n_items=len(self._items),
            has_times=self.report.has_times,
        )

    @cached_property
    def _users(self) -> Vocabulary:
        return Vocabulary(self.events().select("user_id").unique(maintain_order=True).collect()["user_id"])

    @cached_property
    def _items(self) -> Vocabulary:
        return Vocabulary(pl.read_parquet(self.path / ITEMS_FILE, columns=["item_id"])["item_id"])
