"""The outermost layer: asks for the key, keeps `%2F` inside an id, and measures each request by its route."""

from __future__ import annotations

import hmac
import time
from collections.abc import Iterable
from urllib.parse import quote, unquote_to_bytes

import msgspec
from litestar.enums import ScopeType
from litestar.types import ASGIApp, Receive, Scope, Send

from headrace.app.http.problems import PROBLEM_TYPE, problem
from headrace.serving.telemetry import Telemetry

HEALTH = "/v1/health/"


class Edge:
    """Wraps the application."""

    def __init__(self, app: ASGIApp, *, api_key: str | None, free: Iterable[str], telemetry: Telemetry) -> None:
        """Wrap `app`.

        Args:
            app: what answers.
            api_key: the key that every route asks for; None asks for none.
            free: paths that ask for none, besides health: the files of the page, which hold no data.
            telemetry: where to count.
        """
        self._app = app
        self._expected = None if api_key is None else f"Bearer {api_key}".encode()
        self._free = frozenset(free)
        self._seconds = telemetry.request_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or answer 401."""
        if scope["type"] != ScopeType.HTTP:
            await self._app(scope, receive, send)
            return
        raw = scope.get("raw_path") or quote(scope["path"]).encode()
        scope["path"] = routed_path(raw)
        if not self._may_pass(scope):
            await _refuse(send)
            return
        started = time.perf_counter()
        await self._app(scope, receive, send)
        route = scope.get("path_template") or "none"
        self._seconds.labels(str(route)).observe(time.perf_counter() - started)

    def _may_pass(self, scope: Scope) -> bool:
        if self._expected is None or scope["path"].startswith(HEALTH) or scope["path"] in self._free:
            return True
        if scope["method"] == "OPTIONS":  # type: ignore[typeddict-item]  # an HTTP scope, checked by the caller
            return True  # a browser's question about CORS carries no key
        given = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
        return hmac.compare_digest(given, self._expected)


def routed_path(raw: bytes) -> str:
    """Decode a path part by part, so that `%2F` stays inside its part; `path_id` undoes what is left."""
    path = raw.partition(b"?")[0]
    if b"%" not in path:
        return path.decode("utf-8", "replace")
    parts = [unquote_to_bytes(part).decode("utf-8", "replace") for part in path.split(b"/")]
    return "/".join(part.replace("%", "%25").replace("/", "%2F") for part in parts)


def path_id(part: str) -> str:
    """Return the id that a part of a path stands for."""
    return part.replace("%2F", "/").replace("%25", "%") if "%" in part else part


async def _refuse(send: Send) -> None:
    found = problem(401, "this service asks for its key; send the header `Authorization: Bearer KEY`")
    body = msgspec.json.encode(found)
    headers = [
        (b"content-type", PROBLEM_TYPE.encode()),
        (b"content-length", str(len(body)).encode()),
        (b"www-authenticate", b"Bearer"),
    ]
    await send({"type": "http.response.start", "status": 401, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})
