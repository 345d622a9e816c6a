"""The states of a service: whatever comes in, a user's vector is that of their whole history."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from random_networks import ITEMS, TOLERANCE, World, swap, world

from headrace.core.errors import DataError
from headrace.core.settings import ServingSettings, Settings
from headrace.core.types import Event
from headrace.data.log import Floats
from headrace.ranking.item_vectors import Placed
from headrace.ranking.requests import Request
from headrace.serving.arena import Asked
from headrace.serving.questions import PastEvent, Question
from headrace.serving.service import Service
from headrace.serving.sides import Side
from headrace.serving.states import UserState

START = 1_700_000_000_000_000
MINUTE = 60_000_000


@pytest.fixture
def of() -> World:
    return world()


@pytest.fixture
def shop(of: World, tmp_path: Path) -> Service:
    serving = ServingSettings(store=f"sqlite:///{tmp_path}/shop.db", state_precision="full")
    service = Service.open(Settings(serving=serving), clock=lambda: START + 10**10)
    service.add_events([Event(user_id="all", item_id=str(n), time=START, type="click") for n in range(ITEMS)]).result()
    swap(service, of)
    yield service
    service.close()


def walk(user: str, items: range, start: int = 0) -> list[Event]:
    return [Event(user_id=user, item_id=str(n % ITEMS), time=START + (start + n) * MINUTE) for n in items]


def vectors(service: Service, of: World, user: str) -> tuple[Floats, Floats]:
    """Return what is kept of a user, asked at an unknown time, and what their history says."""
    engine = service.engine

    def read() -> tuple[Floats, Floats]:
        state, arena = engine._histories.get(user, engine.applied), engine.answering.arena
        assert state is not None
        assert arena is not None
        return arena.users([Asked(state.key, state.history, None)]), of.whole([state.history], [None])

    return engine.run(read).result()


def agree(service: Service, of: World, user: str) -> None:
    service.recommend(Question(user_id=user)).result()
    kept, whole = vectors(service, of, user)
    np.testing.assert_allclose(kept, whole, atol=TOLERANCE)


def test_events_late_events_and_a_swap_are_followed(shop: Service, of: World) -> None:
    shop.add_events(walk("ann", range(12))).result()
    agree(shop, of, "ann")
    shop.add_events(walk("ann", range(12, 15))).result()
    agree(shop, of, "ann")
    shop.add_events([Event(user_id="ann", item_id="3", time=START + 13 * MINUTE + 1)]).result()
    agree(shop, of, "ann")
    shop.add_events([Event(user_id="ann", item_id="4", time=START - MINUTE)]).result()
    agree(shop, of, "ann")
    other = world(layers=1)
    swap(shop, other)
    agree(shop, other, "ann")


def test_an_item_that_is_described_is_read_anew(shop: Service, of: World) -> None:
    model = swap(shop, of)
    shop.add_events(walk("ann", range(ITEMS - 5, ITEMS))).result()
    agree(shop, of, "ann")
    before, _ = vectors(shop, of, "ann")
    said = np.ones((1, 16), np.float32)
    placed = Placed(said, said, np.zeros((1, 0), np.float32))
    shop.engine.run(lambda: shop.engine.answering.place(model, np.array([ITEMS], np.int32), placed)).result()
    agree(shop, of, "ann")
    assert np.abs(vectors(shop, of, "ann")[0] - before).max() > TOLERANCE


def test_nothing_is_left_of_a_forgotten_user(shop: Service) -> None:
    shop.recommend(Question(user_id="all")).result()
    arena = shop.engine.answering.arena
    assert arena is not None
    assert len(arena) == 1
    shop.forget("all")
    assert len(arena) == arena.bytes == 0
    assert not any(numbers.any() for numbers in (arena._pages.rows, arena._pages.times, arena._pages.states))


def test_a_commit_that_fails_in_the_middle_leaves_no_wrong_state(
    shop: Service, of: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.add_events(walk("ann", range(12)) + walk("bob", range(12))).result()
    for user in ("ann", "bob"):
        agree(shop, of, user)
    change, failed = shop.engine.answering.behaviour.change, []

    def fail_once(*arguments: object, **named: object) -> None:
        if not failed:
            failed.append(True)
            raise OSError("this one fails")
        change(*arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(shop.engine.answering.behaviour, "change", fail_once)
    late = [Event(user_id=user, item_id="7", time=START + 10 * MINUTE + 1) for user in ("ann", "bob")]
    shop.add_events(late).result()
    shop.engine.run(lambda: None).result()
    assert failed
    for user in ("ann", "bob"):
        shop.engine.run(lambda user=user: shop.engine._histories.forget(user)).result()  # the store has both events
        agree(shop, of, user)


def test_a_history_that_comes_along_is_read_and_not_kept(shop: Service, of: World) -> None:
    given = shop.recommend(Question(history=[PastEvent(item_id="3")], k=3)).result()
    assert len(given.items) == 3
    arena = shop.engine.answering.arena
    assert arena is not None
    assert len(arena) == arena.bytes == 0


def test_a_question_with_a_fault_costs_the_others_nothing(shop: Service, of: World) -> None:
    question = Question(user_id="all")
    state = shop.engine.run(lambda: shop.engine._histories.get("all", shop.engine.applied)).result()
    answering = shop.engine.answering
    with pytest.raises(DataError, match="event_type"):
        answering.requests([(question, state), (replace(question, event_type="unheard"), state)], START, answering.side)
    assert answering.rebuilt == 0


def test_a_model_that_is_late_is_left_out_and_the_answer_says_so(shop: Service) -> None:
    shop.add_events(walk("ann", range(4))).result()
    by_model = shop.recommend(Question(user_id="ann", seen="include")).result()
    rebuilt = shop.engine.answering.rebuilt
    hold = threading.Event()
    held = shop.engine.run(lambda: hold.wait(5))
    late = shop.engine.ask(Question(user_id="new", seen="include"))
    shop.engine._deadline_s = 0.2
    time.sleep(0.08)
    hold.set()
    held.result()
    given = late.result(5)
    assert given.model == "degraded"
    assert given.items
    assert given.events_seen == by_model.events_seen
    assert shop.engine.answering.rebuilt == rebuilt
    shop.engine._deadline_s = 10
    assert shop.recommend(Question(user_id="ann", seen="include")).result().model == by_model.model
    assert 'headrace_answers_total{model="degraded"} 1.0' in shop.telemetry.exposition().decode()


def test_many_new_events_are_read_in_portions_and_give_the_same_vectors(
    shop: Service, of: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    users = [f"u{n}" for n in range(12)]
    for place, user in enumerate(users):
        shop.add_events(walk(user, range(3 + 5 * place))).result()
    monkeypatch.setattr("headrace.serving.engine._EVENTS_TOGETHER", 40)
    sizes, requests = list[int](), shop.engine.answering.requests

    def noted(asked: Sequence[tuple[Question, UserState | None]], now: int, side: Side | None) -> list[Request]:
        sizes.append(len(asked))
        return requests(asked, now, side)

    monkeypatch.setattr(shop.engine.answering, "requests", noted)
    hold = threading.Event()
    held = shop.engine.run(lambda: hold.wait(5))
    asked = [shop.engine.ask(Question(user_id=user)) for user in users]
    hold.set()
    held.result()
    assert len({future.result(5).recommendation_id for future in asked}) == 12
    assert max(sizes) > 1
    assert len(sizes) > 3
    for user in users:
        kept, whole = vectors(shop, of, user)
        np.testing.assert_allclose(kept, whole, atol=TOLERANCE)
