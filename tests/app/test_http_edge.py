"""The outermost layer: the key, other origins, and pages that load nothing from another host."""

from __future__ import annotations

import asyncio
import re
import threading
from pathlib import Path

import pytest
from litestar.testing import TestClient
from litestar.types import ASGIApp, Message, Scope

from headrace.app.http.application import create_app
from headrace.app.http.edge import path_id, routed_path
from headrace.app.http.pages import docs_files, page_files
from headrace.core.settings import ServingSettings, Settings
from headrace.serving.service import Service

Client = TestClient  # type: ignore[type-arg]


def start(folder: Path, *, key: str | None = None, page: bool = False, origins: tuple[str, ...] = ()) -> Client:
    serving = ServingSettings(store=f"sqlite:///{folder}/shop.db", cors_origins=origins)
    settings = Settings(serving=serving)
    app = create_app(Service.open(settings), page=page, api_key=key, settings=settings)
    return TestClient(app, raise_server_exceptions=False)


def test_with_a_key_every_route_but_health_asks_for_it(tmp_path: Path) -> None:
    with start(tmp_path, key="s3cret") as client:
        for path in ("/v1/health/live", "/v1/health/ready"):
            assert client.get(path).status_code == 200
        for path in ("/v1/users/a", "/metrics", "/docs", "/docs/openapi.json", "/v1/status", "/nothing", "/v1/health"):
            answer = client.get(path)
            assert (answer.status_code, answer.headers["content-type"]) == (401, "application/problem+json")
        for wrong in ("s3cret", "Bearer", "Bearer s3cre", "bearer s3cret", "Bearer s3cret "):
            assert client.get("/metrics", headers={"Authorization": wrong}).status_code in (
                401,
                200 if wrong.strip() == "Bearer s3cret" else 401,
            )
        assert client.get("/metrics", headers={"Authorization": "Bearer s3cret"}).status_code == 200
        assert client.post("/v1/events", json={"user_id": "a", "item_id": "b"}).status_code == 401


def test_health_cannot_be_used_to_reach_another_route_without_the_key(tmp_path: Path) -> None:
    with start(tmp_path, key="s3cret") as client:
        for path in ("/v1/health/%2e%2e/status", "/v1/health/..%2Fstatus", "//v1/status", "/v1/health/../status"):
            assert client.get(path).status_code in (401, 404)


def test_the_page_opens_without_the_key_and_its_data_does_not(tmp_path: Path) -> None:
    with start(tmp_path, key="s3cret", page=True) as client:
        assert client.get("/").status_code == 200
        assert client.get("/app.js").status_code == 200
        assert client.get("/v1/status").status_code == 401


def test_users_are_named_only_with_the_page(tmp_path: Path) -> None:
    for page, status in ((False, 404), (True, 200)):
        with start(tmp_path, page=page) as client:
            client.post("/v1/events", json={"user_id": "ann", "item_id": "tea"})
            assert client.get("/v1/users").status_code == status
            assert len(client.get("/v1/status").json()["example_users"]) == int(page)
            assert client.get("/").status_code == status


def test_cors_is_off_unless_origins_are_listed(tmp_path: Path) -> None:
    headers = {"Origin": "https://shop.example", "Access-Control-Request-Method": "POST"}
    with start(tmp_path) as client:
        assert "access-control-allow-origin" not in client.get("/v1/health/live", headers=headers).headers
        assert "access-control-allow-origin" not in client.options("/v1/events", headers=headers).headers
    with start(tmp_path, origins=("https://shop.example",), key="s3cret") as client:
        allowed = client.options("/v1/events", headers=headers).headers
        assert allowed["access-control-allow-origin"] == "https://shop.example"
        other = {**headers, "Origin": "https://evil.example"}
        assert "access-control-allow-origin" not in client.options("/v1/events", headers=other).headers


@pytest.mark.parametrize("path", ["/docs", "/"])
def test_pages_may_load_only_from_this_host(tmp_path: Path, path: str) -> None:
    with start(tmp_path, page=True) as client:
        answer = client.get(path)
        assert answer.headers["content-type"].startswith("text/html")
        assert "default-src 'self'" in answer.headers["content-security-policy"]
        assert "http" not in answer.headers["content-security-policy"]


def test_no_page_names_another_host() -> None:
    named = {}
    for path, (content, kind) in {**page_files(), "/docs": docs_files()["/docs"]}.items():
        if kind != "image/svg+xml":
            named[path] = re.findall(rb"""(?:src|href|url\(|from|import)\s*[=(]?\s*["'](?:https?:)?//""", content)
    assert {path: found for path, found in named.items() if found} == {}


@pytest.mark.parametrize("text", ["a", "a/b", "a%2Fb", "50%", "%25", "ä/ö", "a b", "//", "%"])
def test_an_id_survives_its_path(text: str) -> None:
    from urllib.parse import quote

    routed = routed_path(f"/v1/items/{quote(text, safe='')}/similar".encode())
    assert routed.count("/") == 4
    assert path_id(routed.split("/")[3]) == text


def post_to(path: str) -> Scope:
    return {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST", "scheme": "http",
        "path": path, "raw_path": path.encode(), "root_path": "", "query_string": b"",
        "headers": [(b"content-type", b"application/json")],
        "client": ("test", 1), "server": ("test", 1), "state": {}, "extensions": {},
    }  # type: ignore[typeddict-item,typeddict-unknown-key,return-value]  # fmt: skip


def test_a_client_that_leaves_in_the_middle_of_its_body_is_no_failure_of_the_service(tmp_path: Path) -> None:
    coming: list[Message] = [
        {"type": "http.request", "body": b'{"user', "more_body": True},
        {"type": "http.disconnect"},
    ]
    sent: list[Message] = []

    async def receive() -> Message:
        return coming.pop(0)

    async def send(message: Message) -> None:
        sent.append(message)

    with start(tmp_path) as client:
        asyncio.run(client.app(post_to("/v1/events"), receive, send))
        metrics = client.get("/metrics").text
    assert sent[0]["status"] == 400
    assert 'error="MalformedError"' in metrics
    assert "InternalServerException" not in metrics


def test_a_swap_that_is_cut_off_by_the_end_of_the_service_is_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, ended = threading.Event(), threading.Event()
    sent: list[Message] = []

    def swap(service: Service, path: str) -> str:
        begun.set()
        ended.wait(30)
        return path

    async def receive() -> Message:
        return {"type": "http.request", "body": b'{"path": "model"}', "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    async def cut_off(app: ASGIApp) -> None:
        request = asyncio.ensure_future(app(post_to("/v1/models"), receive, send))
        await asyncio.to_thread(begun.wait, 30)
        request.cancel()
        await request
        ended.set()

    monkeypatch.setattr(Service, "swap", swap)
    with start(tmp_path) as client:
        asyncio.run(cut_off(client.app))
    assert sent[0]["status"] == 503
    assert dict(sent[0]["headers"])[b"content-type"] == b"application/problem+json"
