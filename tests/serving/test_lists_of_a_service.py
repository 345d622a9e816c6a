"""The lists of items by users behind a service: made when a model comes, followed by what changes, made anew."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from random_networks import ITEMS, World, swap, world

import headrace.ranking.item_index as item_index
import headrace.serving.indexing as indexing
from headrace.core.settings import ServingSettings, Settings
from headrace.core.types import Event
from headrace.data.log import Floats
from headrace.ranking.byte_rows import ByteRows
from headrace.ranking.item_vectors import Placed
from headrace.serving.models import LoadedModel
from headrace.serving.questions import Question
from headrace.serving.service import Service

START = 1_700_000_000_000_000
MINUTE = 60_000_000


@pytest.fixture
def of() -> World:
    return world()


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Service:
    for module in (item_index, indexing):
        monkeypatch.setattr(module, "EXACT_UP_TO", 5)
    for name, value in {"_HELD_OUT": 8, "_LENGTHS": (12, 24), "RECALL_AT": 4, "RECALL": 0.5}.items():
        monkeypatch.setattr(item_index, name, value)
    serving = ServingSettings(store=f"sqlite:///{tmp_path}/shop.db")
    service = Service.open(Settings(serving=serving), clock=lambda: START + 10**10)
    chance = np.random.default_rng(1)
    service.add_events([Event(user_id="all", item_id=str(n), time=START, type="click") for n in range(ITEMS)]).result()
    for user in range(40):
        items = chance.integers(0, ITEMS, 6).tolist()
        events = [Event(user_id=f"u{user}", item_id=str(item), time=START + n * MINUTE) for n, item in enumerate(items)]
        service.add_events(events).result()
    yield service
    service.close()


def test_lists_are_made_of_the_users_in_the_store_and_used(shop: Service, of: World) -> None:
    model = swap(shop, of)
    before = shop.recommend(Question("u1", k=3, seen="include")).result()
    index = shop.desk._indexer.make(model).result()
    assert index is not None
    assert index.recall >= 0.5
    assert shop.engine.answering.indexed is index
    after = shop.recommend(Question("u1", k=3, seen="include")).result()
    assert [one.item_id for one in after.items] == [one.item_id for one in before.items]


def test_what_changes_while_lists_are_made_and_after_is_looked_at(
    shop: Service, of: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = swap(shop, of)
    outputs = of.vectors.outputs
    user = of.whole([shop.engine.run(lambda: shop.engine._histories.get("u2", 10**9)).result().history], [START])[0]

    def place(key: int) -> None:
        inputs, contents = of.vectors.inputs.wide(), of.vectors.contents.wide()
        placed = Placed(inputs[[key]], (user * 50)[None], contents[[key]])
        shop.engine.run(lambda: shop.engine.answering.place(model, np.array([key], np.int32), placed)).result()

    build = item_index.ItemIndex.build

    def building(vectors: ByteRows, users: Floats, pause: Callable[[], None]) -> item_index.ItemIndex | None:
        made = build(vectors, users, pause)
        place(3)
        return made

    monkeypatch.setattr(item_index.ItemIndex, "build", building)
    index = shop.desk._indexer.make(model).result()
    assert index is not None
    place(4)
    near = index.near(user[None], outputs, 2)
    assert set(near[0].tolist()) == {3, 4}


def test_a_model_is_taken_with_its_lists_and_the_one_before_keeps_its_own(shop: Service, of: World) -> None:
    first = shop.desk._indexer.make(swap(shop, of)).result()
    shop.recommend(Question("u1")).result()
    other = world(layers=1)
    model = LoadedModel(Path("none"), other.network, other.stepper, other.vectors, None, None, [])
    second = shop.desk._indexer.build(model)
    assert second is not None
    shop.engine.take(model, second).result()
    assert shop.engine.answering.indexed is second
    leaving = shop.engine.answering._leaving_encoder
    assert leaving is not None
    assert leaving.index is first
    assert shop.recommend(Question("u1")).result().items
    shop.engine.move(9).result()
    assert shop.engine.answering._leaving_encoder is None
    assert shop.recommend(Question("u1")).result().items


def test_lists_of_a_model_that_is_gone_are_not_used(shop: Service, of: World) -> None:
    gone = swap(shop, of)
    swap(shop, world(layers=1))
    assert shop.desk._indexer.make(gone).result() is not None
    assert shop.engine.answering.indexed is None


def test_so_many_changes_that_lists_are_late_make_them_anew(shop: Service, of: World) -> None:
    model = swap(shop, of)
    first = shop.desk._indexer.make(model).result()
    assert first is not None
    shop.desk._indexer.look(model)
    assert shop.engine.answering.indexed is first
    first.change(np.arange(1, 26, dtype=np.int32))
    shop.desk._indexer.look(model)
    second = shop.desk._indexer._making.result()
    assert second is not first
    assert shop.engine.answering.indexed is second


def test_lists_that_do_not_help_are_not_tried_again_for_each_item(
    shop: Service, of: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = swap(shop, of)
    monkeypatch.setattr(item_index, "RECALL", 2.0)
    first = shop.desk._indexer.make(model)
    assert first.result() is None
    shop.desk._indexer.look(model)
    assert shop.desk._indexer._making is first
    assert shop.engine.answering.indexed is None
