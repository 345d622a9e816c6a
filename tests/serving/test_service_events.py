"""Events through the service: retries, conflicts, faults, overload, a full disk."""

from __future__ import annotations

import threading

import pytest
from sqlalchemy import event as listening

from headrace.core.errors import ConflictError, DataError, NotFoundError, OverloadedError, StoreError
from headrace.core.types import Event
from headrace.serving.faults import RowFaultsError
from headrace.serving.questions import Question
from headrace.serving.service import Service
from headrace.serving.store import Store
from headrace.serving.writer import Writer


def test_retrying_an_event_changes_nothing(service: Service) -> None:
    event = Event(user_id="ann", item_id="tea", event_id="e1", context={"page": "home", "n": 1})
    first = service.add_events([event, Event(user_id="ann", item_id="cup")]).result()
    again = service.add_events([event]).result()
    assert (first.accepted, first.duplicates, first.sequence) == (2, 0, 2)
    assert (again.accepted, again.duplicates, again.sequence) == (0, 1, 1)
    assert len(next(service.user_events("ann"))) == 2


def test_a_retry_within_one_list_counts_once(service: Service) -> None:
    event = Event(user_id="ann", item_id="tea", event_id="e1")
    written = service.add_events([event, event]).result()
    assert (written.accepted, written.duplicates) == (1, 1)


@pytest.mark.parametrize(
    "other",
    [
        Event(user_id="ann", item_id="cup", event_id="e1"),
        Event(user_id="bob", item_id="tea", event_id="e1"),
        Event(user_id="ann", item_id="tea", event_id="e1", value=2.0),
        Event(user_id="ann", item_id="tea", event_id="e1", time=1_600_000_000_000_000),
        Event(user_id="ann", item_id="tea", event_id="e1", context={"page": "home"}),
    ],
)
def test_the_same_event_id_with_other_content_is_a_conflict_and_stores_nothing(service: Service, other: Event) -> None:
    service.add_events([Event(user_id="ann", item_id="tea", event_id="e1")]).result()
    with pytest.raises(ConflictError, match="e1"):
        service.add_events([Event(user_id="carl", item_id="pot"), other]).result()
    assert service.recommend(Question(user_id="ann")).result().events_seen == 1
    with pytest.raises(NotFoundError):
        service.user_events("carl")
    with pytest.raises(NotFoundError):
        service.item("pot")


def test_a_conflict_leaves_the_others_of_its_group_alone(service: Service) -> None:
    service.add_events([Event(user_id="ann", item_id="tea", event_id="e1")]).result()
    good = [service.add_events([Event(user_id="ann", item_id="cup")]) for _ in range(20)]
    bad = service.add_events([Event(user_id="ann", item_id="pot", event_id="e1")])
    more = [service.add_events([Event(user_id="ann", item_id="cup")]) for _ in range(20)]
    assert isinstance(bad.exception(), ConflictError)
    assert all(future.result().accepted == 1 for future in good + more)


def test_a_list_with_a_fault_is_refused_with_every_fault(service: Service) -> None:
    events = [
        Event(user_id="ann", item_id="tea"),
        Event(user_id="", item_id="x" * 10_000),
        Event(user_id="b\x00", item_id="c"),
    ]
    with pytest.raises(RowFaultsError) as caught:
        service.check_events(events)
    assert [(fault.index, fault.field) for fault in caught.value.faults] == [
        (1, "user_id"),
        (1, "item_id"),
        (2, "user_id"),
    ]


@pytest.mark.parametrize("count", [0, 10_001])
def test_a_list_holds_one_to_ten_thousand_events(service: Service, count: int) -> None:
    with pytest.raises(DataError, match="1 to 10000 events"):
        service.check_events([Event(user_id="ann", item_id="tea")] * count)


def test_a_full_queue_refuses_at_once(service: Service) -> None:
    writer = Writer(service.store, service.engine, queue=2, telemetry=service.telemetry, clock=lambda: 0)
    waiting = [writer.add_events([Event(user_id="ann", item_id="tea")]) for _ in range(2)]
    with pytest.raises(OverloadedError, match="at most 2"):
        writer.add_events([Event(user_id="ann", item_id="tea")])
    assert not any(future.done() for future in waiting)


def test_a_full_disk_acknowledges_nothing_and_passes(service: Service) -> None:
    engine = service.store.engine
    pages = 0

    def limit(connection: object, _: object) -> None:
        connection.execute(f"PRAGMA max_page_count={pages}")  # type: ignore[attr-defined]

    service.add_events([Event(user_id="ann", item_id="tea")]).result()
    with engine.connect() as connection:
        pages = int(connection.exec_driver_sql("PRAGMA page_count").scalar() or 0) + 4
    listening.listen(engine, "connect", limit)
    engine.dispose()
    large = [Event(user_id="ann", item_id="tea", context={"note": "x" * 1000}) for _ in range(50)]
    with pytest.raises(StoreError, match="nothing of this request was kept"):
        service.add_events(large).result()
    assert len(next(service.user_events("ann"))) == 1
    assert service.recommend(Question(user_id="ann")).result().events_seen == 1
    listening.remove(engine, "connect", limit)
    engine.dispose()
    assert service.add_events(large).result().sequence == 51


def test_what_one_client_wrote_it_reads_while_others_write(service: Service) -> None:
    failures: list[str] = []

    def client(name: str) -> None:
        for turn in range(40):
            written = service.add_events([Event(user_id=name, item_id=f"{name}-{turn}")]).result()
            given = service.recommend(Question(user_id=name, seen="exclude", k=100)).result()
            if given.events_seen < written.sequence:
                failures.append(f"{name} wrote {written.sequence} and saw {given.events_seen}")
            if any(item.item_id == f"{name}-{turn}" for item in given.items):
                failures.append(f"{name} was offered what they had just met")

    threads = [threading.Thread(target=client, args=(name,)) for name in ("ann", "bob")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_an_unknown_type_is_stored_and_listed(service: Service) -> None:
    service.add_events([Event(user_id="ann", item_id="tea", type="sniff", value=1e308)]).result()
    assert service.store.types == ["sniff"]
    assert service.recommend(Question(user_id="ann", event_type="sniff", seen="include")).result().items
    with pytest.raises(DataError, match="sniff"):
        service.recommend(Question(user_id="ann", event_type="snort")).result()


def test_an_event_that_follows_an_answer_is_counted_once_for_its_model(service: Service) -> None:
    service.add_events([Event(user_id="ann", item_id="tea")]).result()
    given = service.recommend(Question(user_id="bob")).result()
    for _ in range(2):
        click = Event(user_id="bob", item_id="tea", recommendation_id=given.recommendation_id)
        service.add_events([click]).result()
    service.engine.run(lambda: None).result()
    text = service.telemetry.exposition().decode()
    assert 'headrace_answers_total{model="counts"} 1.0' in text
    assert 'headrace_answers_followed_total{model="counts"} 1.0' in text


def test_numbers_are_never_given_twice(service: Service) -> None:
    service.add_events([Event(user_id="ann", item_id="tea")]).result()
    service.forget("ann")
    assert service.add_events([Event(user_id="bob", item_id="tea")]).result().sequence == 2
    url = service.settings.serving.store
    service.close()
    store = Store.open(url)
    assert store.last_sequence() == 2
    store.close()
