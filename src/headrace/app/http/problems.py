"""Errors as `application/problem+json` (RFC 9457): one table from our error tree, and Litestar's own, to answers."""

from __future__ import annotations

import logging
from http import HTTPStatus

import msgspec
from litestar import Request, Response
from litestar.exceptions import HTTPException, ValidationException

from headrace.core.errors import HeadraceError, LateError, OverloadedError
from headrace.data.row_rules import Fault
from headrace.serving.faults import RowFaultsError
from headrace.serving.service import Service

PROBLEM_TYPE = "application/problem+json"
RETRY_AFTER_S = 1
"""What a client is told to wait when a queue is full, in whole seconds as the header has them."""


class Problem(msgspec.Struct, frozen=True, omit_defaults=True):
    """An error. `faults` are the first 20 broken rules of a refused list."""

    type: str
    title: str
    status: int
    detail: str
    faults: list[Fault] = []


class MalformedError(HeadraceError):
    """The body is not JSON."""

    status = 400


class MediaTypeError(HeadraceError):
    """The body is not declared as JSON, which keeps forms of other web pages out."""

    status = 415


def problem(status: int, detail: str, title: str | None = None, faults: list[Fault] | None = None) -> Problem:
    """Make a problem; its title is that of the status where none is given."""
    phrase = title or HTTPStatus(status).phrase
    return Problem("about:blank", phrase, status, detail, faults or [])


def problem_of(error: Exception) -> tuple[Problem, dict[str, str]]:
    """Return an error as a problem, and the headers that go with it; one that nobody foresaw says no more than that."""
    if not isinstance(error, HeadraceError):
        return problem(500, "the service failed on this request; its log says where"), {}
    faults = error.faults if isinstance(error, RowFaultsError) else None
    headers = {"Retry-After": str(RETRY_AFTER_S)} if isinstance(error, OverloadedError | LateError) else {}
    return problem(error.status, str(error), faults=faults), headers


def answer_problem(found: Problem, headers: dict[str, str] | None = None) -> Response[bytes]:
    """Return a problem as a response."""
    return Response(msgspec.json.encode(found), status_code=found.status, media_type=PROBLEM_TYPE, headers=headers)


def on_headrace_error(request: Request[object, object, object], error: HeadraceError) -> Response[bytes]:  # type: ignore[type-var]  # Litestar bounds the state, which we do not type
    """Answer one of our errors with its status and message."""
    _count(request, type(error).__name__)
    return answer_problem(*problem_of(error))


def on_http_error(request: Request[object, object, object], error: HTTPException) -> Response[bytes]:  # type: ignore[type-var]  # see above
    """Answer Litestar's refusals: no such route or method, a query parameter of the wrong type, a large body."""
    _count(request, type(error).__name__)
    if isinstance(error, ValidationException):
        extra = error.extra if isinstance(error.extra, list) else []
        faults = [Fault(0, str(one.get("key", "")), "type", str(one.get("message", ""))) for one in extra]
        named = "; ".join(f"{fault.field}: {fault.message}" for fault in faults)
        return answer_problem(problem(422, f"a parameter breaks its rule: {named or error.detail}", faults=faults))
    headers = {str(name): str(value) for name, value in (error.headers or {}).items()}
    return answer_problem(problem(error.status_code, _detail(request, error)), headers)


def on_any_error(request: Request[object, object, object], error: Exception) -> Response[bytes]:  # type: ignore[type-var]  # see above
    """Log what nobody foresaw, and answer 500 to this request alone."""
    _count(request, type(error).__name__)
    logging.getLogger(__name__).error("%s %s failed", request.method, request.url.path, exc_info=error)
    return answer_problem(*problem_of(error))


def _detail(request: Request[object, object, object], error: HTTPException) -> str:  # type: ignore[type-var]  # see above
    service: Service = request.app.state["service"]
    if error.status_code == 404:
        return f"there is no route {request.method} {request.url.path}; /docs lists them"
    if error.status_code == 405:
        return f"{request.url.path} does not know {request.method}; /docs lists what it knows"
    if error.status_code == 413:
        return f"a body holds at most {service.settings.serving.max_body_bytes} bytes; send several requests"
    return error.detail


def _count(request: Request[object, object, object], name: str) -> None:  # type: ignore[type-var]  # see above
    service: Service = request.app.state["service"]
    service.telemetry.errors.labels(name).inc()
