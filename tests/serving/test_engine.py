"""The engine outlives what goes wrong, and keeps no more waiting than it may."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from headrace.core.errors import OverloadedError
from headrace.core.types import Event
from headrace.serving.questions import Question
from headrace.serving.service import Service
from headrace.serving.snapshots import snapshot_path


def fails(*_: object) -> None:
    raise RuntimeError("a fault that nobody foresaw")


def test_a_question_that_fails_at_the_end_fails_alone(service: Service) -> None:
    service.add_events([Event(user_id="ann", item_id="tea")]).result()
    records: list[Callable[..., None]] = [fails, service.writer.record]
    service.engine.maker.record = lambda answer: records.pop(0)(answer)
    with pytest.raises(RuntimeError):
        service.recommend(Question(user_id="ann")).result(5)
    assert service.ready
    assert service.recommend(Question(user_id="ann", seen="include")).result(5).items


def test_too_many_readings_are_refused(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    service.add_events([Event(user_id="ann", item_id="tea")]).result()
    with monkeypatch.context() as patch:
        patch.setattr(service.engine._line, "_questions", service.settings.serving.queue)
        with pytest.raises(OverloadedError, match="may wait"):
            service.similar("tea", 1)
    for _ in range(3):
        service.similar("tea", 1).result()
    assert service.engine._line._questions == 0


def test_no_more_questions_wait_for_an_event_than_may_wait(service: Service) -> None:
    service.engine._early._limit = 2
    waiting = [service.engine.ask(Question(user_id="ann", at_least=1)) for _ in range(2)]
    service.engine.run(lambda: None).result()
    assert isinstance(service.engine.ask(Question(user_id="ann", at_least=1)).exception(5), OverloadedError)
    service.add_events([Event(user_id="ann", item_id="tea")]).result()
    assert [future.result(5).events_seen for future in waiting] == [1, 1]


def test_a_reading_that_nobody_waits_for_any_more_is_left_out(service: Service) -> None:
    hold, done = threading.Event(), []
    service.engine.run(hold.wait)
    gone = service.engine.read(lambda: done.append("gone"))
    kept = service.engine.read(lambda: done.append("kept"))
    assert gone.cancel()
    hold.set()
    kept.result(5)
    assert done == ["kept"]
    assert 'headrace_errors_total{error="engine"}' not in service.telemetry.exposition().decode()


def test_counts_that_could_not_be_written_are_written_later(
    open_service: Callable[[], Service], monkeypatch: pytest.MonkeyPatch
) -> None:
    service = open_service()
    service.add_events([Event(user_id="ann", item_id="tea")]).result()
    with monkeypatch.context() as patch:
        patch.setattr("headrace.serving.snapshots.write_snapshot", fails)
        service.engine.save().result()
        service.engine.finish_saving()
    assert service.engine.unsaved
    assert 'headrace_errors_total{error="snapshot"} 1.0' in service.telemetry.exposition().decode()
    service.engine.save().result()
    service.engine.finish_saving()
    assert not service.engine.unsaved
    assert snapshot_path(service.store).exists()
