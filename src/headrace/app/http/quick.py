"""The two requests that nearly all are, answered before the framework looks at them.

`GET /v1/users/{user_id}/recommendations` with `k` and `at_least` alone, and `POST /v1/events` with a small body: they
take a third of the time that they take by the framework (docs/log.md). Whatever is less plain goes on to the routes in
`routes_answers.py` and `routes_events.py`, which give the same bytes.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable

import msgspec
from litestar.enums import ScopeType
from litestar.types import ASGIApp, Receive, Scope, Send

from headrace.app.http.decoding import LARGE_BYTES, decode_body, event_decoder
from headrace.app.http.edge import path_id
from headrace.app.http.problems import PROBLEM_TYPE, MalformedError, problem_of
from headrace.core.errors import HeadraceError
from headrace.serving.batch import Written
from headrace.serving.questions import Given, Question
from headrace.serving.service import Service

ANSWERS = "/v1/users/{user_id}/recommendations"
"""The route as the metrics name it."""
EVENTS = "/v1/events"

_PATH = re.compile(r"/v1/users/([^/]+)/recommendations")
_QUERY = re.compile(rb"(?:k=([1-9]\d{0,8}))?(?:(?:^|&)at_least=(\d{1,18}))?")
_encode = msgspec.json.Encoder().encode


class Quick:
    """Wraps the framework's application."""

    def __init__(self, app: ASGIApp, service: Service) -> None:
        """Take what answers the other requests, and the service."""
        self._app = app
        self._service = service
        self._decode = event_decoder(service)
        self._largest = min(LARGE_BYTES, service.settings.serving.max_body_bytes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a plain request, or pass it on."""
        reply: Awaitable[Given | Written]
        if (question := plain_question(scope)) is not None:
            scope["path_template"] = ANSWERS  # as the framework notes it
            reply = self._recommend(question)
        elif is_plain_event(scope, self._largest):
            scope["path_template"] = EVENTS
            reply = self._add_events(receive)
        else:
            await self._app(scope, receive, send)
            return
        status, kind, headers = 200, "application/json", dict[str, str]()
        try:
            body = _encode(await reply)
        except Exception as error:  # answered and logged as `on_any_error` does: no other request is disturbed
            self._service.telemetry.errors.labels(type(error).__name__).inc()
            if not isinstance(error, HeadraceError):
                logging.getLogger(__name__).error("%s failed", scope["path"], exc_info=error)
            problem, headers = problem_of(error)
            body, status, kind = _encode(problem), problem.status, PROBLEM_TYPE
        named = {"content-type": kind, **headers, "content-length": str(len(body))}
        listed = [(name.lower().encode(), value.encode()) for name, value in named.items()]
        await send({"type": "http.response.start", "status": status, "headers": listed})
        await send({"type": "http.response.body", "body": body, "more_body": False})

    async def _recommend(self, question: Question) -> Given:
        return await asyncio.wrap_future(self._service.recommend(question))

    async def _add_events(self, receive: Receive) -> Written:
        raw, more = b"", True
        while more:
            message = await receive()
            if message["type"] != "http.request":
                raise MalformedError("a body must be sent whole, the client went away before its end")
            raw, more = raw + message.get("body", b""), message.get("more_body", False)
        return await asyncio.wrap_future(self._service.add_events(decode_body(raw, self._decode)))


def plain_question(scope: Scope) -> Question | None:
    """Return the question of a request that is plain, None for any other; from other origins none is."""
    if scope["type"] != ScopeType.HTTP or scope["method"] != "GET":
        return None
    path, query = _PATH.fullmatch(scope["path"]), _QUERY.fullmatch(scope["query_string"])
    if path is None or query is None or any(name == b"origin" for name, _ in scope["headers"]):
        return None
    k, at_least = query.groups()
    return Question(path_id(path[1]), k=int(k or 10), at_least=int(at_least or 0))


def is_plain_event(scope: Scope, largest: int) -> bool:
    """Return whether a request tells events in up to `largest` bytes of JSON, and comes from no other origin."""
    if scope["type"] != ScopeType.HTTP or scope["path"] != EVENTS or scope["method"] != "POST" or scope["query_string"]:
        return False
    headers = dict(scope["headers"])
    length = headers.get(b"content-length", b"")
    plain = headers.get(b"content-type") == b"application/json" and b"origin" not in headers
    return plain and length.isdigit() and len(length) < 10 and int(length) <= largest
