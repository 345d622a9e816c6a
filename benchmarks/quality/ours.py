"""Ours, put to the test in a process of its own: train, then let `evaluate` ask, or ask for every prefix of a session.

    python -m quality.ours SET DATASET SPLIT OUT --minutes 8

Writes the lists of each method of the table, and facts, as a peer does. Shapes: Q questions, K places of a list.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from time import perf_counter

import numpy as np
from peers.exchange import LIST, Seen, Split, peak_mb, read

import headrace
from headrace.core.settings import RankingSettings, Settings
from headrace.data.log import Ints
from headrace.pipeline.assessment import evaluate
from headrace.pipeline.model import Model
from headrace.ranking.evaluation import NO_TIME, Lists
from headrace.ranking.questions import Task
from quality.splits import SETS

OWN = ("headrace", "encoder", "counts")
"""The methods whose twin without the time of the request is kept too."""
_STAGES = {
    "time-frozen": "refitted",
    "time-live": "live",
    "leave-one-out-fitted": "fitted",
    "leave-one-out-refitted": "refitted",
}


def main() -> None:
    """Read the command line, train, ask and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("set", choices=SETS)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("split", type=Path)
    parser.add_argument("out", type=Path, help="the folder that gets a folder a method")
    parser.add_argument("--minutes", type=float, required=True)
    options = parser.parse_args()
    dataset, split, chosen = headrace.Dataset.open(options.dataset), read(options.split), SETS[options.set]
    folder = options.out / "model"
    started = perf_counter()
    model = headrace.train(dataset, folder, protocol=chosen.protocol or "all", minutes=options.minutes)
    learned = perf_counter() - started
    if chosen.protocol is None:
        answers = _ask_sessions(model, split, (options.split / "items.txt").read_text().splitlines())
    else:
        answers = _Answers(split)
        for seen in split.seen:
            answers.seen = seen
            evaluate(folder, dataset, settings=Settings(ranking=RankingSettings(seen=seen)), keep=answers.keep)
    for method, seconds in answers.seconds.items():
        own = method.removesuffix(NO_TIME) in OWN
        facts = {
            "chosen": {"steps": model.info.steps, "preset": model.info.preset} if own else {},
            "seconds": {"choose": 0.0, "learn": round(learned, 2) if own else 0.0, "answer": round(seconds, 2)},
            "peak_mb": peak_mb() if own else None,
            "versions": {name: version(name) for name in ("headrace", "torch", "numpy")},
        }
        target = options.out / method
        target.mkdir(parents=True, exist_ok=True)
        for table, lists in answers.lists[method].items():
            np.save(target / f"{table}.npy", lists)
        (target / "facts.json").write_text(json.dumps(facts, indent=1) + "\n")


class _Answers:
    """The lists by method and table, and the seconds by method."""

    def __init__(self, split: Split) -> None:
        self.seen: Seen = "include"
        self.lists: dict[str, dict[str, Ints]] = {}
        self.seconds: dict[str, float] = {}
        self._split = split

    def keep(self, table: str, task: Task, lists: Mapping[str, Lists]) -> None:
        """Take what `evaluate` asked and what it was answered."""
        asked, ours = task.questions, self._split.test
        same = all(
            np.array_equal(getattr(asked, name), getattr(ours, name)) for name in ("users", "starts", "ends", "untils")
        )
        assert same, "evaluate asks other questions than the split holds"
        for method, found in lists.items():
            self.add(method, f"{_STAGES[table]}-{self.seen}", found.with_time, found.seconds)
            if method in OWN:
                self.add(method + NO_TIME, f"{_STAGES[table]}-{self.seen}", found.without_time, found.seconds)

    def add(self, method: str, table: str, lists: Ints, seconds: float) -> None:
        """Take the lists of a method."""
        self.lists.setdefault(method, {})[table] = lists
        self.seconds[method] = self.seconds.get(method, 0.0) + seconds


def _ask_sessions(model: Model, split: Split, ids: list[str]) -> _Answers:
    """Ask for the click after each prefix, at its time and with the time hidden; what was clicked may be listed."""
    numbers = {item: number for number, item in enumerate(ids, start=1)}
    answers, asked = _Answers(split), split.test
    for method in ("headrace", "headrace" + NO_TIME):
        started = perf_counter()
        lists = np.zeros((len(asked), LIST), np.int32)
        for question, (start, end, time) in enumerate(zip(asked.starts, asked.ends, asked.times, strict=True)):
            history = [
                headrace.Event(user_id="-", item_id=ids[split.items[place] - 1], time=int(split.times[place]))
                for place in range(start, end)
            ]
            at = int(time) if method == "headrace" else None
            found = [numbers[each.item_id] for each in model.recommend(history, LIST, time=at, seen="include")]
            lists[question, : len(found)] = found
        answers.add(method, "fitted-include", lists, perf_counter() - started)
    return answers


if __name__ == "__main__":
    main()
