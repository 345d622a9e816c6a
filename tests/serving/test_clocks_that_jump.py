"""A wall clock that goes backwards between two commits, or two answers: nothing is lost, doubled or out of order."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from random_networks import ITEMS, NOW, TOLERANCE, World, some_events, swap, world

from headrace.core.settings import ServingSettings, Settings
from headrace.core.types import Event
from headrace.serving.answer_records import prune_by_age
from headrace.serving.arena import Asked
from headrace.serving.questions import Question
from headrace.serving.service import Service

START = 1_700_000_000_000_000
HOUR = 3_600_000_000
DAY = 24 * HOUR


class Jumping:
    """Stands still until the test moves it, either way."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> int:
        return self.now


@pytest.fixture
def clock() -> Jumping:
    return Jumping()


@pytest.mark.parametrize("back", [1, HOUR, 400 * DAY, START - 1])
def test_events_are_numbered_and_seen_in_the_order_in_which_they_came(
    service: Service, clock: Jumping, back: int
) -> None:
    service.add_events([Event(user_id="ann", item_id="tea"), Event(user_id="bob", item_id="cup")]).result()
    newest = service.recommend(Question("ann")).result().as_of
    clock.now -= back
    written = service.add_events([Event(user_id="ann", item_id="pot")]).result()
    assert written.sequence == 3
    given = service.recommend(Question("ann", seen="exclude")).result()
    assert (given.events_seen, given.as_of) == (3, newest)
    assert [item.item_id for item in given.items] == ["cup"]
    shown = [(event.item_id, event.time, event.received) for event in next(service.user_events("ann"))]
    assert shown == [("pot", START - back, START - back), ("tea", START, START)]


def test_a_retry_after_the_jump_is_still_the_same_event(service: Service, clock: Jumping) -> None:
    event = Event(user_id="ann", item_id="tea", event_id="e1")
    service.add_events([event]).result()
    clock.now -= DAY
    again = service.add_events([event, event]).result()
    assert (again.accepted, again.duplicates, again.sequence) == (0, 2, 1)


def test_answers_keep_ids_of_their_own_and_are_recorded(service: Service, clock: Jumping) -> None:
    service.add_events([Event(user_id="ann", item_id="tea")]).result()
    given = []
    for moment in (START, START, START - DAY, START - DAY, START):
        clock.now = moment
        given.append(service.recommend(Question("bob")).result())
    ids = [one.recommendation_id for one in given]
    assert len(set(ids)) == len(ids)
    assert [int(one[:12], 16) for one in ids] == [
        moment // 1000 for moment in (START, START, START - DAY, START - DAY, START)
    ]
    for one in ids:
        service.add_events([Event(user_id="bob", item_id="tea", recommendation_id=one)]).result()
    service.engine.run(lambda: None).result()
    assert 'headrace_answers_followed_total{model="counts"} 5.0' in service.telemetry.exposition().decode()


def test_no_answer_is_deleted_before_its_time(service: Service, clock: Jumping) -> None:
    service.add_events([Event(user_id="ann", item_id="tea")]).result()
    for moment in (START, START - 5 * DAY, START - 10 * DAY):
        clock.now = moment
        given = service.recommend(Question("ann")).result()
    # Once an event names one of them, all are written.
    service.add_events([Event(user_id="ann", item_id="tea", recommendation_id=given.recommendation_id)]).result()
    old = clock.now - 7 * DAY
    assert service.writer.execute(lambda connection: prune_by_age(connection, old)).result() == 0
    assert service.writer.execute(lambda connection: prune_by_age(connection, START - 7 * DAY)).result() == 1


@pytest.mark.parametrize("back", [HOUR, 3 * HOUR, 10 * DAY])
def test_what_is_popular_is_that_of_a_service_started_at_that_hour(
    open_service: Callable[[], Service], clock: Jumping, back: int
) -> None:
    service = open_service()
    for turn, item in enumerate("aaabbbbbcc"):
        clock.now += HOUR * (turn % 3)
        service.add_events([Event(user_id=f"u{turn}", item_id=item)]).result()
    service.recommend(Question("new")).result()  # the sums of this hour are kept
    clock.now -= back
    service.add_events([Event(user_id=f"v{turn}", item_id="d") for turn in range(4)]).result()
    before = service.recommend(Question("new")).result().items
    clock.now += back
    after = service.recommend(Question("new")).result().items
    service.close()
    again = open_service()
    assert again.recommend(Question("new")).result().items == after
    clock.now -= back
    assert again.recommend(Question("new")).result().items == before
    assert sorted(item.item_id for item in before) == list("abcd")


def test_a_question_from_before_the_last_event_is_answered_as_the_network_says() -> None:
    of = world()
    histories = [some_events(n, n) for n in (1, 4, 30)]
    moments = [int(history.times[-1]) - back for history, back in zip(histories, (1, HOUR, 400 * DAY), strict=True)]
    asked = [Asked(key, *one) for key, one in enumerate(zip(histories, moments, strict=True), start=1)]
    kept = of.arena(precision="full").users(asked)
    np.testing.assert_allclose(kept, of.whole(histories, moments), atol=TOLERANCE)


@pytest.fixture
def of() -> World:
    return world()


def test_states_follow_events_that_come_with_an_earlier_time(tmp_path: Path, of: World, clock: Jumping) -> None:
    clock.now = NOW
    serving = ServingSettings(store=f"sqlite:///{tmp_path}/shop.db", state_precision="full")
    shop = Service.open(Settings(serving=serving), clock=clock)
    shop.add_events([Event(user_id="all", item_id=str(n), type="click") for n in range(ITEMS)]).result()
    swap(shop, of)
    for n, jump in enumerate([HOUR, HOUR, -DAY, 1, -HOUR, 3 * DAY, -400 * DAY, HOUR]):
        clock.now += jump
        shop.add_events([Event(user_id="ann", item_id=str(n * 7 % ITEMS))]).result()
        assert shop.recommend(Question("ann", seen="include")).result().items
    state = shop.engine.run(lambda: shop.engine._histories.get("ann", shop.engine.applied)).result()
    assert state is not None
    assert (np.diff(state.history.times) >= 0).all()
    arena = shop.engine.answering.arena
    assert arena is not None
    kept = shop.engine.run(lambda: arena.users([Asked(state.key, state.history, None)])).result()
    np.testing.assert_allclose(kept, of.whole([state.history], [None]), atol=TOLERANCE)
    shop.close()
