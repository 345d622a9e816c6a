"""The OpenAPI document: it lists the contract's routes, and no case made from it is answered with 500."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from litestar import Litestar
from litestar.types import Receive, Scope, Send
from schemathesis import Case, GenerationMode
from schemathesis.schemas import BaseSchema
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from headrace.app.http.application import create_app
from headrace.core.settings import ServingSettings, Settings
from headrace.serving.service import Service

ROUTES = {
    "POST /v1/events",
    "GET /v1/users/{user_id}/recommendations",
    "POST /v1/recommendations",
    "POST /v1/rank",
    "POST /v1/ratings",
    "GET /v1/items/{item_id}/similar",
    "POST /v1/items",
    "GET /v1/items",
    "PUT /v1/items/{item_id}",
    "PATCH /v1/items/{item_id}",
    "GET /v1/items/{item_id}",
    "DELETE /v1/items/{item_id}",
    "GET /v1/users",
    "GET /v1/users/{user_id}",
    "DELETE /v1/users/{user_id}",
    "POST /v1/models",
    "GET /v1/health/live",
    "GET /v1/health/ready",
    "GET /v1/status",
}
CASES = 27
"""Of each of the 19 routes: 513 in all. 503 is an honest answer to `at_least`, 500 never is."""


WITHOUT_INPUT = {"/v1/health/live", "/v1/health/ready", "/v1/status"}


class WithoutLifespan:
    """The application of one service for all cases: the client's lifespan would close it after the first."""

    def __init__(self, app: Litestar) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self.app(scope, receive, send)


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WithoutLifespan]:
    folder: Path = tmp_path_factory.mktemp("shop")
    chosen = Settings(serving=ServingSettings(store=f"sqlite:///{folder}/shop.db", models=str(folder / "models")))
    service = Service.open(chosen)
    yield WithoutLifespan(create_app(service, page=True, api_key=None, settings=chosen))
    service.close()


@pytest.fixture(scope="module")
def document(app: WithoutLifespan) -> BaseSchema:
    return schemathesis.openapi.from_asgi("/docs/openapi.json", app)


def test_the_document_lists_the_routes_of_the_contract(app: WithoutLifespan) -> None:
    paths = app.app.state["document"]["paths"]
    assert {f"{method.upper()} {path}" for path, methods in paths.items() for method in methods} == ROUTES


def test_every_body_is_described(app: WithoutLifespan) -> None:
    paths = app.app.state["document"]["paths"]
    bare = [
        f"{method} {path}"
        for path, methods in paths.items()
        for method, operation in methods.items()
        if method in ("post", "put", "patch") and "requestBody" not in operation
    ]
    assert bare == []


@pytest.mark.parametrize("route", sorted(ROUTES))
def test_no_case_is_answered_with_500(document: BaseSchema, route: str) -> None:
    method, path = route.split(" ")
    operation = document[path][method]
    cases = operation.as_strategy(GenerationMode.POSITIVE)
    if path not in WITHOUT_INPUT:
        cases = cases | operation.as_strategy(GenerationMode.NEGATIVE)

    @given(case=cases)
    @settings(max_examples=CASES, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    def ask(case: Case) -> None:
        answer = case.call()
        assert answer.status_code < 500 or answer.status_code == 503, answer.text
        case.validate_response(
            answer, checks=[status_code_conformance, content_type_conformance, response_schema_conformance]
        )

    ask()
