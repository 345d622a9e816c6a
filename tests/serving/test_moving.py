"""After a swap the old model answers whoever it knows until they have moved; the new one everybody else."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest
from random_networks import ITEMS, TOLERANCE, World, swap, world

from headrace.core.errors import ModelError
from headrace.core.settings import ServingSettings, Settings
from headrace.core.types import Event
from headrace.serving.arena import Asked
from headrace.serving.models import _check_metrics
from headrace.serving.moving import Mover
from headrace.serving.questions import Question
from headrace.serving.service import Service

START = 1_700_000_000_000_000
MINUTE = 60_000_000
USERS = [f"u{n}" for n in range(6)]


def named(version: str, width: int) -> World:
    made = world(width=width)
    made.network.info = msgspec.structs.replace(made.network.info, version=version)
    return made


@pytest.fixture
def old() -> World:
    return named("old", 16)


@pytest.fixture
def new() -> World:
    return named("new", 24)


@pytest.fixture
def shop(old: World, tmp_path: Path) -> Iterator[Service]:
    serving = ServingSettings(store=f"sqlite:///{tmp_path}/shop.db", state_precision="full")
    service = Service.open(Settings(serving=serving), clock=lambda: START + 10**10)
    service.add_events([Event(user_id="all", item_id=str(n), time=START, type="click") for n in range(ITEMS)]).result()
    swap(service, old)
    for place, user in enumerate(USERS):
        service.add_events(walk(user, range(2 + 3 * place))).result()
        assert by(service, user) == "old"
    yield service
    service.close()


def walk(user: str, places: range) -> list[Event]:
    return [Event(user_id=user, item_id=str(n % ITEMS), time=START + n * MINUTE) for n in places]


def by(service: Service, user: str) -> str:
    """Return the name of the model that answers a user."""
    return service.recommend(Question(user_id=user)).result().model


def check(service: Service, user: str, of: World) -> None:
    """What is kept of a user is what the network says of the whole history."""
    engine = service.engine

    def read() -> None:
        state = engine._histories.get(user, engine.applied)
        assert state is not None
        side = engine.answering.side_of(state)
        assert side is not None
        assert side.model.network is of.network
        kept = side.arena.users([Asked(state.key, state.history, None)])
        np.testing.assert_allclose(kept, of.whole([state.history], [None]), atol=TOLERANCE)

    engine.run(read).result()


def test_users_move_one_after_the_other_and_every_answer_is_right(shop: Service, old: World, new: World) -> None:
    swap(shop, new)
    assert [by(shop, user) for user in USERS] == ["old"] * 6
    assert by(shop, "stranger") == by(shop, "all") == "new"  # who has no state waits for nobody
    assert shop.engine.move(2).result() == 4
    assert [by(shop, user) for user in USERS] == ["old"] * 4 + ["new"] * 2  # those asked about last come first
    shop.add_events([event for user in USERS for event in walk(user, range(50, 53))]).result()
    shop.add_events(walk("u1", range(1)) + walk("u5", range(1))).result()  # late ones
    for user in USERS:
        check(shop, user, new if user in ("u4", "u5") else old)
    assert shop.engine.move(100).result() == 0
    assert shop.engine.answering.leaving is None
    for user in USERS:
        assert by(shop, user) == "new"
        check(shop, user, new)
    assert shop.engine.move(100).result() == 0


def test_moving_keeps_the_order_in_which_users_were_asked_about(shop: Service, new: World) -> None:
    swap(shop, new)
    assert by(shop, "stranger") == "new"
    before = shop.engine.answering.leaving
    assert before is not None
    order = before.arena.recent(9)
    shop.engine.move(2).result()
    shop.engine.move(100).result()
    assert shop.engine.answering.arena is not None
    assert [key for key in shop.engine.answering.arena.recent(9) if key in order] == order
    assert shop.engine.answering.arena._other is None


def test_one_batch_may_hold_users_of_both(shop: Service, new: World) -> None:
    swap(shop, new)
    shop.engine.move(3).result()
    hold = shop.engine.run(lambda: time.sleep(0.05))
    asked = [shop.recommend(Question(user_id=user)) for user in USERS]
    hold.result()
    assert [future.result().model for future in asked] == ["old"] * 3 + ["new"] * 3


def test_who_has_not_moved_in_time_is_read_at_the_next_question(shop: Service, new: World) -> None:
    swap(shop, new)
    shop.engine.part().result()
    assert [by(shop, user) for user in USERS] == ["new"] * 6
    for user in USERS:
        check(shop, user, new)


def test_the_mover_moves_everybody_in_the_background(shop: Service, new: World) -> None:
    swap(shop, new)
    mover = Mover(shop.engine, patience_s=60)
    mover.begin()
    deadline = time.monotonic() + 20
    while shop.engine.answering.leaving is not None:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    assert [by(shop, user) for user in USERS] == ["new"] * 6
    mover.stop()


def test_the_mover_gives_up_after_its_patience(shop: Service, new: World, monkeypatch: pytest.MonkeyPatch) -> None:
    swap(shop, new)
    monkeypatch.setattr("headrace.serving.moving._TOGETHER", 1)
    mover = Mover(shop.engine, patience_s=0)
    mover.begin()
    assert mover._thread is not None
    mover._thread.join(20)
    assert shop.engine.answering.leaving is None


def test_a_swap_during_a_swap_leaves_the_first_model_behind(shop: Service, new: World) -> None:
    swap(shop, new)
    shop.engine.move(2).result()
    third = named("third", 16)
    second = shop.engine.answering.arena
    swap(shop, third)
    assert second is not None
    assert second._other is None  # nothing holds what the first one had
    assert [by(shop, user) for user in USERS] == ["third"] * 4 + ["new"] * 2
    assert shop.engine.move(100).result() == 0
    for user in USERS:
        check(shop, user, third)


def test_a_forgotten_user_is_in_neither(shop: Service, new: World) -> None:
    swap(shop, new)
    leaving = shop.engine.answering.leaving
    assert leaving is not None
    before = len(leaving.arena)
    shop.forget("u2")
    assert len(leaving.arena) == before - 1
    assert shop.engine.move(100).result() == 0
    assert by(shop, "u2") == "new"


def test_both_models_together_keep_to_the_cap(tmp_path: Path, old: World, new: World) -> None:
    users = 200
    limit = 150 * old.page_bytes("full")
    serving = ServingSettings(store=f"sqlite:///{tmp_path}/shop.db", state_precision="full", state_bytes=limit)
    service = Service.open(Settings(serving=serving), clock=lambda: START + 10**10)
    swap(service, old)
    service.add_events([event for n in range(users) for event in walk(f"v{n}", range(5))]).result()
    for n in range(users):
        by(service, f"v{n}")
    assert service.engine.answering.state_bytes <= limit
    least = 64 * new.page_bytes("full")  # so many have room whatever the other model holds
    swap(service, new)
    for n in range(users):
        by(service, f"v{n}")
        assert service.engine.answering.state_bytes <= limit + least
        if n % 10 == 0:
            service.engine.move(8).result()
    while service.engine.move(8).result():
        assert service.engine.answering.state_bytes <= limit + least
    for n in range(users):
        by(service, f"v{n}")
    assert 0.8 * limit <= service.engine.answering.state_bytes <= limit
    service.close()


@pytest.mark.parametrize(
    ("ndcg", "least", "fine"),
    [(0.06, 0.05, True), (0.05, 0.05, True), (0.04, 0.05, False), (None, 0.05, False), (None, 0, True)],
)
def test_a_model_whose_lists_were_worse_than_they_must_be_is_refused(
    ndcg: float | None, least: float, fine: bool
) -> None:
    rows = [{"method": "counts", "metric": "ndcg", "k": 10, "value": 0.9}]
    if ndcg is not None:
        rows.append({"method": "headrace", "metric": "ndcg", "k": 10, "value": ndcg})
    if fine:
        _check_metrics(Path("m"), rows, least)
    else:
        with pytest.raises(ModelError, match=r"NDCG@10 of 0\.05 at least"):
            _check_metrics(Path("m"), rows, least)
