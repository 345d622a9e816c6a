"""What the stages learn from, and which model a training to be scored may begin with."""

from __future__ import annotations

import numpy as np
import pytest

from headrace.core.errors import DataError, LeakError
from headrace.core.formats import MODEL_FORMAT, Blend, Learned, ModelInfo, Protocol, Shape, Ties
from headrace.data.log import EventLog
from headrace.pipeline.choosing import Counted
from headrace.pipeline.stages import Stages, questions, refuse_known_test, stages_of
from headrace.ranking.behaviour import Behaviour


def log_of(times: list[int], *, has_times: bool = True) -> EventLog:
    """Return two users' events, one after the other, at the given times."""
    n = len(times) // 2
    users = np.repeat(np.array([1, 2], np.int32), n)
    items = np.arange(1, 2 * n + 1, dtype=np.int32)
    zeros = np.zeros(2 * n, np.int32)
    nothing = np.full(2 * n, np.nan, np.float32)
    return EventLog(users, items, zeros, nothing, np.array(times), n_users=2, n_items=2 * n, has_times=has_times)


def start_of(protocol: Protocol, until: int, fingerprint: str = "this", *, times: bool = True) -> ModelInfo:
    """Describe a model that has learned from events up to a time."""
    learned = Learned(
        protocol=protocol,
        stage="refitted",
        first_cut=None,
        second_cut=None,
        until=until,
        events=1,
        fingerprint=fingerprint,
    )
    shape = Shape(width=1, layers=1, heads=1, window=1, content=0, types=[], times=times)
    return ModelInfo(
        format=MODEL_FORMAT, name="m", version="1", created="", learned=learned, shape=shape, steps=1, preset="tiny",
        seen="exclude", blend=Blend(encoder=1, counts=0, popularity=0),
    )  # fmt: skip


TEN = list(range(10, 20)) * 2


@pytest.mark.parametrize("times", [[5] * 8, [5, 5, 5, 6, 5, 5, 6, 6]])
def test_events_of_too_few_moments_can_still_all_be_learned_from(times: list[int]) -> None:
    log = log_of(times)
    with pytest.raises(DataError, match="three times"):
        stages_of(log, "time")
    stages = stages_of(log, "all")
    assert stages.last.all()
    assert stages.validation.sum() == 2
    assert not (stages.fitted & stages.validation).any()


def stages(protocol: Protocol) -> tuple[EventLog, Stages]:
    log = log_of(TEN)
    return log, stages_of(log, protocol)


def test_a_training_that_leaves_no_test_may_begin_with_any_model() -> None:
    refuse_known_test(*stages("all"), start_of("all", 19), "this")


@pytest.mark.parametrize("protocol", ["time", "leave-one-out"])
def test_a_model_that_may_know_the_test_is_refused(protocol: Protocol) -> None:
    log, parts = stages(protocol)
    first = int(log.times[~parts.last].min())
    for start in (
        start_of("all", first),
        start_of("time", 19, "another"),
        start_of("leave-one-out", 19, "another"),
        start_of("time", 0, times=False),
    ):
        with pytest.raises(LeakError, match="--protocol all"):
            refuse_known_test(log, parts, start, "this")
    refuse_known_test(log, parts, start_of("all", first - 1), "another")


def test_under_leave_one_out_a_model_of_the_same_dataset_knows_no_test() -> None:
    refuse_known_test(*stages("leave-one-out"), start_of("leave-one-out", 19), "this")
    with pytest.raises(LeakError):
        refuse_known_test(*stages("time"), start_of("leave-one-out", 19), "this")


def test_without_times_nothing_shows_what_was_learned_from() -> None:
    log = log_of(TEN, has_times=False)
    with pytest.raises(LeakError):
        refuse_known_test(log, stages_of(log, "leave-one-out"), start_of("all", -1, "another"), "this")


def random_log(seed: int) -> EventLog:
    """Five users of some twenty events at a few moments each, several of them baskets."""
    chance = np.random.default_rng(seed)
    n = 100
    users, times = np.sort(chance.integers(1, 6, n)), chance.integers(0, 40, n)
    times = times[np.lexsort((times, users))]
    nothing = np.full(n, np.nan, np.float32)
    items = chance.integers(1, 9, n).astype(np.int32)
    return EventLog(users.astype(np.int32), items, np.zeros(n, np.int32), nothing, times.astype(np.int64), 5, 8)


@pytest.mark.parametrize("ties", ["hash", "file"])
def test_a_question_is_a_moment_behind_all_that_is_strictly_earlier(ties: Ties) -> None:
    log = random_log(3)
    asked = log.times >= 30
    found = [
        (q.time, q.history.items.tolist(), q.targets.tolist()) for q in questions(log, asked, ties, most=1000, seed=1)
    ]
    expected = []
    for place in np.flatnonzero(asked).tolist():
        own, time = log.users == log.users[place], int(log.times[place])
        if ties == "file":
            before = own & (np.arange(len(log)) < place)
            expected.append((time, log.items[before].tolist(), [int(log.items[place])]))
        else:
            now = sorted(set(log.items[own & (log.times == time)].tolist()))
            expected.append((time, log.items[own & (log.times < time)].tolist(), now))
    if ties == "hash":  # once a moment
        expected = [one for place, one in enumerate(expected) if one not in expected[:place]]
    assert sorted(found) == sorted(expected)
    assert [time for time, _, _ in found] == sorted(time for time, _, _ in found)
    assert len(questions(log, asked, ties, most=3, seed=1)) == 3


def test_counts_that_follow_a_log_are_those_of_the_events_before() -> None:
    log = random_log(4)
    first = log.times < 20
    counted = Counted(log, first, live=True, window=20, seen="include")
    for time in (20, 24, 24, 33, 41):
        counted.pass_until(time)
        whole = Behaviour()
        whole.add_log(log.where(log.times < time))
        for ours, theirs in zip(counted.behaviour.transitions.triples(), whole.transitions.triples(), strict=True):
            np.testing.assert_array_equal(ours, theirs)
