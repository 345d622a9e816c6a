"""Numbers that poison what they touch, and a disk that is full, over HTTP: one status says so, and others go on."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path

import pytest
from litestar.testing import TestClient
from sqlalchemy import event as listening

from headrace.app.http.application import create_app
from headrace.core.settings import ServingSettings, Settings
from headrace.serving.service import Service

PROBLEM = "application/problem+json"
JSON = {"Content-Type": "application/json"}
Client = TestClient  # type: ignore[type-arg]

NO_JSON = ["NaN", "Infinity", "-Infinity"]
BEYOND = ["1e400", "-1e400", "1" + "0" * 400, "1" + "0" * 5000]
LARGE = ["1e308", "-1e308", "1.7976931348623157e308", "3.5e38", "5e-324", "-0.0", "18446744073709551616"]


@pytest.fixture
def service(tmp_path: Path) -> Service:
    return Service.open(Settings(serving=ServingSettings(store=f"sqlite:///{tmp_path}/shop.db")))


@pytest.fixture
def client(service: Service) -> Iterator[Client]:
    app = create_app(service, page=False, api_key=None, settings=service.settings)
    with TestClient(app, raise_server_exceptions=False) as client:
        for user in "abc":
            client.post("/v1/events", json=[{"user_id": user, "item_id": item, "value": 3} for item in "xyz"])
        yield client


def listed(client: Client, user: str = "ann") -> list[tuple[str, float]]:
    answer = client.get(f"/v1/users/{user}/recommendations", params={"seen": "include", "k": 100})
    assert answer.status_code == 200
    found = [(item["item_id"], item["score"]) for item in answer.json()["items"]]
    assert all(math.isfinite(score) for _, score in found)
    return found


def send(client: Client, path: str, body: str) -> int:
    answer = client.post(path, content=body, headers=JSON)
    if answer.status_code != 200:
        assert answer.headers["content-type"] == PROBLEM
        assert len(answer.json()["detail"]) < 10_000
    return int(answer.status_code)


FIELDS = [
    ("/v1/events", '{"user_id": "bad", "item_id": "x", "value": %s}'),
    ("/v1/events", '{"user_id": "bad", "item_id": "x", "time": %s}'),
    ("/v1/events", '{"user_id": "bad", "item_id": "x", "context": {"n": %s}}'),
    ("/v1/events", '{"user_id": %s, "item_id": "x"}'),
    ("/v1/items", '[{"item_id": "x", "price": %s}]'),
    ("/v1/items", '[{"item_id": "x", "weight": %s}]'),
    ("/v1/recommendations", '{"history": [{"item_id": "x", "value": %s}]}'),
    ("/v1/recommendations", '{"history": [{"item_id": "x", "time": %s}, "y"]}'),
    ("/v1/recommendations", '{"user_id": "bad", "k": %s}'),
]


@pytest.mark.parametrize("number", [*NO_JSON, *BEYOND, *LARGE])
def test_a_poisoned_number_is_refused_or_taken_and_others_get_what_they_got(client: Client, number: str) -> None:
    before = listed(client)
    statuses = [send(client, path, body.replace("%s", number)) for path, body in FIELDS]
    if number in NO_JSON:
        assert set(statuses) == {400}
    else:
        assert set(statuses) <= {200, 422}
    assert listed(client, "bad")
    assert client.get("/v1/users/a").json()["events"][0]["value"] == 3
    # Who sent it has met an item once more, or some: the order of the others' list is that of before.
    assert [item for item, _ in listed(client)] == [item for item, _ in before]
    assert 'error="OverflowError"' not in client.get("/metrics").text


@pytest.mark.parametrize("number", BEYOND)
@pytest.mark.parametrize(("path", "body"), [FIELDS[0], FIELDS[1], FIELDS[6], FIELDS[7]])
def test_a_number_beyond_every_float_is_a_broken_rule(client: Client, path: str, body: str, number: str) -> None:
    assert send(client, path, body.replace("%s", number)) == 422
    assert client.get("/v1/users/bad").status_code == 404


def test_a_value_comes_back_as_it_was_sent_and_a_retry_is_the_same_event(client: Client) -> None:
    values = [1e308, -1e308, -0.0, 5e-324]
    events = [{"user_id": "bad", "item_id": "x", "event_id": str(n), "value": v} for n, v in enumerate(values)]
    assert client.post("/v1/events", json=events).json()["accepted"] == 4
    assert client.post("/v1/events", json=events).json() == {"accepted": 0, "duplicates": 4, "sequence": 13}
    shown = client.get("/v1/users/bad").json()["events"]
    assert sorted(event["value"] for event in shown) == sorted(values)


def test_the_worst_prices_are_kept_or_refused(client: Client) -> None:
    for price, status in ((1e308, 200), (-0.0, 200), (-5e-324, 422), (-1e308, 422)):
        assert client.put("/v1/items/x", json={"price": price}).status_code == status
        assert client.get("/v1/items/x").status_code == 200
    assert client.get("/v1/items/x").json()["price"] == 0


def test_a_full_disk_is_503_for_events_and_nothing_for_questions(client: Client, service: Service) -> None:
    engine, pages = service.store.engine, 0

    def limit(connection: object, _: object) -> None:
        connection.execute(f"PRAGMA max_page_count={pages}")  # type: ignore[attr-defined]

    with engine.connect() as connection:
        pages = int(connection.exec_driver_sql("PRAGMA page_count").scalar() or 0) + 1
    before = listed(client)
    listening.listen(engine, "connect", limit)
    engine.dispose()
    large = [{"user_id": "bad", "item_id": f"new {n}", "context": {"note": "x" * 1000}} for n in range(50)]
    assert send(client, "/v1/events", json.dumps(large)) == 503
    assert send(client, "/v1/items", json.dumps([{"item_id": "lamp", "text": "x" * 100_000}])) == 503
    detail = client.post("/v1/events", json=large).json()["detail"]
    assert "nothing of this request was kept" in detail
    assert client.get("/v1/users/bad").status_code == client.get("/v1/items/lamp").status_code == 404
    assert listed(client) == before
    assert client.get("/v1/health/ready").status_code == 200
    listening.remove(engine, "connect", limit)
    engine.dispose()
    assert client.post("/v1/events", json=large).json() == {"accepted": 50, "duplicates": 0, "sequence": 59}
    assert len(listed(client)) == len(before) + 50
