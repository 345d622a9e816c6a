"""Answers of a shop that starts empty: counts, rules, the catalogue, freshness."""

from __future__ import annotations

import math
import threading
import time
from itertools import chain
from typing import Literal

import pytest

from headrace.core.errors import DataError, LateError, NotFoundError, NotReadyError, OverloadedError
from headrace.core.settings import RankingSettings, Settings
from headrace.core.types import Event, Item
from headrace.serving.faults import RowFaultsError
from headrace.serving.questions import PastEvent, Question
from headrace.serving.service import Service

MINUTE = 60_000_000
START = 1_700_000_000_000_000


def walk(user: str, items: str, start: int = START) -> list[Event]:
    return [Event(user_id=user, item_id=item, time=start + place * MINUTE) for place, item in enumerate(items)]


def listed(service: Service, question: Question) -> list[str]:
    return [item.item_id for item in service.recommend(question).result().items]


def test_a_shop_starts_empty_and_learns_from_its_first_event(service: Service) -> None:
    assert listed(service, Question(user_id="ann")) == []
    service.add_events([Event(user_id="ann", item_id="tea")]).result()
    assert listed(service, Question(user_id="bob")) == ["tea"]


def test_the_ring_gives_the_next_item_first(service: Service) -> None:
    ring = "abcdefgh"
    for n in range(12):
        service.add_events(walk(f"u{n}", (ring * 3)[n % 8 : n % 8 + 14])).result()
    for place, item in enumerate(ring):
        found = listed(service, Question(history=[PastEvent(item_id=item)], k=1, seen="exclude"))
        assert found == [ring[(place + 1) % 8]]


def test_an_event_changes_the_next_answer(service: Service) -> None:
    service.add_events(walk("ann", "ab") + walk("bob", "ab") + walk("cat", "cd") + walk("dan", "cd")).result()
    service.add_events([Event(user_id="eve", item_id="a", time=START)]).result()
    assert listed(service, Question(user_id="eve", k=1)) == ["b"]
    service.add_events([Event(user_id="eve", item_id="c", time=START + MINUTE)]).result()
    assert listed(service, Question(user_id="eve", k=1, exclude=["b"])) == ["d"]


def test_a_new_item_is_listed_at_the_next_request_as_new(service: Service) -> None:
    service.add_events(walk("ann", "ab")).result()
    service.put_items([Item(item_id="z", title="Zebra")])
    found = {item.item_id: item.reason for item in service.recommend(Question(user_id="ann")).result().items}
    assert found == {"z": "new"}


def test_a_sold_out_item_leaves_the_lists_at_once_and_keeps_its_history(service: Service) -> None:
    service.add_events(walk("ann", "abc")).result()
    assert "c" in listed(service, Question(user_id="bob"))
    service.patch_item("c", {"available": False})
    assert "c" not in listed(service, Question(user_id="bob"))
    assert [event.item_id for event in chain.from_iterable(service.user_events("ann"))] == ["a", "b", "c"]
    service.patch_item("c", {"available": True})
    assert "c" in listed(service, Question(user_id="bob"))


def test_a_deleted_item_is_gone_until_it_is_put_again(service: Service) -> None:
    service.put_items([Item(item_id="a", title="Tea")])
    service.add_events(walk("ann", "ab")).result()
    service.delete_item("a")
    assert listed(service, Question(user_id="bob")) == ["b"]
    for verb in (service.item, service.delete_item, lambda item: service.patch_item(item, {"title": "x"})):
        with pytest.raises(NotFoundError, match="a"):
            verb("a")
    with pytest.raises(NotFoundError, match="a"):
        service.similar("a", 1).result()
    service.add_events([Event(user_id="bob", item_id="a")]).result()
    assert "a" not in listed(service, Question(user_id="cat"))
    service.put_items([Item(item_id="a", title="Tea again")])
    assert "a" in listed(service, Question(user_id="cat"))


def test_a_patch_changes_only_what_it_names(service: Service) -> None:
    service.put_items(
        [Item(item_id="a", title="Tea", price=3.5, categories=("drinks",), attributes={"origin": "Assam"})]
    )
    changed = service.patch_item("a", {"price": 4.0})
    assert changed == Item(item_id="a", title="Tea", price=4.0, categories=("drinks",), attributes={"origin": "Assam"})
    assert service.item("a") == changed


def test_a_list_of_items_is_all_or_nothing(service: Service) -> None:
    with pytest.raises(RowFaultsError) as caught:
        service.put_items([Item(item_id="a"), Item(item_id="b", price=-1.0)])
    assert [(fault.index, fault.field) for fault in caught.value.faults] == [(1, "price")]
    assert service.search("", 10) == []


def test_items_are_found_by_words_and_not_by_wildcards(service: Service) -> None:
    service.put_items([Item(item_id="a", title="Green tea", text="100% leaf"), Item(item_id="b", title="Green cup")])
    assert [item.item_id for item in service.search("green", 10)] == ["a", "b"]
    assert [item.item_id for item in service.search("leaf GREEN", 10)] == ["a"]
    assert [item.item_id for item in service.search("%", 10)] == ["a"]
    assert service.search("_", 10) == []


def test_titles_stand_once_and_categories_filter(service: Service) -> None:
    service.put_items(
        [
            Item(item_id=str(n), title="Milk" if n < 3 else f"Thing {n}", categories=("odd",) if n % 2 else ())
            for n in range(6)
        ]
    )
    assert len(set(listed(service, Question(user_id="ann"))) & {"0", "1", "2"}) == 1
    assert set(listed(service, Question(user_id="ann", category="odd"))) == {"1", "3", "5"}


def test_rank_orders_exactly_the_known_items_asked_for(service: Service) -> None:
    service.add_events(walk("ann", "abcd")).result()
    found = listed(service, Question(user_id="bob", only=["d", "nobody", "b"], seen="include"))
    assert sorted(found) == ["b", "d"]


@pytest.mark.parametrize("k", [0, -1, 1001, 1_000_000])
def test_k_out_of_range_is_refused_with_the_rule(service: Service, k: int) -> None:
    with pytest.raises(DataError, match=f"from 1 to 1000, got {k}"):
        service.recommend(Question(user_id="ann", k=k))
    with pytest.raises(DataError, match="from 1 to 1000"):
        service.similar("a", k)


def test_an_answer_waits_for_at_least_and_gives_up(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    waiting = service.recommend(Question(user_id="ann", at_least=1))
    assert not waiting.done()
    service.add_events([Event(user_id="ann", item_id="tea")]).result()
    assert waiting.result(5).events_seen == 1
    monkeypatch.setattr("headrace.serving.early.AT_LEAST_S", 0.1)
    with pytest.raises(LateError, match="event 9 was asked for, 1 is the last"):
        service.recommend(Question(user_id="ann", at_least=9)).result(5)


def test_a_client_that_has_gone_is_not_computed(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service.engine._line, "_wait_s", math.inf)  # however slow the machine is
    waiting = service.recommend(Question(user_id="ann", at_least=0))
    waiting.result()
    blocked = [service.recommend(Question(user_id="ann")) for _ in range(50)]
    gone = [future for future in blocked if future.cancel()]
    service.engine.run(lambda: None).result()
    given = len(blocked) - len(gone) + 1
    assert f'headrace_answers_total{{model="counts"}} {given}.0' in service.telemetry.exposition().decode()


def test_too_many_questions_are_refused(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service.engine._line, "_questions", service.settings.serving.queue)
    with pytest.raises(OverloadedError, match="may wait"):
        service.recommend(Question(user_id="ann"))


@pytest.mark.parametrize("habit", ["include", "exclude", "learned"])
def test_the_seen_habit_is_learned_and_settable(
    service: Service, settings: Settings, habit: Literal["include", "exclude", "learned"]
) -> None:
    object.__setattr__(service.engine.answering, "_settings", RankingSettings(seen=habit))
    service.add_events(walk("ann", "abab")).result()
    service.engine.run(lambda: None).result()
    assert service.engine.answering.seen == ("exclude" if habit == "exclude" else "include")
    expected = ["a", "b"] if habit != "exclude" else []
    assert sorted(listed(service, Question(user_id="ann"))) == expected
    assert sorted(listed(service, Question(user_id="ann", seen="include"))) == ["a", "b"]


def test_similar_items_follow_from_counts(service: Service) -> None:
    service.add_events(walk("ann", "ab") + walk("bob", "ab") + walk("cat", "cd")).result()
    assert service.similar("a", 1).result()[0].item_id == "b"
    with pytest.raises(NotFoundError, match="nobody"):
        service.similar("nobody", 1).result()


def test_ratings_need_a_model(service: Service) -> None:
    with pytest.raises(NotReadyError, match="train"):
        service.ratings("ann", ["a"])


def test_status_says_what_is_there(service: Service) -> None:
    service.add_events(walk("ann", "abc")).result()
    service.recommend(Question(user_id="ann")).result()
    status = service.status()
    assert (status.events, status.items, status.users, status.events_seen) == (3, 3, 1, 3)
    assert status.as_of == "2023-11-14T22:15:20Z"
    assert status.event_type == "interaction"
    assert status.model.version == "counts"
    assert [(user.user_id, user.events) for user in service.example_users(5)] == [("ann", 3)]


def test_a_question_that_has_waited_too_long_is_not_computed(service: Service) -> None:
    service.add_events(walk("ann", "ab")).result()
    late = service.engine.ask(Question(user_id="ann", seen="include"))
    assert late.result().items
    service.engine._deadline_s = 0.05
    hold = threading.Event()
    held = service.engine.run(lambda: hold.wait(5))
    late = service.engine.ask(Question(user_id="ann", seen="include"))
    time.sleep(0.06)
    hold.set()
    held.result()
    with pytest.raises(LateError, match="it waited longer than 50 ms"):
        late.result(5)
