"""From lists to figures: NDCG, recall and MRR with intervals, and the difference of ours to each method, user by user.

A table says what was learned (`leave-one-out-fitted`, `time-live`, `sessions` …) and, of a set that is asked both ways,
whether lists may repeat what the user has met. Where they may not, only what the user has not met is asked for.
Shapes: Q questions, T targets, K places of a list, U users, M figures.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
from peers.exchange import LIST, Seen, Split

from headrace.data.log import Bools, Ints, Longs
from headrace.ranking.bootstrap import Interval, mean_intervals, sums_by_user
from headrace.ranking.evaluation import CUTOFFS, SEED
from headrace.ranking.metrics import Doubles, basket_ndcgs, basket_recalls, mrrs, ndcgs, ranks_of, recalls

OURS = "headrace"
_OF_TARGETS: dict[str, Callable[[Ints, int], Doubles]] = {"ndcg": ndcgs, "recall": recalls, "mrr": mrrs}
_OF_BASKETS: dict[str, Callable[[Ints, Longs, int, int], Doubles]] = {
    "basket-ndcg": basket_ndcgs,
    "basket-recall": basket_recalls,
}


class Facts(msgspec.Struct, frozen=True):
    """What the table says of a method's `facts.json`."""

    seconds: dict[str, float]
    peak_mb: int | None


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """A figure of a method with its 95 % interval, and how far `headrace` is above it on the same users.

    `seconds` are for choosing, learning and answering together, for all tables of the set; `peak_mb` is the most memory
    of the process, None where it is not its own. `frozen` says that a method answers a `time-live` table as it stood at
    the cut, with the whole history of the user.
    """

    set: str
    table: str
    method: str
    metric: str
    k: int
    value: float
    low: float
    high: float
    ahead: float
    ahead_low: float
    ahead_high: float
    n: int
    seconds: float
    peak_mb: int | None
    frozen: bool


@dataclass(frozen=True)
class Table:
    """A table to be filled: its name, the file of lists that each method has for it, and the rules of the lists."""

    name: str
    stage: str
    seen: Seen
    fallback: str
    """The stage whose lists stand in for a method that has none for `stage`."""


def tables_of(split: Split, protocol: str | None) -> list[Table]:
    """Return the tables of a set."""
    names = {"time": {"refitted": "time-frozen", "live": "time-live"}}.get(protocol or "", {})
    stages = [*split.stages, *(["live"] if split.live else [])]
    found = []
    for seen in split.seen:
        for stage in stages:
            name = "sessions" if protocol is None else names.get(stage, f"{protocol}-{stage}")
            ending = "" if len(split.seen) == 1 else ", with repeats" if seen == "include" else ", without repeats"
            found.append(Table(name + ending, stage, seen, "refitted" if stage == "live" else stage))
    return found


def figures_of(name: str, split: Split, table: Table, folder: Path) -> list[Figure]:
    """Return every figure of every method that has a folder of lists below `folder`; empty where ours is missing."""
    lists: dict[str, Ints] = {}
    frozen: dict[str, bool] = {}
    for path in sorted(each.parent for each in folder.glob("*/facts.json")):
        own, other = path / f"{table.stage}-{table.seen}.npy", path / f"{table.fallback}-{table.seen}.npy"
        if own.exists() or other.exists():
            frozen[path.name] = not own.exists()
            lists[path.name] = _fill(split, table, np.load(own if own.exists() else other))
    if OURS not in lists:
        return []
    facts = {method: msgspec.json.decode((folder / method / "facts.json").read_bytes(), type=Facts) for method in lists}
    asked = split.test
    places, questions = asked.targets()
    kept = _asked_for(split, table, places, questions)
    places, questions = places[kept], questions[kept]
    items = split.items[places].astype(np.int32)
    ranks = {method: ranks_of(found, questions, items) for method, found in lists.items()}
    columns = {
        (method, metric, k): function(ranks[method], k)
        for method in lists
        for metric, function in _OF_TARGETS.items()
        for k in CUTOFFS
    }
    rows = _rows(name, table, columns, asked.users[questions], (facts, frozen))
    whole = _first_of_basket(split, places, questions)
    several, numbers = np.unique(questions[whole], return_inverse=True)
    if len(split.seen) > 1:
        columns = {
            (method, metric, k): function(ranks[method][whole], numbers, len(several), k)
            for method in lists
            for metric, function in _OF_BASKETS.items()
            for k in CUTOFFS
        }
        rows += _rows(name, table, columns, asked.users[several], (facts, frozen))
    return rows


def _rows(
    name: str,
    table: Table,
    columns: dict[tuple[str, str, int], Doubles],
    users: Ints,
    known: tuple[dict[str, Facts], dict[str, bool]],
) -> list[Figure]:
    """Return the figures of columns (T,) each; one drawing of users serves all of them and their differences."""
    facts, frozen = known
    ahead = [columns[OURS, metric, k] - column for (_, metric, k), column in columns.items()]
    sums = sums_by_user(users, np.column_stack([*columns.values(), *ahead, np.ones(len(users))]))
    found: Interval = mean_intervals(sums[:, :-1], sums[:, -1], seed=SEED)
    bounds = list(zip(found.values.tolist(), found.low.tolist(), found.high.tolist(), strict=True))
    rows = []
    for number, (method, metric, k) in enumerate(columns):
        value, difference = bounds[number], bounds[len(columns) + number]
        rows.append(
            Figure(
                set=name,
                table=table.name,
                method=method,
                metric=metric,
                k=k,
                value=value[0],
                low=value[1],
                high=value[2],
                ahead=difference[0],
                ahead_low=difference[1],
                ahead_high=difference[2],
                n=len(users),
                seconds=round(sum(facts[method].seconds.values()), 1),
                peak_mb=facts[method].peak_mb,
                frozen=frozen[method],
            )
        )
    return rows


def _asked_for(split: Split, table: Table, places: Longs, questions: Longs) -> Bools:
    """Return (T,) which targets count: all, or of a set that is asked both ways what the user has not met."""
    kept = np.ones(len(places), np.bool_)
    if table.seen == "exclude" and len(split.seen) > 1:
        asked = split.test
        bounds = np.searchsorted(questions, np.arange(len(asked) + 1))
        for question, (first, last) in enumerate(itertools.pairwise(bounds.tolist())):
            history = split.items[asked.starts[question] : asked.ends[question]]
            kept[first:last] = ~np.isin(split.items[places[first:last]], history)
    return kept


def _first_of_basket(split: Split, places: Longs, questions: Longs) -> Longs:
    """Return the places among the targets where an item stands for the first time in its question."""
    _, first = np.unique(questions * (split.n_items + 1) + split.items[places], return_index=True)
    return np.sort(first)


def _fill(split: Split, table: Table, lists: Ints) -> Ints:
    """Return the lists with the most popular items behind their ends, as `evaluate` fills those of its own methods."""
    learned = split.learned["fitted" if table.fallback == "fitted" else "refitted"]
    counts = np.bincount(split.items[learned], minlength=split.n_items + 1)
    popular = np.argsort(-counts[1:], kind="stable") + 1
    filled = np.array(lists, np.int32)
    for question in np.flatnonzero((filled == 0).any(axis=1)).tolist():
        taken = filled[question][filled[question] > 0]
        barred = [taken]
        if table.seen == "exclude":
            barred.append(split.items[split.test.starts[question] : split.test.ends[question]])
        room = LIST - len(taken)
        nearest = popular[: room + sum(len(each) for each in barred)]
        more = nearest[~np.isin(nearest, np.concatenate(barred))][:room]
        filled[question] = 0
        filled[question, : len(taken) + len(more)] = np.concatenate((taken, more))
    return filled
