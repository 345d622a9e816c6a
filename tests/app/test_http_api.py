"""The HTTP routes: shapes, statuses and faults, over a service in the same process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from litestar.testing import TestClient

from headrace.app.http.application import create_app
from headrace.core.settings import ServingSettings, Settings
from headrace.serving.service import Service

PROBLEM = "application/problem+json"
Client = TestClient  # type: ignore[type-arg]


def start(folder: Path, *, key: str | None = None, page: bool = False, **serving: object) -> Client:
    settings = Settings(
        serving=ServingSettings(store=f"sqlite:///{folder}/shop.db", models=str(folder / "models"), **serving)
    )  # type: ignore[arg-type]
    app = create_app(Service.open(settings), page=page, api_key=key, settings=settings)
    return TestClient(app, raise_server_exceptions=False)


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    with start(tmp_path) as client:
        yield client


def test_an_event_is_answered_with_its_sequence(client: Client) -> None:
    answer = client.post("/v1/events", json={"user_id": "ann", "item_id": "tea", "event_id": "e1"})
    assert (answer.status_code, answer.json()) == (200, {"accepted": 1, "duplicates": 0, "sequence": 1})
    again = client.post("/v1/events", json=[{"user_id": "ann", "item_id": "tea", "event_id": "e1"}])
    assert again.json() == {"accepted": 0, "duplicates": 1, "sequence": 1}
    other = client.post("/v1/events", json={"user_id": "ann", "item_id": "cup", "event_id": "e1"})
    assert (other.status_code, other.headers["content-type"]) == (409, PROBLEM)
    assert "e1" in other.json()["detail"]


def test_an_integer_id_becomes_its_decimal_text(client: Client) -> None:
    client.post("/v1/events", json={"user_id": 7, "item_id": 12345678901234567890})
    events = client.get("/v1/users/7").json()["events"]
    assert [event["item_id"] for event in events] == ["12345678901234567890"]


@pytest.mark.parametrize(
    "time",
    ["2023-11-14T22:13:20Z", "2023-11-14T23:13:20+01:00", "2023-11-14T22:13:20", 1700000000, 1700000000000, 1.7e15],
)
def test_a_time_is_read_in_every_usual_unit(client: Client, time: object) -> None:
    client.post("/v1/events", json={"user_id": "ann", "item_id": "tea", "time": time})
    assert client.get("/v1/users/ann").json()["events"][0]["time"] == 1_700_000_000_000_000


def test_a_bad_list_stores_nothing_and_names_each_fault(client: Client) -> None:
    bad = [
        {"user_id": "ann", "item_id": "tea"},
        {"user_id": "", "item_id": "tea"},
        {"user_id": "ann"},
        {"user_id": "ann", "item_id": "tea", "value": "much"},
        {"user_id": "ann", "item_id": "tea", "time": "yesterday"},
        {"user_id": "ann", "item_id": "tea", "time": "2999-01-01"},
        {"user_id": "ann", "item_id": "tea", "colour": "red"},
        {"user_id": "a\x00b", "item_id": "x" * 10_000},
    ]
    answer = client.post("/v1/events", json=bad)
    assert (answer.status_code, answer.headers["content-type"]) == (422, PROBLEM)
    found = [(fault["index"], fault["field"]) for fault in answer.json()["faults"]]
    assert found == [
        (1, "user_id"),
        (2, "item_id"),
        (3, "value"),
        (4, "time"),
        (5, "time"),
        (6, "colour"),
        (7, "user_id"),
        (7, "item_id"),
    ]
    assert all(fault["rule"] for fault in answer.json()["faults"])
    assert 'headrace_events_total{outcome="refused"} 8.0' in client.get("/metrics").text
    assert client.get("/v1/users/ann").status_code == 404


def test_at_most_twenty_faults_are_listed(client: Client) -> None:
    answer = client.post("/v1/events", json=[{"user_id": "", "item_id": "tea"}] * 50)
    assert [fault["index"] for fault in answer.json()["faults"]] == list(range(20))


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"{bad", "application/json", 400),
        (b"", "application/json", 400),
        (b"\xff\xfe", "application/json", 400),
        (b'{"user_id": "\xff"}', "application/json", 400),
        (b"[" * 5000, "application/json", 400),
        (b'"text"', "application/json", 422),
        (b"[]", "application/json", 422),
        (b"[1]", "application/json", 422),
        (b"{}", "text/plain", 415),
        (b"a=b", "application/x-www-form-urlencoded", 415),
    ],
)
def test_a_body_that_is_no_event_is_refused(client: Client, body: bytes, kind: str, status: int) -> None:
    answer = client.post("/v1/events", content=body, headers={"Content-Type": kind})
    assert (answer.status_code, answer.headers["content-type"]) == (status, PROBLEM)
    assert set(answer.json()) >= {"type", "title", "status", "detail"}


def test_a_large_body_is_refused(tmp_path: Path) -> None:
    with start(tmp_path, max_body_bytes=10_000) as client:
        answer = client.post("/v1/events", json=[{"user_id": "ann", "item_id": "tea"}] * 1000)
        assert (answer.status_code, answer.headers["content-type"]) == (413, PROBLEM)
        assert "10000 bytes" in answer.json()["detail"]


def test_an_answer_has_the_fields_of_the_contract(client: Client) -> None:
    client.post("/v1/events", json=[{"user_id": "ann", "item_id": item} for item in "abc"])
    answer = client.get("/v1/users/bob/recommendations", params={"k": 2}).json()
    assert list(answer) == ["recommendation_id", "model", "events_seen", "as_of", "items"]
    assert answer["events_seen"] == 3
    assert len(answer["items"]) == 2
    assert all(set(item) == {"item_id", "score", "reason"} for item in answer["items"])


def test_parameters_shape_the_list(client: Client) -> None:
    client.post("/v1/events", json=[{"user_id": "ann", "item_id": item, "type": "view"} for item in "abcd"])
    client.put("/v1/items/a", json={"title": "Tea", "categories": ["drinks"]})

    def ids(query: str) -> set[str]:
        answer = client.get(f"/v1/users/bob/recommendations?{query}")
        assert answer.status_code == 200, answer.text
        return {item["item_id"] for item in answer.json()["items"]}

    assert ids("exclude=a&exclude=b") == {"c", "d"}
    assert ids("category=drinks") == {"a"}
    assert ids("event_type=view&k=4") == {"a", "b", "c", "d"}
    assert ids("at_least=4&seen=include&k=1") <= {"a", "b", "c", "d"}


@pytest.mark.parametrize(
    "query", ["k=0", "k=1000000", "k=many", "seen=maybe", "event_type=unheard", "scenario=home", "at_least=x"]
)
def test_a_parameter_off_its_rule_is_refused_with_the_rule(client: Client, query: str) -> None:
    answer = client.get(f"/v1/users/ann/recommendations?{query}")
    assert (answer.status_code, answer.headers["content-type"]) == (422, PROBLEM)
    assert query.split("=")[0] in answer.json()["detail"]


def test_a_number_that_does_not_come_is_503(client: Client) -> None:
    answer = client.get("/v1/users/ann/recommendations?at_least=99")
    assert (answer.status_code, answer.headers["content-type"]) == (503, PROBLEM)


def test_a_history_may_come_with_the_question(client: Client) -> None:
    for user in range(5):
        events = [{"user_id": str(user), "item_id": item, "time": 1700000000 + n} for n, item in enumerate("abc")]
        client.post("/v1/events", json=events)
    for history in (["a"], [{"item_id": "a", "time": "2024-01-01"}], ["unheard", "a"]):
        answer = client.post("/v1/recommendations", json={"history": history, "k": 1, "seen": "exclude"})
        assert answer.json()["items"][0]["item_id"] == "b"
    assert client.post("/v1/recommendations", json={"user_id": 0, "k": 2, "seen": "include"}).status_code == 200
    for bad in ({}, {"user_id": "a", "history": []}, {"user_id": "a", "k": 0}, {"history": [1.5]}):
        assert client.post("/v1/recommendations", json=bad).status_code == 422


def test_rank_answers_for_the_items_given(client: Client) -> None:
    client.post("/v1/events", json=[{"user_id": "ann", "item_id": item} for item in "abc"])
    answer = client.post("/v1/rank", json={"user_id": "ann", "item_ids": ["c", "a", "unheard"]})
    assert {item["item_id"] for item in answer.json()["items"]} == {"a", "c"}
    assert client.post("/v1/rank", json={"user_id": "ann", "item_ids": []}).status_code == 422


def test_ratings_without_a_model_say_what_to_do(client: Client) -> None:
    answer = client.post("/v1/ratings", json={"user_id": "ann", "item_ids": ["a"]})
    assert (answer.status_code, "train" in answer.json()["detail"]) == (409, True)


@pytest.mark.parametrize("item", ["a/b", "50%", "%2F", "q%25z", "käse", "a b", "x?y#z", "..."])
def test_any_id_travels_percent_encoded(client: Client, item: str) -> None:
    from urllib.parse import quote

    path = f"/v1/items/{quote(item, safe='')}"
    assert client.put(path, json={"title": "Odd"}).json()["item_id"] == item
    assert client.get(path).json()["title"] == "Odd"
    assert client.get(f"{path}/similar").status_code == 200
    assert client.delete(path).status_code == 204
    assert client.get(path).status_code == 404


def test_an_item_lives_through_put_patch_get_delete(client: Client) -> None:
    made = client.put("/v1/items/a", json={"title": "Tea", "price": 3, "origin": "Assam"}).json()
    assert (made["title"], made["price"], made["available"], made["attributes"]) == (
        "Tea",
        3.0,
        True,
        {"origin": "Assam"},
    )
    changed = client.patch("/v1/items/a", json={"available": False}).json()
    assert (changed["title"], changed["available"]) == ("Tea", False)
    assert client.get("/v1/items", params={"query": "tea"}).json() == {"items": []}
    client.patch("/v1/items/a", json={"available": True})
    assert [item["item_id"] for item in client.get("/v1/items", params={"query": "tea"}).json()["items"]] == ["a"]
    assert client.post("/v1/items", json=[{"item_id": 1}, {"item_id": "2", "title": "Cup"}]).json() == {"stored": 2}
    assert client.put("/v1/items/a", json={"item_id": "b"}).status_code == 422
    assert client.patch("/v1/items/unheard", json={"title": "x"}).status_code == 404
    faults = client.post(
        "/v1/items", json=[{"item_id": "x"}, {"title": "no id"}, {"item_id": "y", "price": "dear"}]
    ).json()
    assert [(fault["index"], fault["field"]) for fault in faults["faults"]] == [(1, "item_id"), (2, "price")]


def test_a_forgotten_user_is_gone(client: Client) -> None:
    client.post("/v1/events", json={"user_id": "ann", "item_id": "tea"})
    answer = client.delete("/v1/users/ann")
    assert (answer.status_code, set(answer.json())) == (200, {"erasure_id", "models"})
    assert client.get("/v1/users/ann").status_code == 404
    assert client.delete("/v1/users/ann").status_code == 404


def test_a_model_is_taken_only_from_below_its_folder(client: Client, tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "link").symlink_to(tmp_path)
    for path in ("../secret", "/etc", "link", ".", "", "a\x00b", "x" * 5000, "nothing"):
        answer = client.post("/v1/models", json={"path": path})
        assert (answer.status_code, answer.headers["content-type"]) == (422, PROBLEM), path
    (tmp_path / "models" / "empty").mkdir()
    assert "headrace train" in client.post("/v1/models", json={"path": "empty"}).json()["detail"]


def test_unknown_routes_and_methods_are_problems(client: Client) -> None:
    assert client.get("/v2/nothing").json()["status"] == 404
    assert client.put("/v1/events", json={}).json()["status"] == 405


def test_health_status_and_metrics_answer(client: Client) -> None:
    assert client.get("/v1/health/live").json() == {"status": "live"}
    assert client.get("/v1/health/ready").json() == {"status": "ready"}
    client.get("/v1/users/ann/recommendations")
    assert client.get("/v1/status").json()["model"]["version"] == "counts"
    metrics = client.get("/metrics")
    assert metrics.headers["content-type"].startswith("text/plain")
    for name in ("headrace_answers_total", "headrace_answers_followed_total", "headrace_event_visible_seconds_bucket"):
        assert name in metrics.text
    assert 'route="/v1/users/{user_id}/recommendations"' in metrics.text


def test_a_patch_leaves_the_attributes_that_it_does_not_name(client: Client) -> None:
    client.put("/v1/items/a", json={"title": "Tea", "origin": "Assam", "grams": 100})

    def attributes(changes: object) -> object:
        answer = client.patch("/v1/items/a", json=changes)
        assert answer.status_code == 200, answer.text
        assert client.get("/v1/items/a").json() == answer.json()
        return answer.json()["attributes"]

    assert attributes({"colour": "red"}) == {"origin": "Assam", "grams": 100, "colour": "red"}
    assert attributes({"attributes": {"grams": 50}}) == {"origin": "Assam", "grams": 50, "colour": "red"}
    assert attributes({"colour": None, "price": 2}) == {"origin": "Assam", "grams": 50}
    assert attributes({"attributes": {}}) == {"origin": "Assam", "grams": 50}
    assert attributes({"attributes": None}) == {}
    assert client.get("/v1/items/a").json()["title"] == "Tea"


def test_rank_answers_for_more_items_than_a_list_may_hold_and_for_twins(client: Client) -> None:
    client.post(
        "/v1/items", json=[{"item_id": str(n), "title": "Milk" if n < 2 else f"Thing {n}"} for n in range(1100)]
    )
    ids = [str(n) for n in range(1100)]
    for user, question in (("ann", {}), ("bob", {"exclude": ["5"]})):
        answer = client.post("/v1/rank", json={"user_id": user, "item_ids": ids, **question})
        assert answer.status_code == 200, answer.text
        assert {item["item_id"] for item in answer.json()["items"]} == set(ids) - set(question.get("exclude", ()))
    long = client.post("/v1/rank", json={"user_id": "ann", "item_ids": ["x"] * 10_001})
    assert (long.status_code, "item_ids must hold at most 10000" in long.json()["detail"]) == (422, True)
    more = client.post("/v1/rank", json={"user_id": "ann", "item_ids": ["1"], "k": 1001})
    assert (more.status_code, "k must be from 1 to 1000" in more.json()["detail"]) == (422, True)


def test_all_events_of_a_user_are_shown_or_the_newest(client: Client) -> None:
    events = [{"user_id": "ann", "item_id": str(n), "time": 1_700_000_000 + n} for n in range(2500)]
    client.post("/v1/events", json=[{**event, "context": {"device": "phone", "n": 1}} for event in events])
    shown = client.get("/v1/users/ann").json()
    assert list(shown) == ["user_id", "events"]
    assert [event["item_id"] for event in shown["events"]] == [event["item_id"] for event in events]
    assert all(event["context"] == {"device": "phone", "n": 1} for event in shown["events"])
    newest = client.get("/v1/users/ann", params={"limit": 3}).json()
    assert newest == {"user_id": "ann", "events": shown["events"][-3:]}
    for limit in (0, "many"):
        assert client.get("/v1/users/ann", params={"limit": limit}).status_code == 422


def test_a_path_that_is_not_utf_8_names_nobody(client: Client) -> None:
    client.post("/v1/events", json={"user_id": "\ufffd", "item_id": "tea"})
    for verb, path in (("DELETE", "/v1/users/%ff"), ("GET", "/v1/users/%C3"), ("GET", "/v1/items/%80/similar")):
        answer = client.request(verb, path)
        assert (answer.status_code, answer.headers["content-type"]) == (400, PROBLEM)
    assert client.get("/v1/users/%EF%BF%BD").json()["user_id"] == "\ufffd"


def test_head_answers_as_get_does_without_a_body(client: Client) -> None:
    for path, status in (("/v1/health/ready", 200), ("/v1/users/nobody", 404), ("/docs", 200)):
        answer, whole = client.head(path), client.get(path)
        assert (answer.status_code, answer.content) == (status, b"")
        assert answer.headers["content-type"] == whole.headers["content-type"]


def test_empty_ids_of_events_and_answers_are_none(client: Client) -> None:
    event = {"user_id": "ann", "item_id": "tea", "event_id": "", "recommendation_id": ""}
    for item in ("tea", "cup"):
        answer = client.post("/v1/events", json={**event, "item_id": item})
        assert (answer.status_code, answer.json()["accepted"]) == (200, 1)
    shown = client.get("/v1/users/ann").json()["events"]
    assert [(one["event_id"], one["recommendation_id"]) for one in shown] == [(None, None)] * 2


def test_a_search_that_is_too_long_names_its_parameter(client: Client) -> None:
    answer = client.get("/v1/items", params={"query": "x" * 1001})
    assert (answer.status_code, "query" in answer.json()["detail"]) == (422, True)


def test_a_refused_question_does_not_speak_of_storing(client: Client) -> None:
    answer = client.post("/v1/recommendations", json={"user_id": "ann", "seen": "maybe"}).json()
    assert (
        answer["detail"] == "1 rule is broken and nothing was done; first in entry 0, seen: Invalid enum value 'maybe'"
    )
