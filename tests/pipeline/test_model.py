"""A model folder in Python, with a network that looks up what follows the last item."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pandas as pd
import polars as pl
import pytest
from safetensors.numpy import save_file
from small_models import info_of, network_of

from headrace.core.errors import DataError, FormatError, NotFoundError, NotReadyError
from headrace.core.formats import COUNTS_FILE, VOCABULARY_FILE
from headrace.core.settings import RankingSettings
from headrace.core.types import Event
from headrace.data.dataset import Dataset
from headrace.data.log import Floats, History
from headrace.data.synthetic import ring
from headrace.pipeline.model import Model
from headrace.pipeline.preparation import prepare
from headrace.ranking.behaviour import Behaviour
from headrace.ranking.item_vectors import ItemVectors
from headrace.ranking.ratings import RatingModel, Ratings

RING = 12


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    events, items = ring(RING, 30, 8)
    return prepare(events, items=items, out=tmp_path_factory.mktemp("data") / "ring")


@pytest.fixture
def model(dataset: Dataset, tmp_path: Path) -> Model:
    behaviour = Behaviour()
    behaviour.add_log(dataset.log())
    save_file(behaviour.state(), tmp_path / COUNTS_FILE)
    dataset.items().write_parquet(tmp_path / VOCABULARY_FILE)
    return Model(tmp_path, network_of(dataset, info_of(dataset)), RankingSettings())


class Histories:
    """Stands for the network's `users` and remembers what it was asked about."""

    def __init__(self, model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seen: list[History] = []
        self.vectors: list[ItemVectors] = []
        users = model._network.users

        def remember(histories: list[History], times: list[int | None], vectors: ItemVectors) -> Floats:
            self.seen += histories
            self.vectors.append(vectors)
            return users(histories, times, vectors)

        monkeypatch.setattr(model._network, "users", remember)


def test_after_each_item_of_the_ring_comes_the_next(model: Model) -> None:
    for place in range(RING - 1):
        assert model.recommend([f"item{place}"], k=1)[0].item_id == f"item{place + 1}"


def test_one_user_alone_has_the_list_that_all_have_together(model: Model, dataset: Dataset) -> None:
    together = model.recommend_users(dataset, k=3)
    alone = pl.concat([model.recommend_users(dataset, k=3, users=[user]) for user in dataset.user_vocabulary().ids])
    assert alone.equals(together)


def test_an_event_of_a_type_that_the_model_does_not_know_is_of_no_type(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    histories = Histories(model, monkeypatch)
    model.recommend([Event(user_id="u", item_id="item1", type="view"), Event(user_id="u", item_id="item2", type="odd")])
    (history,) = histories.seen
    assert model.info.shape.types == ["view"]
    assert histories.vectors[0].types[history.types].tolist() == [0, -1]


def test_a_type_of_another_dataset_is_of_no_type_either(
    model: Model, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    events = ring(RING, 1, 2)[0].with_columns(type=pl.Series(["odd", "view"]))
    histories = Histories(model, monkeypatch)
    model.recommend_users(prepare(events, out=tmp_path / "other"))
    assert histories.vectors[0].types[histories.seen[0].types].tolist() == [-1, 0]


def test_events_without_a_time_end_before_the_list_is_asked_for(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    histories = Histories(model, monkeypatch)
    asked = 1_600_000_000_000_000
    model.recommend(["item1", "item2"], time=asked)
    assert histories.seen[0].times.tolist() == [asked - 2_000_000, asked - 1_000_000]


def test_slips_are_refused(model: Model, dataset: Dataset) -> None:
    with pytest.raises(DataError, match=r"write \['item1'\]"):
        model.recommend("item1")
    with pytest.raises(NotFoundError, match="stranger"):
        model.similar("stranger")
    with pytest.raises(NotReadyError, match="rating head"):
        model.predict(pl.DataFrame({"user_id": ["user1"], "item_id": ["item1"]}), dataset)
    for ask in (
        lambda: model.recommend(["item1"], k=0),
        lambda: model.recommend_users(dataset, k=0),
        lambda: model.similar("item1", k=0),
    ):
        with pytest.raises(DataError, match="k must be at least 1"):
            ask()


@pytest.mark.parametrize("content", [None, b"junk"])
def test_counts_that_are_missing_or_damaged_are_named(content: bytes | None, model: Model) -> None:
    (model.path / COUNTS_FILE).unlink()
    if content is not None:
        (model.path / COUNTS_FILE).write_bytes(content)
    with pytest.raises(FormatError, match=COUNTS_FILE):
        model.recommend(["item1"])


def test_pairs_come_as_a_frame_of_either_kind(model: Model, dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    class Places:
        """Rates an item by its place in the catalogue."""

        def rate(
            self, users: Floats, histories: list[History], *rest: np.ndarray[tuple[int], np.dtype[np.int32]]
        ) -> Ratings:
            rated = rest[1].astype(np.float32)
            return Ratings(rated, rated, rated)

    monkeypatch.setattr(RatingModel, "load", lambda _: Places())
    info = msgspec.structs.replace(model.info, has_rating_head=True)
    rating = Model(model.path, network_of(dataset, info), RankingSettings())
    pairs = {"item_id": ["item3", "item0"], "user_id": ["user1", "nobody"]}
    found = rating.predict(pl.DataFrame(pairs), dataset)
    assert found.columns == ["user_id", "item_id", "rating", "low", "high"]
    assert found["user_id"].to_list() == pairs["user_id"]
    assert rating.predict(pd.DataFrame(pairs), dataset).equals(found)
    with pytest.raises(DataError, match="user_id and item_id"):
        rating.predict(pd.DataFrame({"user": ["user1"]}), dataset)
