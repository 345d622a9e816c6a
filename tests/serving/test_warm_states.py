"""A restart goes on with the states of recent users, and only with those that are still true."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
from random_networks import ITEMS, TOLERANCE, World, swap, world

from headrace.core.settings import ServingSettings, Settings
from headrace.core.types import Event
from headrace.ranking.item_vectors import ItemVectors, Placed
from headrace.serving.arena import Asked
from headrace.serving.questions import Question
from headrace.serving.service import Service
from headrace.serving.warm_states import states_path

START = 1_700_000_000_000_000
MINUTE = 60_000_000
USERS = [f"u{n}" for n in range(8)]

Open = Callable[..., Service]


@pytest.fixture
def of() -> World:
    return world()


@pytest.fixture
def start(tmp_path: Path, of: World) -> Iterator[Open]:
    opened: list[Service] = []

    def open_one(network: World = of, **serving: object) -> Service:
        settings = ServingSettings(store=f"sqlite:///{tmp_path}/shop.db", state_precision="full")
        settings = msgspec.structs.replace(settings, **serving)
        opened.append(Service.open(Settings(serving=settings), clock=lambda: START + 10**10))
        if not opened[-1].engine.events:
            everything = [Event(user_id="all", item_id=str(n), time=START, type="click") for n in range(ITEMS)]
            opened[-1].add_events(everything).result()
        swap(opened[-1], network)
        return opened[-1]

    yield open_one
    for service in opened:
        service.close()


def walk(user: str, n: int, start: int = 0) -> list[Event]:
    return [Event(user_id=user, item_id=str(i % ITEMS), time=START + (start + i) * MINUTE) for i in range(n)]


def fill(service: Service) -> None:
    for place, user in enumerate(USERS):
        service.add_events(walk(user, 3 + 4 * place)).result()
        service.recommend(Question(user_id=user)).result()


def check(service: Service, of: World, user: str) -> None:
    """A user's vector is that of the whole history."""
    engine = service.engine

    def read() -> None:
        state, arena = engine._histories.get(user, engine.applied), engine.answering.arena
        assert state is not None
        assert arena is not None
        kept = arena.users([Asked(state.key, state.history, None)])
        np.testing.assert_allclose(kept, of.whole([state.history], [None]), atol=TOLERANCE)

    engine.run(read).result()


def warm(service: Service) -> int:
    arena = service.engine.answering.arena
    return service.engine.run(lambda: 0 if arena is None else len(arena)).result()


def test_after_a_restart_nobody_is_read_anew(start: Open, of: World) -> None:
    service = start()
    fill(service)
    service.add_events(walk("u3", 2, start=100)).result()  # not read yet when it ends
    service.close()
    again = start()
    assert warm(again) == len(USERS)
    again.add_events(walk("u5", 2, start=100)).result()
    for user in USERS:
        check(again, of, user)
    assert again.engine.answering.rebuilt == 0


def test_who_did_something_later_is_read_anew(start: Open, of: World, tmp_path: Path) -> None:
    service = start()
    fill(service)
    service.close()
    kept = states_path(service.store).with_name("kept")
    shutil.copy(states_path(service.store), kept)
    again = start()
    again.add_events(walk("u2", 1, start=-5)).result()  # late: it changes what was read
    again.close()
    shutil.copy(kept, states_path(again.store))
    last = start()
    assert warm(last) == len(USERS) - 1
    for user in USERS:
        check(last, of, user)
    assert last.engine.answering.rebuilt == 1


@pytest.mark.parametrize("change", ["model", "inputs", "erased", "precision", "damaged", "short"])
def test_states_of_something_else_are_not_used(start: Open, of: World, change: str) -> None:
    service = start()
    fill(service)
    service.close()
    path = states_path(service.store)
    network, serving = of, dict[str, object]()
    if change == "model":
        other = world()
        other.network.info = msgspec.structs.replace(other.network.info, version="another")
        network = other
    elif change == "inputs":
        inputs = of.vectors.inputs.wide()
        inputs[ITEMS - 2] += 1  # of which nothing was known
        placed = Placed(inputs, of.vectors.outputs.wide(), of.vectors.contents.wide())
        network = replace(of, vectors=ItemVectors.of(placed, of.vectors.rows, of.vectors.types))
    elif change == "erased":
        kept = path.read_bytes()
        again = start()
        again.forget("u1")
        assert not path.exists()
        again.close()
        path.write_bytes(kept)
    elif change == "precision":
        serving["state_precision"] = "half"
    elif change == "damaged":
        path.write_bytes(path.read_bytes()[:-100])
    else:
        path.write_bytes(b"")
    last = start(network, **serving)
    assert warm(last) == 0
    assert last.recommend(Question(user_id="u2")).result().items


def test_only_those_asked_about_last_are_kept(start: Open, of: World) -> None:
    bytes_of_two = 2 * of.page_bytes("full")
    service = start(saved_state_bytes=bytes_of_two)
    for user in USERS:
        service.add_events(walk(user, 3)).result()
        service.recommend(Question(user_id=user)).result()
    service.recommend(Question(user_id="u1")).result()
    service.close()
    again = start(saved_state_bytes=bytes_of_two)
    assert warm(again) == 2
    for user in ("u1", "u7"):
        check(again, of, user)
    assert again.engine.answering.rebuilt == 0
