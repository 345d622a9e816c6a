"""How far predicted ratings are from given ones, for the model and for damped means.

Shapes: N events of the log, T targets with a rating, Q questions, V items.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from headrace.core.types import Scale
from headrace.data.damped_means import ItemSums, user_offsets
from headrace.data.log import Bools, Floats, Ints, Longs
from headrace.data.values import is_rating
from headrace.ranking.bootstrap import mean_intervals, sums_by_user
from headrace.ranking.evaluation import SEED, MetricName, Row, slices
from headrace.ranking.item_vectors import ItemVectors
from headrace.ranking.metrics import Doubles
from headrace.ranking.network import Network
from headrace.ranking.questions import Task
from headrace.ranking.ratings import RatingModel

# Of 2, 5, 10, 25 for items and 1, 2, 5, 10, 25 for users, within 0.0015 of the lowest RMSE between the cuts on
# ml-latest-small (0.8573, lowest 0.8559) and lowest on movietweetings-100k (1.5740).
ITEM_DAMPING, USER_DAMPING = 5.0, 2.0
_QUESTIONS_AT_ONCE = 1024


@dataclass(frozen=True)
class Rater:
    """One stage of a model, as far as it rates: its network, the vectors of the dataset's items and its rating head."""

    network: Network
    vectors: ItemVectors
    model: RatingModel


def rated_events(task: Task, types: list[str]) -> Bools:
    """Return (N,) whether an event is a rating with a value; `types` are the dataset's."""
    return np.asarray(is_rating(task.log.types, types) & ~np.isnan(task.log.values))


def rate_by_means(task: Task, rated: Bools, scale: Scale) -> Floats:
    """Return (T,) mean + item offset + user offset of each rated target, question by question.

    Items are known by what may be learned from, users by their history.

    Args:
        task: the questions.
        rated: (N,) from `rated_events`.
        scale: of the ratings; predictions stay on it.
    """
    log = task.log
    learned = task.first_rows[rated[task.first_rows]]
    sums = ItemSums.of(log.items[learned], log.values[learned], log.n_items)
    offsets = sums.offsets(ITEM_DAMPING)
    places, questions = _rated_targets(task, rated)
    deviations = log.values - np.float32(sums.mean) - offsets[log.items]
    before, starts = task.questions.ends[questions], task.questions.starts[questions]
    users, _ = user_offsets(deviations, rated, before, starts, USER_DAMPING)
    predicted = sums.mean + offsets[log.items[places]] + users
    return np.asarray(np.clip(predicted, scale.low, scale.high), np.float32)


def rate_by_model(task: Task, rated: Bools, rater: Rater) -> Floats:
    """Return (T,) the model's prediction for each rated target, from the history of its question.

    Args:
        task: the questions.
        rated: (N,) from `rated_events`.
        rater: the stage that has learned from just what the task allows.
    """
    places, questions = _rated_targets(task, rated)
    predicted = np.empty(len(places), np.float32)
    for first in range(0, len(task.questions), _QUESTIONS_AT_ONCE):
        mine = np.flatnonzero((questions >= first) & (questions < first + _QUESTIONS_AT_ONCE))
        if not len(mine):
            continue
        asked, rows = np.unique(questions[mine], return_inverse=True)
        histories = [task.questions.history(place) for place in asked.tolist()]
        users = rater.network.users(histories, [None] * len(histories), rater.vectors)
        items = task.log.items[places[mine]]
        predicted[mine] = rater.model.rate(users, histories, rows.astype(np.int32), items, rater.vectors).ratings
    return predicted


def rating_rows(
    task: Task, rated: Bools, predictions: Mapping[str, Floats], protocol: str, *, seed: int = SEED
) -> list[Row]:
    """Return RMSE and MAE of every method and slice, in points of the scale.

    Args:
        task: the questions.
        rated: (N,) from `rated_events`.
        predictions: (T,) by method.
        protocol: the name of the table.
        seed: of the resampling.
    """
    places, questions = _rated_targets(task, rated)
    users, true = task.log.users[places], task.log.values[places].astype(np.float64)
    rows = []
    for name, kept in slices(task, places, questions).items():
        if not kept.any():
            continue
        errors = np.column_stack([predicted - true for predicted in predictions.values()])[kept]
        figures = np.column_stack((errors**2, np.abs(errors)))
        rows += _rows(list(predictions), figures, users[kept], (protocol, name), seed)
    return rows


def _rows(methods: list[str], figures: Doubles, users: Ints, where: tuple[str, str], seed: int) -> list[Row]:
    """Return the rows of (T, 2 M) squared, then absolute errors of M methods."""
    sums = sums_by_user(users, np.column_stack((figures, np.ones(len(users)))))
    found = mean_intervals(sums[:, :-1], sums[:, -1], seed=seed)
    bounds = np.stack((found.values, found.low, found.high))
    bounds[:, : len(methods)] = np.sqrt(bounds[:, : len(methods)])
    names: list[tuple[str, MetricName]] = [(m, "rmse") for m in methods] + [(m, "mae") for m in methods]
    return [
        Row(
            method=method,
            protocol=where[0],
            slice=where[1],
            metric=metric,
            k=None,
            value=value,
            low=low,
            high=high,
            n=len(users),
        )
        for (method, metric), (value, low, high) in zip(names, bounds.T.tolist(), strict=True)
    ]


def _rated_targets(task: Task, rated: Bools) -> tuple[Longs, Longs]:
    """Return the places (T,) of the rated targets in the log, and their questions (T,)."""
    places, questions = task.questions.targets()
    kept = rated[places]
    return places[kept], questions[kept]
