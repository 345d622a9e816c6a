"""Trained models through HTTP: ratings are those of `Model.predict`, and a swap under load loses no request."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import polars as pl
import pytest
import torch
from litestar.testing import TestClient
from tests.e2e.running import running

from headrace.app.http.application import create_app
from headrace.core.settings import ContentSettings, ServingSettings, Settings, TrainingSettings
from headrace.data.dataset import Dataset
from headrace.data.synthetic import ring
from headrace.pipeline.fitting import train
from headrace.pipeline.model import Model
from headrace.pipeline.preparation import prepare
from headrace.serving.service import Service

ITEMS = 12
TRAINING = Settings(
    training=TrainingSettings(preset="tiny", steps=4, batch_events=256), content=ContentSettings(text_model="none")
)


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def rated(tmp_path_factory: pytest.TempPathFactory) -> tuple[Dataset, Path]:
    """A dataset of ratings from 1 to 5 and a model of it; users are generous, and items good, to a different degree."""
    folder = tmp_path_factory.mktemp("rated")
    events, _ = ring(ITEMS, 40, 12)
    chance = np.random.default_rng(0)
    generous = {user: chance.normal() for user in events["user_id"].unique().sort().to_list()}
    good = {item: chance.normal() for item in events["item_id"].unique().sort().to_list()}
    values = [
        float(np.clip(np.round(3 + generous[user] + good[item]), 1, 5))
        for user, item in events.select("user_id", "item_id").iter_rows()
    ]
    dataset = prepare(events.with_columns(type=pl.lit("rating"), value=pl.Series(values)), out=folder / "data")
    train(dataset, out=folder / "models" / "rated", settings=TRAINING, protocol="all")
    return dataset, folder / "models" / "rated"


@pytest.fixture
def client(rated: tuple[Dataset, Path], tmp_path: Path) -> Iterator[TestClient]:  # type: ignore[type-arg]
    dataset, folder = rated
    settings = Settings(serving=ServingSettings(store=f"sqlite:///{tmp_path}/shop.db", models=str(folder.parent)))
    service = Service.open(settings, model=folder, history=dataset.path)
    with TestClient(create_app(service, page=False, api_key=None, settings=settings)) as client:
        yield client


def test_ratings_are_those_of_predict(client: TestClient, rated: tuple[Dataset, Path]) -> None:  # type: ignore[type-arg]
    dataset, folder = rated
    users = [*dataset.user_vocabulary().ids[:3], "a stranger"]
    items = [*reversed(dataset.item_vocabulary().ids), "never heard of"]
    pairs = pl.DataFrame(
        [(user, item) for user in users for item in items], schema=["user_id", "item_id"], orient="row"
    )
    expected = Model.open(folder).predict(pairs, dataset)
    for user in users:
        answer = client.post("/v1/ratings", json={"user_id": user, "item_ids": items})
        assert answer.status_code == 200, answer.text
        assert list(answer.json()) == ["ratings"]
        found = answer.json()["ratings"]
        assert [one["item_id"] for one in found] == items
        wanted = expected.filter(pl.col("user_id") == user)
        for column in ("rating", "low", "high"):
            np.testing.assert_allclose([one[column] for one in found], wanted[column].to_numpy(), atol=1e-4)
        assert all(1 <= one["low"] <= one["rating"] <= one["high"] <= 5 for one in found)


def test_a_rating_that_is_sent_counts_in_the_next_prediction(client: TestClient) -> None:  # type: ignore[type-arg]
    def rate() -> list[float]:
        answer = client.post("/v1/ratings", json={"user_id": "newcomer", "item_ids": ["item1", "item2"]})
        return [one["rating"] for one in answer.json()["ratings"]]

    before = rate()
    events = [{"user_id": "newcomer", "item_id": f"item{n}", "value": 1} for n in (3, 4, 5, 6)]
    assert client.post("/v1/events", json=events).status_code == 200
    assert all(later < earlier for later, earlier in zip(rate(), before, strict=True))


def test_a_rating_off_the_scale_of_the_dataset_is_refused(client: TestClient) -> None:  # type: ignore[type-arg]
    answer = client.post("/v1/events", json={"user_id": "ann", "item_id": "item1", "value": 6})
    assert (answer.status_code, answer.json()["faults"][0]["rule"]) == (422, "rating-scale")


class Visitor(threading.Thread):
    """Sends an event and asks for a list, over and over, on one connection; notes what was not as promised."""

    def __init__(self, url: str, name: str) -> None:
        super().__init__()
        self.models: list[str] = []
        self.faults: list[str] = []
        self.stopping = threading.Event()
        self._address = urlsplit(url).netloc
        self._name = name

    def run(self) -> None:
        with closing(http.client.HTTPConnection(self._address, timeout=60)) as connection:
            turn = 0
            while not self.stopping.is_set():
                event = {"user_id": self._name, "item_id": f"item{turn % ITEMS}", "event_id": f"{self._name}-{turn}"}
                written = self._call(connection, "POST", "/v1/events", event)
                given = self._call(connection, "GET", f"/v1/users/{self._name}/recommendations?k=3&seen=include")
                if written.get("accepted") != 1 or not given.get("items"):
                    self.faults.append(f"{written} {given}")
                elif given["events_seen"] < written["sequence"]:
                    self.faults.append(f"wrote {written['sequence']}, saw {given['events_seen']}")
                else:
                    self.models.append(given["model"])
                turn += 1

    def _call(self, connection: http.client.HTTPConnection, method: str, path: str, body: object = None) -> dict:  # type: ignore[type-arg]
        try:
            connection.request(method, path, json.dumps(body), {"Content-Type": "application/json"})
            answer = connection.getresponse()
            return json.loads(answer.read()) | ({} if answer.status == 200 else {"items": [], "accepted": 0})
        except (OSError, http.client.HTTPException) as error:
            return {"error": repr(error)}


def test_a_trained_model_is_swapped_in_under_load(rated: tuple[Dataset, Path], tmp_path: Path) -> None:
    dataset, folder = rated
    (folder.parent / "not-a-model").mkdir(exist_ok=True)
    version = Model.open(folder).info.version
    command = ["serve", "--history", dataset.path, "--port", "0"]
    with running(command, tmp_path, HEADRACE_SERVING__MODELS=str(folder.parent)) as shop:
        visitors = [Visitor(shop.url, f"visitor-{n}") for n in range(3)]
        for visitor in visitors:
            visitor.start()
        answers = []
        with closing(http.client.HTTPConnection(urlsplit(shop.url).netloc, timeout=60)) as connection:
            for path in ("not-a-model", folder.name, "not-a-model", folder.name):
                connection.request(
                    "POST", "/v1/models", json.dumps({"path": path}), {"Content-Type": "application/json"}
                )
                answer = connection.getresponse()
                answers.append((answer.status, json.loads(answer.read()).get("model")))
        counts = [len(visitor.models) for visitor in visitors]
        while any(
            len(visitor.models) <= count + 1 and visitor.is_alive()
            for visitor, count in zip(visitors, counts, strict=True)
        ):
            threading.Event().wait(0.01)
        for visitor in visitors:
            visitor.stopping.set()
            visitor.join()
    assert answers == [(422, None), (200, version), (422, None), (200, version)]
    assert [visitor.faults for visitor in visitors] == [[], [], []]
    for visitor in visitors:
        assert visitor.models[-1] == version
        assert visitor.models == sorted(visitor.models, key=lambda model: model == version)
