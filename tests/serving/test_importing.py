"""A dataset becomes a store's past, once."""

from __future__ import annotations

from itertools import chain
from pathlib import Path

import polars as pl
import pytest

from headrace.core.settings import ServingSettings, Settings
from headrace.core.types import Event
from headrace.pipeline.preparation import prepare
from headrace.serving.importing import import_dataset
from headrace.serving.questions import Question
from headrace.serving.service import Service
from headrace.serving.store import Store

START = 1_700_000_000_000_000
MINUTE = 60_000_000


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    rows = [(f"u{n % 5}", item, START + n * MINUTE) for n, item in enumerate("abcdefgh" * 5)]
    events = pl.DataFrame(rows, schema=["user_id", "item_id", "time"], orient="row")
    items = pl.DataFrame({"item_id": ["a", "b", "z"], "title": ["Tea", "Cup", "Pot"], "price": [1.5, 2.0, None]})
    prepare(events, items=items, out=tmp_path / "dataset", now=START + 1000 * MINUTE)
    return tmp_path / "dataset"


def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/shop.db"


def test_a_dataset_is_imported_once(tmp_path: Path, dataset: Path) -> None:
    store = Store.open(url(tmp_path))
    assert import_dataset(store, dataset, now=START) == 40
    assert import_dataset(store, dataset, now=START) == 0
    assert (store.count("events"), store.count("users"), len(store.item_ids)) == (40, 5, 9)
    store.close()


def test_events_that_the_store_holds_are_not_imported_again(tmp_path: Path, dataset: Path) -> None:
    settings = Settings(serving=ServingSettings(store=url(tmp_path)))
    service = Service.open(settings, clock=lambda: START)
    service.add_events(
        [Event(user_id="u0", item_id="a", time=START), Event(user_id="new", item_id="q", time=START)]
    ).result()
    service.close()
    store = Store.open(url(tmp_path))
    assert import_dataset(store, dataset, now=START) == 39
    assert store.count("events") == 41
    store.close()


def test_a_service_serves_and_goes_on_from_an_imported_past(tmp_path: Path, dataset: Path) -> None:
    settings = Settings(serving=ServingSettings(store=url(tmp_path)))
    service = Service.open(settings, history=dataset, clock=lambda: START + 100 * MINUTE)
    assert service.item("a").title == "Tea"
    assert service.engine.events == 40
    given = service.recommend(Question(user_id="u0", k=3, seen="include")).result()
    assert len(given.items) == 3
    assert service.add_events([Event(user_id="u0", item_id="q")]).result().sequence == 41
    service.close()


def test_a_dataset_without_times_keeps_its_order(tmp_path: Path) -> None:
    events = pl.DataFrame({"user_id": ["u"] * 5, "item_id": list("edcba")})
    prepare(events, out=tmp_path / "dataset", now=START)
    settings = Settings(serving=ServingSettings(store=url(tmp_path)))
    service = Service.open(settings, history=tmp_path / "dataset", clock=lambda: START)
    assert [event.item_id for event in chain.from_iterable(service.user_events("u"))] == list("edcba")
    service.close()
