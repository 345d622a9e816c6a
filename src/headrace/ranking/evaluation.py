"""The table of an evaluation: every method asked the same questions about the same full catalogue, in two clocks.

*Frozen*: nothing is learned after the cut, histories may be read. *Live*: every method learns from each test event once
the questions of its moment are answered. Each row has a twin with the suffix `-no-time`, for which the time of the
request is hidden from the methods. Shapes: Q questions, N targets, K places of a list, M methods.

The slices: `all`; `new-users`, who had no event to learn from; `new-items`, targets whose item had none;
`short-history`, at most 5 events before the question; `long-history`, more than 20; `baskets`, questions with several
targets at once, scored as one set; `rest-of-basket` (frozen only), the second half of such a set asked when the first
half is known. A slice without targets has no rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from time import perf_counter
from typing import Literal, TypeAlias

import msgspec
import numpy as np

from headrace.core.compiled import compiled
from headrace.data.log import Bools, Ints, Longs
from headrace.ranking.baselines.method import LIST, Method
from headrace.ranking.bootstrap import mean_intervals, sums_by_user
from headrace.ranking.metrics import (
    Doubles,
    basket_ndcgs,
    basket_recalls,
    coverage,
    mrrs,
    ndcgs,
    ranks_of,
    recalls,
)
from headrace.ranking.questions import Questions, Task

MetricName: TypeAlias = Literal["recall", "ndcg", "mrr", "coverage", "rmse", "mae"]
MethodMaker: TypeAlias = Callable[[Task], Method]

CUTOFFS = (5, 10, 20)
NO_TIME = "-no-time"
REST = "rest-of-basket"
SHORT_HISTORY, LONG_HISTORY = 5, 20
SEED = 20_250_601
_QUESTIONS_AT_ONCE = 256
_OF_TARGETS: tuple[tuple[MetricName, Callable[[Ints, int], Doubles]], ...] = (
    ("recall", recalls),
    ("ndcg", ndcgs),
    ("mrr", mrrs),
)
_OF_BASKETS: tuple[tuple[MetricName, Callable[[Ints, Longs, int, int], Doubles]], ...] = (
    ("recall", basket_recalls),
    ("ndcg", basket_ndcgs),
)


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One figure of the report, named as in the contract.

    `low` and `high` bound it in 95 of 100 resamplings of the users; they are None for `coverage`, which is no mean over
    users. `n` counts what it is a mean of: targets, for `coverage` and `baskets` questions.
    """

    method: str
    protocol: str
    slice: str
    metric: MetricName
    k: int | None
    value: float
    low: float | None
    high: float | None
    n: int


class Lists(msgspec.Struct, frozen=True):
    """What one method answered to all questions, (Q, K) each, and how long it took to learn and answer, in seconds."""

    with_time: Ints
    without_time: Ints
    seconds: float


def ask_all(
    task: Task, makers: Sequence[MethodMaker], *, live: bool, tell: Callable[[str], None] = lambda _: None
) -> dict[str, Lists]:
    """Ask every method every question, in time order; short lists are filled up from the first method's.

    Args:
        task: what may be learned, and the questions.
        makers: make the methods, one after the other so that only one is in memory; the first is `popular`.
        live: whether the methods learn from each test event after its moment.
        tell: hears of each method that is done.
    """
    answers: dict[str, Lists] = {}
    popular: Ints | None = None
    for make in makers:
        started = perf_counter()
        method = make(task)
        with_time, without_time = ask(method, task.questions, live=live)
        popular = with_time if popular is None else popular
        filled = fill_up(with_time, popular)
        twin = filled if without_time is with_time else fill_up(without_time, popular)
        answers[method.name] = Lists(filled, twin, perf_counter() - started)
        tell(f"{method.name}: {answers[method.name].seconds:.1f} s")
    return answers


def ask(method: Method, questions: Questions, *, live: bool) -> tuple[Ints, Ints]:
    """Return the lists (Q, K) of one method with and without the time of the request; one array where it reads none."""
    learning = live and method.learns
    steps = questions.moments() if learning else _chunks(len(questions))
    with_time, without_time = [], []
    for first, last in steps:
        part = questions.part(first, last)
        with_time.append(method.answer(part, hide_time=False))
        if method.reads_time:
            without_time.append(method.answer(part, hide_time=True))
        if learning:
            method.observe(part.targets()[0])
    lists = np.concatenate(with_time)
    return lists, np.concatenate(without_time) if method.reads_time else lists


def fill_up(lists: Ints, fallback: Ints) -> Ints:
    """Return (Q, `LIST`) the lists with items of `fallback` (Q, K) behind their ends, none of them twice."""
    out = np.zeros((len(lists), LIST), np.int32)
    _fill_up(np.ascontiguousarray(lists), np.ascontiguousarray(fallback), out)
    return out


def rows_of(task: Task, lists: Mapping[str, Ints], protocol: str, *, seed: int = SEED) -> list[Row]:
    """Return every figure of every method and slice.

    Args:
        task: the questions that were asked.
        lists: (Q, `LIST`) by method.
        protocol: the name of the table, such as `time-live`.
        seed: of the resampling; the same users are drawn for every method and table.
    """
    places, questions = task.questions.targets()
    items, users = task.log.items[places], task.log.users[places]
    ranks = {method: ranks_of(answered, questions, items) for method, answered in lists.items()}
    rows = []
    for name, kept in slices(task, places, questions).items():
        if not kept.any():
            continue
        figures = {
            (method, metric, k): function(ranks[method][kept], k)
            for method in lists
            for metric, function in _OF_TARGETS
            for k in CUTOFFS
        }
        rows += _mean_rows(figures, users[kept], (protocol, name), seed)
        for method, answered in lists.items():
            shown = answered[np.unique(questions[kept])]
            shares = [(k, coverage(shown, k, task.log.n_items)) for k in CUTOFFS]
            rows += [
                _row((method, "coverage", k), (protocol, name), (share, None, None), len(shown)) for k, share in shares
            ]
    return rows + _basket_rows(task, ranks, protocol, seed)


def rest_rows(rest: Task, lists: Mapping[str, Ints], protocol: str) -> list[Row]:
    """Return the figures of the slice `rest-of-basket`; see `rows_of` and `rest_of_baskets`."""
    return [msgspec.structs.replace(row, slice=REST) for row in rows_of(rest, lists, protocol) if row.slice == "all"]


def slices(task: Task, places: Longs, questions: Longs) -> dict[str, Bools]:
    """Return for each slice (N,) which targets belong to it; see the head of this file.

    Args:
        task: what may be learned, and the questions.
        places: (N,) of the targets in the log.
        questions: (N,) of the targets.
    """
    asked = task.questions
    lengths = (asked.ends - asked.starts)[questions]
    learned = (task.learned[asked.users] - asked.starts)[questions]
    return {
        "all": np.ones(len(places), np.bool_),
        "new-users": learned == 0,
        "new-items": ~task.known_items[task.log.items[places]],
        "short-history": lengths <= SHORT_HISTORY,
        "long-history": lengths > LONG_HISTORY,
    }


def _basket_rows(task: Task, ranks: Mapping[str, Ints], protocol: str, seed: int) -> list[Row]:
    """Return recall and NDCG over the whole set of targets of each question that has several."""
    asked = task.questions
    several = np.flatnonzero(asked.untils - asked.ends > 1)
    if not len(several):
        return []
    places, questions = asked.targets()
    # One item may come twice at one moment, as two types of event: in a set it stands once.
    _, first = np.unique(questions * (task.log.n_items + 1) + task.log.items[places], return_index=True)
    kept = np.zeros(len(places), np.bool_)
    kept[first] = True
    kept &= np.isin(questions, several)
    numbered = np.searchsorted(several, questions[kept])
    figures = {
        (method, metric, k): function(ranks[method][kept], numbered, len(several), k)
        for method in ranks
        for metric, function in _OF_BASKETS
        for k in CUTOFFS
    }
    return _mean_rows(figures, asked.users[several], (protocol, "baskets"), seed)


def _mean_rows(
    figures: Mapping[tuple[str, MetricName, int], Doubles], users: Ints, where: tuple[str, str], seed: int
) -> list[Row]:
    sums = sums_by_user(users, np.column_stack([*figures.values(), np.ones(len(users))]))
    found = mean_intervals(sums[:, :-1], sums[:, -1], seed=seed)
    bounds = zip(found.values.tolist(), found.low.tolist(), found.high.tolist(), strict=True)
    return [_row(name, where, bound, len(users)) for name, bound in zip(figures, bounds, strict=True)]


def _row(
    name: tuple[str, MetricName, int],
    where: tuple[str, str],
    bounds: tuple[float, float | None, float | None],
    n: int,
) -> Row:
    method, metric, k = name
    value, low, high = bounds
    protocol, part = where
    return Row(method=method, protocol=protocol, slice=part, metric=metric, k=k, value=value, low=low, high=high, n=n)


def _chunks(n: int) -> list[tuple[int, int]]:
    return [(first, min(first + _QUESTIONS_AT_ONCE, n)) for first in range(0, n, _QUESTIONS_AT_ONCE)]


@compiled
def _fill_up(lists: Ints, fallback: Ints, out: Ints) -> None:
    for question in range(len(out)):
        size = 0
        for source in (lists[question], fallback[question]):
            for item in source:
                taken = item == 0 or size == out.shape[1]
                for place in range(size):
                    taken = taken or out[question, place] == item
                if not taken:
                    out[question, size] = item
                    size += 1
