"""The cleaning of a whole table, part by part: each sweep runs steps over every part and books what they dropped."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path

import numpy as np
import polars as pl

from headrace.core.formats import CleaningStep
from headrace.core.order import id_hash, pair_hash
from headrace.core.types import Scale
from headrace.data import cleaning
from headrace.data.cleaning import PAIR, STEPS, USER, Drop, Facts, Step
from headrace.data.log import Bools
from headrace.data.partitions import Parts
from headrace.data.row_rules import Bounds
from headrace.data.sources import Source
from headrace.data.spanning import any_off_scale, core_masks, count_values, detect_scale, repeated_ids
from headrace.data.tables import DROPPED_SCHEMA, ROW, raw_text

_READING: tuple[Step, ...] = (
    cleaning.read_values,
    cleaning.read_times,
    cleaning.check_rows,
    cleaning.order_rows,
    cleaning.drop_duplicates,
    cleaning.tidy_contexts,
)
_MASK = np.uint64(2**64 - 1)
_OPTIONAL = ("lines left out",)


class Sweeps:
    """Cleans the events of one source; call `read`, `rate`, `leave_rare` and `write_events` in this order."""

    def __init__(self, source: Source, raw: Sequence[pl.LazyFrame], facts: Facts, scratch: Path) -> None:
        """Take a source whose events are cut into the parts `raw`."""
        self.read_rows = source.dropped.height
        self.kept = 0
        self.users = 0
        self.types: set[str] = set()
        self._source, self._raw, self._facts, self._scratch = source, raw, facts, scratch
        self._parts = Parts(len(raw), scratch)
        self._pending: list[Step] = []
        self._masks: list[Bools] | None = None
        self._dropped: Counter[tuple[str, str]] = Counter()
        self._quarantine: list[pl.LazyFrame] = [source.dropped.lazy()]
        self._ratings: list[pl.DataFrame] = []
        self._mentions: list[pl.DataFrame] = []
        self._marked = [0, 0]
        self._sums = np.zeros(2, dtype=np.uint64)
        self._dropped.update({(step, reason): n for step, reason, n in _counts(source.dropped)})

    def read(self) -> None:
        """Read values and times, check the row rules, order, and drop exact duplicates."""
        for place, part in enumerate(self._raw):
            raw = part.collect()
            self.read_rows += raw.height
            rows, drops = cleaning.run_steps(raw, self._facts, _READING)
            self._book(place, drops)
            self._parts.store(place, rows)
        again = repeated_ids(self._parts.scan())
        left = pl.lit(True) if again.is_empty() else ~pl.col(ROW).is_in(again.implode())
        self._ratings = [count_values(part.filter(left)) for part in self._parts.scan()]
        if again.len():
            self._pending.append(
                lambda rows, _: cleaning.drop_numbered(
                    rows, again, "retries", "the same event_id stands in an earlier row"
                )
            )

    def rate(self, declared: Scale | None) -> Scale | None:
        """Settle the rating scale and have what lies off it dropped; return it."""
        scale = declared if declared is not None else detect_scale(self._ratings)
        bounds = Bounds(self._facts.latest, scale)
        if any_off_scale(self._ratings, bounds):
            self._pending.append(cleaning.off_scale(bounds))
        return scale if any(counts.height for counts in self._ratings) else None

    def leave_rare(self, min_user_events: int, min_item_events: int) -> None:
        """Have rare users and items dropped; 0 or 1 of both does nothing."""
        if max(min_user_events, min_item_events) <= 1:
            return
        for place in range(len(self._parts)):
            self._parts.store(place, self._run_pending(place))
        self._pending = []
        self._masks = core_masks(self._parts.scan(), min_user_events, min_item_events)

    def write_events(self, path: Path) -> None:
        """Run the last steps and write the events, part after part, which is their canonical order."""
        files = []
        for place in range(len(self._parts)):
            rows = self._run_pending(place)
            if self._masks is not None:
                keep = pl.Series(self._masks[place])
                drop = Drop("rare users and items", "the user or the item has too few events", rows[ROW].filter(~keep))
                self._book(place, [drop] if drop.rows.len() else [])
                rows = rows.filter(keep)
            rows, _ = cleaning.run_steps(rows, self._facts, (cleaning.number_orders, cleaning.mark_bots))
            self._count(rows)
            files.append(path if len(self._parts) == 1 else self._scratch / f"events-{place:06}.parquet")
            cleaning.finish(rows).write_parquet(files[-1])
        if len(files) > 1:
            pl.scan_parquet(files).sink_parquet(path)

    def mentioned(self) -> pl.DataFrame:
        """Return `item_id, events` of every item in the events."""
        return pl.concat(self._mentions).group_by("item_id").agg(pl.col("events").sum())

    def write_quarantine(self, more: pl.DataFrame, path: Path) -> None:
        """Write every dropped row, `more` among them, by source and row."""
        rows = pl.concat([*self._quarantine, more.lazy()])
        rows.select("source", "row", "reason", "raw").sort("source", "row").sink_parquet(path)

    def dropping_steps(self) -> list[CleaningStep]:
        """Return what the dropping steps did, in the order in which they ran; a step that found nothing says so."""
        steps = []
        for name in STEPS:
            found = [CleaningStep(step, reason, n) for (step, reason), n in self._dropped.items() if step == name]
            if not found and name not in _OPTIONAL:
                found = [CleaningStep(name, "none found", 0)]
            steps.extend(found)
        return steps

    def steps(self) -> list[CleaningStep]:
        """Return the dropping steps and the marking of bots."""
        users, events = self._marked
        reason = (
            f"marked, kept, and left out of learning: {users:,} users seen at more than "
            f"{self._facts.bot_visits:,} distinct seconds within an hour"
        )
        return [*self.dropping_steps(), CleaningStep("bots", reason, events)]

    def fingerprint(self, items: pl.DataFrame) -> str:
        """Return a short hash of the events, whatever their parts, and of the items."""
        digest = blake2b(digest_size=16)
        digest.update(f"{self.kept} {self.users} {self._facts.ties} {self._facts.times is None}".encode())
        digest.update(self._sums.tobytes())
        digest.update(items.write_ndjson().encode())
        return digest.hexdigest()

    def _run_pending(self, place: int) -> pl.DataFrame:
        rows, drops = cleaning.run_steps(self._parts.load(place), self._facts, self._pending)
        self._book(place, drops)
        return rows

    def _book(self, place: int, drops: Sequence[Drop]) -> None:
        if not drops:
            return
        for drop in drops:
            self._dropped[drop.step, drop.reason] += drop.rows.len()
        lost = pl.concat(
            [
                pl.DataFrame({ROW: drop.rows}).with_columns(step=pl.lit(drop.step), reason=pl.lit(drop.reason))
                for drop in drops
            ]
        )
        rows = self._raw[place].join(lost.lazy(), on=ROW, how="inner").collect()
        frame = rows.select(source=pl.lit(self._source.name), row=ROW, step="step", reason="reason").with_columns(
            raw_text(rows, self._source.names)
        )
        self._quarantine.append(self._kept_frame(frame.select(*DROPPED_SCHEMA)))

    def _kept_frame(self, frame: pl.DataFrame) -> pl.LazyFrame:
        if len(self._parts) == 1:
            return frame.lazy()
        path = self._scratch / f"dropped-{uuid.uuid4().hex}.parquet"
        frame.write_parquet(path)
        return pl.scan_parquet(path)

    def _count(self, rows: pl.DataFrame) -> None:
        self.kept += rows.height
        self.users += rows[USER].n_unique()
        self.types.update(rows["type"].unique().to_list())
        self._mentions.append(rows.group_by("item_id").agg(events=pl.len().cast(pl.Int64)))
        bots = rows.filter("bot")
        self._marked[0] += bots[USER].n_unique()
        self._marked[1] += bots.height
        values = rows["value"].fill_null(float("nan")).to_numpy().view(np.uint64)
        kinds = {name: id_hash(name) for name in rows["type"].unique().to_list()}
        types = rows["type"].replace_strict(kinds, return_dtype=pl.UInt64).to_numpy() if kinds else values
        with np.errstate(over="ignore"):
            mixed = pair_hash(rows[PAIR].to_numpy(), rows["time"].to_numpy().view(np.uint64))
            self._sums += np.array([mixed.sum(), pair_hash(mixed, values ^ types).sum()], dtype=np.uint64)


def _counts(dropped: pl.DataFrame) -> list[tuple[str, str, int]]:
    return list(dropped.group_by("step", "reason", maintain_order=True).len().iter_rows())
