"""The writer: what is stored is acknowledged, one bad request harms no other, and nobody waits for ever."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from sqlalchemy import Connection

from headrace.core.errors import StoreError
from headrace.core.types import Event
from headrace.serving.questions import Question
from headrace.serving.service import Service
from headrace.serving.writer import Writer


def fails(*_: object) -> None:
    raise RuntimeError("a fault that nobody foresaw")


def test_what_is_stored_is_acknowledged_though_the_engine_did_not_hear_of_it(
    open_service: Callable[[], Service], monkeypatch: pytest.MonkeyPatch
) -> None:
    service = open_service()
    with monkeypatch.context() as patch:
        patch.setattr(service.engine, "committed", fails)
        written = service.add_events([Event(user_id="ann", item_id="tea")]).result(10)
    assert (written.accepted, written.sequence) == (1, 1)
    assert 'headrace_errors_total{error="hand-over"} 1.0' in service.telemetry.exposition().decode()
    service.add_events([Event(user_id="bob", item_id="cup")]).result()
    service.close()
    again = open_service()
    assert again.engine.events == 2
    assert again.recommend(Question(user_id="ann", seen="include")).result().events_seen == 2


@pytest.mark.parametrize(
    "part", ["headrace.serving.answering.Answering.mention", "headrace.serving.states.Histories.add"]
)
def test_what_the_engine_could_not_take_in_is_counted_in_by_the_next_start(
    open_service: Callable[[], Service], monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    service = open_service()
    with monkeypatch.context() as patch:
        patch.setattr(part, fails)
        assert service.add_events([Event(user_id="ann", item_id="tea")]).result().accepted == 1
        service.engine.run(lambda: None).result()
    service.close()
    again = open_service()
    assert again.engine.events == 1
    assert [item.item_id for item in again.recommend(Question(user_id="bob")).result().items] == ["tea"]


def test_one_request_with_an_unforeseen_fault_leaves_the_others_of_its_group_alone(service: Service) -> None:
    writer = Writer(service.store, service.engine, queue=9, telemetry=service.telemetry, clock=lambda: 0)
    service.writer.stop()

    def break_down(connection: Connection) -> None:
        connection.exec_driver_sql("INSERT INTO users VALUES (1, 'x', 'one column too many')")

    good = [writer.add_events([Event(user_id="ann", item_id="tea", event_id="e1")])]
    bad = [writer.execute(fails), writer.execute(break_down)]
    good.append(writer.add_events([Event(user_id="bob", item_id="cup")]))
    writer.start()
    assert [future.result().accepted for future in good] == [1, 1]
    assert all(future.exception() is not None for future in bad)
    writer.stop()
    assert service.store.count("events") == 2


def test_after_its_end_the_writer_takes_nothing(service: Service) -> None:
    service.add_events([Event(user_id="ann", item_id="tea")]).result()
    service.close()
    with pytest.raises(StoreError, match="stopping"):
        service.forget("ann")
    with pytest.raises(StoreError, match="stopping"):
        service.add_events([Event(user_id="ann", item_id="tea")])


def test_duplicates_are_counted(service: Service) -> None:
    event = Event(user_id="ann", item_id="tea", event_id="e1")
    for events in ([event], [event, event]):
        service.add_events(events).result()
    service.engine.run(lambda: None).result()
    text = service.telemetry.exposition().decode()
    assert 'headrace_events_total{outcome="accepted"} 1.0' in text
    assert 'headrace_events_total{outcome="duplicate"} 2.0' in text
