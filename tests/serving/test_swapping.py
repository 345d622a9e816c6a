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
from headrace.data.log import Floats, History, Ints, Longs
from headrace.data.vocabulary import Vocabulary
from headrace.ranking.item_vectors import ItemVectors, Placed
from headrace.ranking.network import Network
from headrace.ranking.state_kernels import NewEvents, Pages
from headrace.ranking.step_weights import untrained_attention
from headrace.ranking.stepping import AttentionStepper
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


class Toy(Network):
    """A network whose user vector is the input of the last item; item i leads to item i + 1 of the four trained ones.

    A text of one letter stands for that trained item's place: content is its one-hot vector, and so are the vectors.
    """

    def __init__(self, folder: Path) -> None:
        self.info = info(folder.name)
        self.vocabulary = Vocabulary(TRAINED)
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
        return ItemVectors.of(
            Placed(inputs, outputs, np.zeros((len(rows), 0), np.float32)), rows, np.zeros(1, np.int32)
        )

    def drop_ids(self) -> None:
        return

    def first_vectors(self, n: int) -> ItemVectors:
        return self.adapt(TRAINED[:n])

    def place(self, content: Floats, features: Floats | None = None, rows: Ints | None = None) -> Placed:
        learned = np.zeros_like(content)
        for place, row in enumerate([] if rows is None else rows.tolist()):
            if row:
                learned[place, row - 1] = 0.1
        return Placed(np.roll(content, 1, axis=1), content + learned, np.zeros((len(content), 0), np.float32))

    def users(self, histories: Sequence[History], times: Sequence[int | None], vectors: ItemVectors) -> Floats:
        lasts = [int(history.items[-1]) if len(history) else 0 for history in histories]
        return np.stack([vectors.inputs.wide()[last if last < len(vectors) else 0] for last in lasts])


class ToySteps(AttentionStepper):
    """The same, one event at a time."""

    def __init__(self, _: Path, shape: Shape) -> None:
        super().__init__(untrained_attention(shape), shape)

    def extend(self, pages: Pages, events: NewEvents) -> None:
        for seat, vector in zip(events.seats, events.items, strict=True):
            pages.states[seat] = vector

    def ask(self, pages: Pages, seats: Ints, places: Longs, requests: Longs) -> Floats:
        return np.where((places >= 0)[:, None], pages.states[seats], np.float32(0))


class Letters:
    """A text encoder of the letters a to d."""

    width = 4
    max_tokens = 8

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
    monkeypatch.setattr("headrace.serving.models.load_stepper", ToySteps)
    monkeypatch.setattr("headrace.serving.models.OnnxTextEncoder", Letters)
    for name in ("one", "two", "bad"):
        folder = Path(service.settings.serving.models) / name
        (folder / "text").mkdir(parents=True)
        (folder / "model.json").touch()
        pl.DataFrame({"item_id": TRAINED}).write_parquet(folder / "items.parquet")
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
    monkeypatch.setattr("headrace.serving.models.load_stepper", ToySteps)
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


def test_an_item_that_comes_while_users_move_is_known_to_both_models(
    shop: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.swap("one")
    assert shop.recommend(Question(user_id="ann")).result().model == "one"
    monkeypatch.setattr("headrace.serving.moving.Mover.begin", lambda _: None)
    shop.swap("two")
    shop.add_events([Event(user_id="ann", item_id="unheard", time=START + 9)]).result()
    shop.put_items([Item(item_id="c2", title="c")])
    assert shop.recommend(Question(user_id="ann", k=9)).result().model == "one"
    assert shop.recommend(Question(user_id="bob", k=9)).result().model == "two"
    assert shop.engine.move(9).result() == 0
    assert shop.recommend(Question(user_id="ann", k=9)).result().model == "two"


def vectors(shop: Service, item_id: str) -> tuple[list[float], list[float]]:
    assert shop.desk.model is not None
    shop.engine.run(lambda: None).result()  # all that was told before is taken in
    found, key = shop.desk.model.vectors, shop.store.item_ids.index(item_id)
    return found.inputs.wide()[key].tolist(), found.outputs.wide()[key].tolist()


def test_a_changed_text_of_a_trained_item_changes_its_output_alone(shop: Service) -> None:
    shop.swap("one")
    shop.put_items([Item(item_id="a", title="c")])
    assert vectors(shop, "a") == ([0, 1, 0, 0], pytest.approx([0.1, 0, 1, 0], abs=0.004))
    assert first(shop, "a") == "b"
    assert first(shop, "b") == "a"  # as near as c itself now, and of the lower index
    shop.patch_item("a", {"title": "d"})
    assert vectors(shop, "a") == ([0, 1, 0, 0], pytest.approx([0.1, 0, 0, 1], abs=0.004))
    shop.patch_item("a", {"title": None})
    assert vectors(shop, "a") == ([0, 1, 0, 0], pytest.approx([0.1, 0, 0, 0], abs=0.004))


def test_a_change_before_a_swap_counts_in_the_new_model(shop: Service) -> None:
    shop.put_items([Item(item_id="a", title="c")])
    shop.swap("one")
    assert vectors(shop, "a") == ([0, 1, 0, 0], pytest.approx([0.1, 0, 1, 0], abs=0.004))
    assert vectors(shop, "b") == ([0, 0, 1, 0], [0, 1, 0, 0])


def test_the_input_of_a_new_item_stays_from_its_first_content_on(shop: Service) -> None:
    shop.swap("one")
    shop.add_events([Event(user_id="bob", item_id="new", time=START)]).result()
    assert vectors(shop, "new") == ([0, 0, 0, 0], [0, 0, 0, 0])
    shop.put_items([Item(item_id="new", title="b")])
    assert vectors(shop, "new") == ([0, 0, 1, 0], [0, 1, 0, 0])
    shop.put_items([Item(item_id="new", title="c")])
    assert vectors(shop, "new") == ([0, 0, 1, 0], [0, 0, 1, 0])


@pytest.mark.parametrize("item_id", ["a", "new"])
def test_coming_and_going_leaves_the_vectors_as_they_are(shop: Service, item_id: str) -> None:
    shop.swap("one")
    shop.put_items([Item(item_id=item_id, title="c")])
    before = vectors(shop, item_id)
    shop.patch_item(item_id, {"available": False})
    assert vectors(shop, item_id) == before
    shop.patch_item(item_id, {"available": True})
    assert vectors(shop, item_id) == before
    shop.delete_item(item_id)
    asked = Question(history=[PastEvent(item_id="b")], k=9)
    assert item_id not in [found.item_id for found in shop.recommend(asked).result().items]
    assert vectors(shop, item_id) == before
    # Put again it is the same item: its id and its input, the content of now.
    shop.put_items([Item(item_id=item_id, title="d")])
    assert vectors(shop, item_id) == (before[0], pytest.approx([before[1][0], 0, 0, 1], abs=0.004))
    assert item_id in [found.item_id for found in shop.recommend(asked).result().items]


def test_of_two_changes_at_one_time_the_later_in_the_store_counts(shop: Service) -> None:
    shop.swap("one")
    earlier = shop.writer.upsert_items([Item(item_id="new", title="c")]).result()
    shop.put_items([Item(item_id="new", title="d")])
    shop.desk._place(earlier)  # by a thread that was slow
    assert vectors(shop, "new")[1] == [0, 0, 0, 1]


def test_items_with_markup_are_placed_by_their_words(shop: Service) -> None:
    shop.swap("one")
    shop.put_items([Item(item_id="new", title=" <b>c</b> ", categories=("n/a", "&nbsp;"))])
    assert vectors(shop, "new")[1] == [0, 0, 1, 0]


def test_a_long_list_of_items_is_placed_behind_the_answer(shop: Service) -> None:
    shop.swap("one")
    new = [Item(item_id=f"new{n}", title="abcd"[n % 4]) for n in range(150)]
    shop.put_items([*new, Item(item_id="a", title="c")])
    shop.swap("two")  # waits for its turn behind them
    assert vectors(shop, "new149")[1] == [0, 1, 0, 0]
    assert vectors(shop, "a")[1] == pytest.approx([0.1, 0, 1, 0], abs=0.004)
