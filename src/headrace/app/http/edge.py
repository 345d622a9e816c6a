"""The outermost layer: asks for the key, keeps `%2F` inside an id, and measures each request by its route."""

from __future__ import annotations

import hmac
import time
from collections.abc import Iterable
from urllib.parse import quote, unquote_to_bytes

import msgspec
from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send

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
        try:
            scope["path"] = routed_path(raw)
        except UnicodeDecodeError:
            await _refuse(send, 400, "a path must be percent-encoded UTF-8; encode each id on its own")
            return
        if not self._may_pass(scope):
            await _refuse(send, 401, "this service asks for its key; send the header `Authorization: Bearer KEY`")
            return
        started = time.perf_counter()
        if scope["method"] == "HEAD":
            scope, send = {**scope, "method": "GET"}, _without_body(send)
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
    """Decode a path part by part, so that `%2F` stays inside its part; `path_id` undoes what is left.

    Raises:
        UnicodeDecodeError: not UTF-8; a replacement character would name another user.
    """
    path = raw.partition(b"?")[0]
    if b"%" not in path:
        return path.decode()
    parts = [unquote_to_bytes(part).decode() for part in path.split(b"/")]
    return "/".join(part.replace("%", "%25").replace("/", "%2F") for part in parts)


def path_id(part: str) -> str:
    """Return the id that a part of a path stands for."""
    return part.replace("%2F", "/").replace("%25", "%") if "%" in part else part


def _without_body(send: Send) -> Send:
    """Return what answers HEAD: all that GET answers, but for the body (RFC 9110)."""

    async def send_head(message: Message) -> None:
        await send({**message, "body": b""} if message["type"] == "http.response.body" else message)

    return send_head


async def _refuse(send: Send, status: int, detail: str) -> None:
    body = msgspec.json.encode(problem(status, detail))
    headers = [(b"content-type", PROBLEM_TYPE.encode()), (b"content-length", str(len(body)).encode())]
    if status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})
