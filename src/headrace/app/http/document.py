"""The OpenAPI document: Litestar writes paths, parameters and answers; the bodies and errors are added here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

import msgspec
from litestar import Litestar
from litestar.handlers import HTTPRouteHandler

from headrace.app.http.problems import PROBLEM_TYPE, Problem

Json: TypeAlias = dict[str, "Json"] | list["Json"] | str | int | float | bool | None

_ERRORS = {
    "400": "The body is not JSON, or the path not UTF-8.",
    "401": "The key is missing or wrong.",
    "404": "No such user, item or route.",
    "409": "It contradicts what is stored, or nothing here can answer that yet.",
    "413": "The body is too large.",
    "415": "The body is not declared as JSON.",
    "422": "A rule is broken; `faults` says where.",
    "429": "Too many requests wait; try again after `Retry-After` seconds.",
    "503": "It could not be stored, or did not come in time; nothing was acknowledged.",
}


def openapi_document(app: Litestar) -> dict[str, Json]:
    """Return the document of an application, complete with bodies and errors."""
    document: dict[str, Json] = app.openapi_schema.to_schema()
    bodies = _bodies(app)
    schemas, components = msgspec.json.schema_components(
        [Problem, *bodies.values()], ref_template="#/components/schemas/{name}"
    )
    _under(document, "components", "schemas").update(components)
    problem, *body_schemas = schemas
    of_body = dict(zip(bodies, body_schemas, strict=True))
    for path, operations in _under(document, "paths").items():
        assert isinstance(operations, dict)
        for method, operation in operations.items():
            assert isinstance(operation, dict)
            if (path, method) in of_body:
                content: Json = {"application/json": {"schema": of_body[path, method]}}
                operation["requestBody"] = {"required": True, "content": content}
            answers = _under(operation, "responses")
            answers.pop("400", None)
            for status, text in _ERRORS.items():
                answers.setdefault(status, {"description": text, "content": {PROBLEM_TYPE: {"schema": problem}}})
    return document


def _bodies(app: Litestar) -> Mapping[tuple[str, str], object]:
    """Return the declared body of each route by its path, as the document writes it, and method."""
    found = {}
    for route in app.routes:
        for handler in getattr(route, "route_handlers", ()):
            if isinstance(handler, HTTPRouteHandler) and "body" in handler.opt:
                for method in handler.http_methods:
                    found[route.path_format, method.lower()] = handler.opt["body"]
    return found


def _under(tree: dict[str, Json], *names: str) -> dict[str, Json]:
    for name in names:
        branch = tree.setdefault(name, {})
        assert isinstance(branch, dict)
        tree = branch
    return tree
