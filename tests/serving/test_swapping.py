"""Models come and go while the service answers; a bad one is refused and the old one stays."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from headrace.core.errors import FormatError, ModelError
from headrace.core.formats import Blend, Learned, ModelInfo, Shape
from headrace.core.settings import Settings
from headrace.core.types import Event, Item
from headrace.data.features import feature_statistics, normalise
from headrace.data.log import Floats, History
from headrace.ranking.item_vectors import ItemVectors
from headrace.serving.models import numeric_features
from headrace.serving.questions import PastEvent, Question
from headrace.serving.service import Service

START = 1_700_000_000_000_000
TRAINED = ["a", "b", "c", "d"]


def info(version: str) -> ModelInfo:
    learned = Learned(
        protocol="all", stage="refitted", first_cut=1, second_cut=2, until=START, events=9, fingerprint="f"
    )
    return ModelInfo(
        format=1,
        name="toy",
        version=version,
        created="2026-01-01T00:00:00Z",
        learned=learned,
        shape=Shape(width=4, layers=1, heads=1, window=10, content=4, types=["interaction"]),
        blend=Blend(encoder=1.0, counts=0.0, popularity=0.0),
        steps=1,
        preset="tiny",
        seen="exclude",
    )


class Toy:
    """A network whose user vector is the input of the last item; item i leads to item i + 1 of the four trained ones.

    A text of one letter stands for that trained item's place: content is its one-hot vector, and so are the vectors.
    """

    def __init__(self, folder: Path) -> None:
        self.info = info(folder.name)
        self.item_ids = TRAINED
        self.content_width = 4
        self._bad = folder.name == "bad"

    @classmethod
    def load(cls, folder: Path) -> Toy:
        if not (folder / "model.json").exists():
            raise FormatError(f"{folder} must hold model.json")
        return cls(folder)

    def adapt(
        self,
        ids: Sequence[str],
        content: Floats | None = None,
        *,
        features: Floats | None = None,
        types: Sequence[str] | None = None,
    ) -> ItemVectors:
        rows = np.array([0, *(TRAINED.index(i) + 1 if i in TRAINED else 0 for i in ids)], np.int32)
        outputs = np.zeros((len(rows), 4), np.float32) if content is None else content.copy()
        inputs = np.roll(outputs, 1, axis=1)
        for place, row in enumerate(rows.tolist()):
            if row:
                outputs[place] = np.eye(4, dtype=np.float32)[row - 1]
                inputs[place] = np.eye(4, dtype=np.float32)[row % 4]
        if self._bad:
            outputs[1:] = np.nan
        return ItemVectors(inputs, outputs, rows, np.zeros(1, np.int32))

    def place(self, content: Floats, features: Floats | None = None) -> tuple[Floats, Floats]:
        return np.roll(content, 1, axis=1), content

    def users(self, histories: Sequence[History], times: Sequence[int | None], vectors: ItemVectors) -> Floats:
        lasts = [int(history.items[-1]) if len(history) else 0 for history in histories]
        return np.stack([vectors.inputs[last if last < len(vectors) else 0] for last in lasts])


class Letters:
    """A text encoder of the letters a to d."""

    width = 4

    def __init__(self, _: Path) -> None:
        return

    def encode(self, texts: Sequence[str]) -> Floats:
        table = np.zeros((len(texts), 4), np.float32)
        for row, text in enumerate(texts):
            if text in TRAINED:
                table[row, TRAINED.index(text)] = 1
        return table


@pytest.fixture
def shop(service: Service, monkeypatch: pytest.MonkeyPatch) -> Service:
    monkeypatch.setattr("headrace.serving.models.Network", Toy)
    monkeypatch.setattr("headrace.serving.models.OnnxTextEncoder", Letters)
    for name in ("one", "two", "bad"):
        folder = Path(service.settings.serving.models) / name
        (folder / "text").mkdir(parents=True)
        (folder / "model.json").touch()
    service.add_events([Event(user_id="ann", item_id=item, time=START) for item in TRAINED]).result()
    return service


def first(service: Service, item: str) -> str:
    given = service.recommend(Question(history=[PastEvent(item_id=item)], k=1)).result()
    return given.items[0].item_id


def test_a_swapped_model_answers_and_is_named(shop: Service) -> None:
    assert shop.recommend(Question(user_id="ann")).result().model == "counts"
    assert shop.swap("one") == "one"
    assert shop.recommend(Question(user_id="ann")).result().model == "one"
    assert [first(shop, item) for item in TRAINED] == ["b", "c", "d", "a"]
    assert shop.status().model.version == "one"


def test_a_bad_model_is_refused_and_the_old_one_stays(shop: Service) -> None:
    shop.swap("one")
    with pytest.raises(ModelError, match="finite numbers"):
        shop.swap("bad")
    (Path(shop.settings.serving.models) / "empty").mkdir()
    with pytest.raises(FormatError, match=r"model\.json"):
        shop.swap("empty")
    for outside in ("../x", "/etc", ".", "nowhere"):
        with pytest.raises(ModelError, match="below"):
            shop.swap(outside)
    assert shop.model_version == "one"
    assert first(shop, "a") == "b"


def test_a_store_without_items_takes_those_of_the_model(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headrace.serving.models.Network", Toy)
    folder = tmp_path / "one"
    folder.mkdir()
    (folder / "model.json").touch()
    pl.DataFrame({"item_id": TRAINED, "title": ["Tea", "Cup", "Pot", None]}).write_parquet(folder / "items.parquet")
    service = Service.open(settings, model=folder)
    assert service.item("b").title == "Cup"
    assert [first(service, item) for item in TRAINED] == ["b", "c", "d", "a"]
    service.close()


def test_event_types_that_come_after_the_model_are_followed(shop: Service) -> None:
    shop.swap("one")
    shop.add_events([Event(user_id="ann", item_id="a", type="sniff", time=START)]).result()
    shop.recommend(Question(user_id="ann")).result()
    assert shop.desk.model is not None
    assert shop.store.types == ["interaction", "sniff"]
    assert shop.desk.model.vectors.types.tolist() == [0, -1, -1]


def test_a_swap_under_load_loses_no_request(shop: Service) -> None:
    stopping = threading.Event()
    versions: set[str] = set()
    failures: list[BaseException] = []

    def client(name: str) -> None:
        while not stopping.is_set():
            try:
                shop.add_events([Event(user_id=name, item_id=f"{name}-{len(versions)}")]).result()
                given = shop.recommend(Question(user_id=name, k=3)).result()
                versions.add(given.model)
            except BaseException as error:
                failures.append(error)

    threads = [threading.Thread(target=client, args=(f"u{n}",)) for n in range(3)]
    for thread in threads:
        thread.start()
    for name in ("one", "two", "one", "two"):
        shop.swap(name)
    stopping.set()
    for thread in threads:
        thread.join()
    assert failures == []
    assert versions >= {"two"}


def test_a_new_item_with_a_text_is_placed_and_recommendable_at_the_next_request(shop: Service) -> None:
    shop.swap("one")
    shop.put_items([Item(item_id="b2", title="b")])
    given = shop.recommend(Question(history=[PastEvent(item_id="a")], k=2)).result()
    assert {item.item_id: item.reason for item in given.items} == {"b": "next", "b2": "new"}
    # Its history side works too: whoever met it goes on as from `b`.
    assert first(shop, "b2") == "c"


def test_items_that_came_before_and_during_a_swap_have_their_vectors(shop: Service) -> None:
    shop.put_items([Item(item_id="b2", title="b")])
    shop.swap("one")
    shop.add_events([Event(user_id="bob", item_id="only-an-event", time=START)]).result()
    shop.put_items([Item(item_id="c2", title="c")])
    shop.swap("two")
    assert first(shop, "b2") == "c"
    assert first(shop, "c2") == "d"
    assert shop.recommend(Question(user_id="bob", k=4)).result().items


def test_a_changed_text_of_a_trained_item_keeps_its_vectors(shop: Service) -> None:
    shop.swap("one")
    shop.put_items([Item(item_id="a", title="d")])
    assert first(shop, "a") == "b"


def test_the_features_of_one_item_are_those_of_the_whole_table() -> None:
    rows: list[tuple[float | None, str | None]] = [
        (1.0, '{"size": 3}'),
        (None, '{"size": 5.5}'),
        (7.5, None),
        (0.0, '{"size": true}'),
    ]
    table = pl.DataFrame(rows, schema={"price": pl.Float64, "attributes": pl.String}, orient="row")
    statistics = feature_statistics(table)
    sizes: list[dict[str, str | int | float | bool | None]] = [{"size": 3}, {"size": 5.5}, {}, {"size": True}]
    items = [Item(item_id=str(n), price=row[0], attributes=sizes[n]) for n, row in enumerate(rows)]
    np.testing.assert_allclose(numeric_features(items, statistics), normalise(table, statistics), atol=1e-6)
