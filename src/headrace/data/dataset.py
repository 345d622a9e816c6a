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
        events = self.events()
        if not include_bots:
            events = events.filter(~pl.col("bot"))
        types = pl.Enum(self.report.types)
        rows = events.select("user_id", "item_id", pl.col("type").cast(types).to_physical(), "value", "time").collect()
        return EventLog(
            users=self._users.indices(rows["user_id"]),
            items=self._items.indices(rows["item_id"]),
            types=rows["type"].to_numpy().astype(np.int32),
            values=rows["value"].fill_null(np.nan).to_numpy().astype(np.float32),
            times=rows["time"].to_numpy(),
            n_users=len(self._users),
            n_items=len(self._items),
            has_times=self.report.has_times,
        )

    @cached_property
    def _users(self) -> Vocabulary:
        return Vocabulary(self.events().select("user_id").unique(maintain_order=True).collect()["user_id"])

    @cached_property
    def _items(self) -> Vocabulary:
        return Vocabulary(pl.read_parquet(self.path / ITEMS_FILE, columns=["item_id"])["item_id"])
