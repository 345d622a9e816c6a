"""A user with a million events: what the next event and the next answer read does not grow with them."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future

import numpy as np
import polars as pl
import pytest
from random_networks import ITEMS, World, swap, world

from headrace.core.settings import ServingSettings, Settings
from headrace.core.types import Event
from headrace.data.log import Bools, EventLog, History
from headrace.pipeline.preparation import prepare
from headrace.ranking.state_kernels import NewEvents, Pages
from headrace.serving.questions import Given, Question
from headrace.serving.service import Service

START = 1_700_000_000_000_000
STEP = 5_000_000
"""Microseconds between two events: not so many an hour that the user counts as a bot."""
MILLION = 1_000_000


@pytest.fixture(scope="module")
def of() -> World:
    return world()


@pytest.fixture(scope="module")
def shop(of: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("large")
    users = pl.Series(["large"]).extend_constant("large", MILLION - 1).extend_constant("ann", 20)
    place = pl.int_range(len(users), eager=True)
    items = (place * 7919 % ITEMS).cast(pl.String)
    events = pl.DataFrame({"user_id": users, "item_id": items, "time": START + STEP * place})
    now = START + STEP * (len(users) + 1)
    prepare(events, out=folder / "dataset", now=now)
    serving = ServingSettings(store=f"sqlite:///{folder}/shop.db", state_precision="full", deadline_ms=600_000)
    service = Service.open(Settings(serving=serving), history=folder / "dataset", clock=lambda: now)
    swap(service, of)
    yield service
    service.close()


@pytest.fixture
def read(shop: Service, of: World, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many events the encoder reads, call by call."""
    extend, sizes = of.stepper.extend, list[int]()

    def noted(pages: Pages, events: NewEvents) -> None:
        sizes.append(len(events.seats))
        extend(pages, events)

    monkeypatch.setattr(of.stepper, "extend", noted)
    return sizes


@pytest.fixture
def counted(shop: Service, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many events the counts look at, call by call."""
    transitions, sizes = shop.engine.answering.behaviour.transitions, list[int]()
    append = transitions.append

    def noted(log: EventLog, new: Bools) -> None:
        sizes.append(len(log))
        append(log, new)

    monkeypatch.setattr(transitions, "append", noted)
    return sizes


def ask(service: Service, user: str) -> Given:
    return service.recommend(Question(user, seen="include")).result(60)


def test_all_events_are_there_and_the_first_answer_reads_only_the_last_ones(
    shop: Service, of: World, read: list[int]
) -> None:
    assert shop.engine.events == MILLION + 20
    assert ask(shop, "large").items
    assert sum(read) == of.stepper.shape.reach


def test_an_event_and_the_answer_after_it_read_that_event(shop: Service, read: list[int], counted: list[int]) -> None:
    ask(shop, "large")
    read.clear()
    for n in range(3):
        moment = START + STEP * (MILLION + 100 + n)
        written = shop.add_events([Event(user_id="large", item_id=str(n), time=moment)]).result(60)
        given = ask(shop, "large")
        assert given.events_seen == written.sequence
        assert given.items
    assert read == [1, 1, 1]
    window = shop.engine.answering.behaviour.transitions.window
    assert len(counted) == 3
    assert max(counted) <= 2 * window + 1


def test_a_late_event_is_taken_in_and_others_get_the_answers_that_they_got(
    shop: Service, of: World, read: list[int]
) -> None:
    before = ask(shop, "ann").items
    ask(shop, "large")
    read.clear()
    late = Event(user_id="large", item_id="3", time=START + STEP // 2)
    written = shop.add_events([late]).result(60)
    assert ask(shop, "large").events_seen == written.sequence
    assert sum(read) <= of.stepper.shape.reach
    after = ask(shop, "ann").items
    assert [item.item_id for item in after] == [item.item_id for item in before]
    np.testing.assert_allclose([item.score for item in after], [item.score for item in before], rtol=1e-3)


def test_others_are_answered_while_the_user_is_forgotten(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headrace.serving.answering._FORGOTTEN_TOGETHER", 10)
    service.add_events([Event(user_id="large", item_id=str(n % 7), time=START + n) for n in range(100)]).result()
    service.add_events([Event(user_id="ann", item_id="tea", time=START)]).result()
    change, asked, answered = service.engine.answering.behaviour.change, list[Future[Given]](), list[bool]()

    def noted(before: History, after: History, *, first: int = 0) -> None:
        assert len(before) - len(after) <= 10
        asked.append(service.recommend(Question("ann", seen="include")))
        answered.append(asked[0].done())
        change(before, after, first=first)

    monkeypatch.setattr(service.engine.answering.behaviour, "change", noted)
    service.forget("large")
    assert answered == [False] + 9 * [True]
    for future in asked:
        assert "tea" in [item.item_id for item in future.result(10).items]
    given = service.recommend(Question("new", seen="include")).result(10)
    assert [item.item_id for item in given.items if item.reason == "popular"] == ["tea"]
    assert len(service.engine.answering.behaviour.transitions.triples()[0]) == 0
