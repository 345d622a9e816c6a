"""What each stage of a protocol learns from, and the questions between the cuts.

Shapes: N events of a log.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from headrace.core.errors import DataError, LeakError
from headrace.core.formats import ModelInfo, Protocol, Ties
from headrace.data.log import Bools, EventLog, History, Ints, Longs
from headrace.data.splits import cuts, last_events

_LEAST_MOMENTS = 3
"""Different times that two cuts need; see `data.splits.cuts`."""


@dataclass(frozen=True)
class Stages:
    """Which events (N,) each stage learns from, and which are asked about to choose.

    Args:
        fitted: learned from by the stage that chooses.
        validation: asked about by it.
        last: learned from by the stage that is served: `refitted`, or everything under `all`.
        first_cut: microseconds; None where the protocol does not cut in time.
        second_cut: likewise.
    """

    fitted: Bools
    validation: Bools
    last: Bools
    first_cut: int | None
    second_cut: int | None


def stages_of(log: EventLog, protocol: Protocol) -> Stages:
    """Mark the events of each stage.

    A log without times, or with fewer moments than two cuts need, can be learned from whole (`all`): its choices are
    then made on each user's last events.

    Raises:
        DataError: nothing to learn from, or no times where the protocol needs them.
    """
    if not len(log):
        raise DataError("training needs events, the dataset has none (users marked as bots are left out)")
    everything = np.ones(len(log), np.bool_)
    if protocol == "leave-one-out" or (protocol == "all" and not _can_cut(log)):
        test, validation = last_events(log)
        fitted = ~(test | validation)
        return Stages(fitted, validation, everything if protocol == "all" else ~test, None, None)
    first, second = cuts(log)
    fitted = log.times < first
    validation = (log.times >= first) & (log.times < second)
    last = everything if protocol == "all" else log.times < second
    return Stages(fitted, validation, last, first, second)


def refuse_known_test(log: EventLog, stages: Stages, start: ModelInfo, fingerprint: str) -> None:
    """Refuse to begin with a model that has learned from the events that the new one would be scored on.

    Args:
        log: (N,) all events.
        stages: what the new model learns from; the rest is its test.
        start: the model to begin with.
        fingerprint: of the dataset of `log`.

    Raises:
        LeakError: it has learned from some of the test, or nothing shows that it has not.
    """
    test = log.times[~stages.last]
    if not len(test):
        return
    learned = start.learned
    if learned.protocol == "leave-one-out" and stages.second_cut is None and learned.fingerprint == fingerprint:
        return
    if log.has_times and start.shape.times and learned.until < test.min():
        return
    raise LeakError(
        f"a model to be scored must begin with one that has not learned from its test, and {start.name} "
        f"{start.version} (--protocol {learned.protocol}) may have; leave --from out, or train with --protocol all"
    )


def _can_cut(log: EventLog) -> bool:
    return log.has_times and len(np.unique(log.times)) >= _LEAST_MOMENTS


@dataclass(frozen=True)
class Question:
    """One moment of one user.

    Args:
        time: microseconds.
        history: what happened strictly before.
        targets: the items met then, each once.
    """

    time: int
    history: History
    targets: Ints


def strictly_before(log: EventLog, ties: Ties) -> tuple[Longs, Longs]:
    """Return (N,) one past each event's last strictly earlier event of its user, and (N,) the user's first event."""
    places = np.arange(len(log), dtype=np.int64)
    starts = log.offsets()[log.users]
    if ties == "file" or not log.has_times:
        return places, starts
    changes = np.ones(len(log), np.bool_)
    changes[1:] = (np.diff(log.users) != 0) | (np.diff(log.times) != 0)
    return np.maximum.accumulate(np.where(changes, places, 0)), starts


def questions(log: EventLog, asked: Bools, ties: Ties, *, most: int, seed: int) -> list[Question]:
    """Return a sample of the questions, in time order; a user who is new has an empty history.

    Args:
        log: all events.
        asked: (N,) the targets; those of one user and moment are one question.
        ties: with `file` each event is a question of its own.
        most: how many at most.
        seed: of the sample.
    """
    moments = ties == "hash" and log.has_times
    heads = np.flatnonzero(asked)
    if moments:
        users, times = log.users[heads], log.times[heads]
        heads = heads[np.append(True, (np.diff(users) != 0) | (np.diff(times) != 0))[: len(heads)]]
    if len(heads) > most:
        heads = np.random.default_rng([seed, 53]).choice(heads, most, replace=False)
    heads = heads[np.lexsort((heads, log.times[heads]))]
    offsets = log.offsets()
    found = []
    for head in heads.tolist():
        start, last = offsets[log.users[head]], offsets[log.users[head] + 1]
        end, behind = head, head + 1
        if moments:
            end, behind = start + np.searchsorted(log.times[start:last], log.times[head] + np.arange(2))
        group = slice(head, behind)
        targets = np.unique(log.items[group][asked[group]])
        history = History(log.items[start:end], log.types[start:end], log.values[start:end], log.times[start:end])
        found.append(Question(int(log.times[head]), history, targets))
    return found
