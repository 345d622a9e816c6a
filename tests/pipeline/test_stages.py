"""What the stages learn from, and which model a training to be scored may begin with."""

from __future__ import annotations

import numpy as np
import pytest

from headrace.core.errors import DataError, LeakError
from headrace.core.formats import MODEL_FORMAT, Blend, Learned, ModelInfo, Protocol, Shape
from headrace.data.log import EventLog
from headrace.pipeline.stages import Stages, refuse_known_test, stages_of


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
