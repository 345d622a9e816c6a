"""Items that say absurd things: their vectors stay finite, and the lists of others stay as they were."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import msgspec
import numpy as np
import pytest
from random_networks import ITEMS, world

from headrace.content.vectors import VectorCache
from headrace.core.settings import ServingSettings, Settings
from headrace.core.types import Event, Item
from headrace.data.log import Floats
from headrace.data.vocabulary import Vocabulary
from headrace.ranking.network import Network
from headrace.serving.models import LoadedModel
from headrace.serving.questions import Question
from headrace.serving.service import Service

START = 1_700_000_000_000_000
WIDTH, CONTENT = 16, 4
POISON = "poison"


@dataclass
class Texts:
    """An encoder whose numbers overflow at one word."""

    broken: float

    def vectors(self, texts: Sequence[str], _: object = None) -> Floats:
        found = np.ones((len(texts), CONTENT), np.float32) / 2
        found[[POISON in text for text in texts]] = self.broken
        found[[not text for text in texts]] = 0
        return found


def placing(broken: float) -> LoadedModel:
    """Return a model that places items by their text and their price."""
    of, random = world(width=WIDTH), np.random.default_rng(2)
    shape = msgspec.structs.replace(of.network.info.shape, content=CONTENT, features=1)
    info = msgspec.structs.replace(of.network.info, shape=shape, features={"price": (1.0, 0.5)})
    tables = {
        "known": np.zeros(1, np.float32),
        "place.matrix": random.normal(size=(CONTENT, 2 * WIDTH)),
        "place.offset": np.zeros(2 * WIDTH),
        "place.missing": np.zeros(2 * WIDTH),
        "place.features": random.normal(size=(1, 2 * WIDTH)) / 10,
        "place.mean": np.zeros(CONTENT),
        "place.components": np.zeros((CONTENT, 0)),
    }
    network = Network(info, Vocabulary([]), tables, of.network._encode, of.network._query)
    return LoadedModel(Path("none"), network, of.stepper, of.vectors, None, cast(VectorCache, Texts(broken)), [])


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Service]:
    serving = ServingSettings(store=f"sqlite:///{tmp_path}/shop.db")
    service = Service.open(Settings(serving=serving), clock=lambda: START + 10**10)
    service.add_events(
        [Event(user_id="all", item_id=str(n), time=START + n, type="click") for n in range(ITEMS)]
    ).result()
    service.add_events([Event(user_id="ann", item_id="3", time=START + 10**8)]).result()
    yield service
    service.close()


def listed(service: Service) -> list[tuple[str, float]]:
    given = service.recommend(Question("ann", seen="include", k=ITEMS + 1)).result()
    assert np.isfinite([item.score for item in given.items]).all()
    return [(item.item_id, item.score) for item in given.items if item.item_id != "new"]


@pytest.mark.parametrize(
    ("absurd", "broken"),
    [
        (Item(item_id="new", title=POISON), float("nan")),
        (Item(item_id="new", title=POISON), float("inf")),
        (Item(item_id="new", title="lamp", price=1e308), 0.0),
        (Item(item_id="new", title="lamp", price=1.0, attributes={"price": 1e308}), 0.0),
    ],
)
def test_an_item_that_says_something_absurd_leaves_the_lists_of_others_alone(
    shop: Service, absurd: Item, broken: float
) -> None:
    model = placing(broken)
    shop.desk.exchange(model)
    shop.put_items([Item(item_id="new", title="lamp", price=1.0)])
    before = listed(shop)
    shop.put_items([absurd])
    place = np.array([shop.store.item_ids.index("new")])
    assert np.isfinite(model.vectors.outputs.wide_at(place)).all()
    assert np.isfinite(model.vectors.inputs.wide_at(place)).all()
    after = listed(shop)
    assert [item for item, _ in after] == [item for item, _ in before]
    np.testing.assert_allclose([score for _, score in after], [score for _, score in before], atol=0.5)
    shop.add_events([Event(user_id="ann", item_id="new", time=START + 10**9)]).result()
    assert listed(shop)


def test_an_item_whose_text_cannot_be_read_is_placed_as_one_without_a_text(caplog: pytest.LogCaptureFixture) -> None:
    model = placing(float("nan"))
    items = [Item(item_id="a", title=POISON, price=3.0), Item(item_id="b", price=3.0), Item(item_id="c", title="lamp")]
    keys = np.arange(1, 4, dtype=np.int32)
    placed, alone = model.place(items, keys), model.place(items[1:], keys[1:])
    for whole, rest in zip(placed, alone, strict=True):
        np.testing.assert_array_equal(whole[0], rest[0])
        np.testing.assert_array_equal(whole[1:], rest)
    assert "1 of 3 texts" in caplog.text
