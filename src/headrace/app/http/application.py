"""The HTTP application: routes, errors and the outermost layer around one service."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from importlib.metadata import version

from litestar import Litestar
from litestar.config.cors import CORSConfig
from litestar.datastructures import State
from litestar.exceptions import HTTPException
from litestar.openapi import OpenAPIConfig

from headrace.app.http.document import openapi_document
from headrace.app.http.edge import Edge
from headrace.app.http.pages import docs_files, file_routes, page_files
from headrace.app.http.problems import on_any_error, on_headrace_error, on_http_error
from headrace.app.http.routes_answers import ANSWER_ROUTES
from headrace.app.http.routes_events import EVENT_ROUTES
from headrace.app.http.routes_items import ITEM_ROUTES
from headrace.app.http.routes_operations import OPERATION_ROUTES
from headrace.app.training_progress import TrainingProgress
from headrace.core.errors import HeadraceError
from headrace.core.settings import Settings
from headrace.serving.service import Service


def create_app(
    service: Service,
    *,
    page: bool,
    api_key: str | None,
    settings: Settings,
    training: Callable[[], TrainingProgress | None] | None = None,
) -> Litestar:
    """Make the application of an open service; it closes the service when it is shut down.

    Args:
        service: what answers.
        page: whether to show the page, which also names a few users.
        api_key: what `Authorization: Bearer` must carry on every route but health and the page's files (they hold no
            data, and the page asks for the key itself); None asks for none.
        settings: `serving.max_body_bytes` and `serving.cors_origins`.
        training: how far a training behind the service is, for the status.
    """

    async def close() -> None:
        await asyncio.to_thread(service.close)

    origins = settings.serving.cors_origins
    shown = page_files() if page else {}
    app = Litestar(
        route_handlers=[
            *EVENT_ROUTES,
            *ANSWER_ROUTES,
            *ITEM_ROUTES,
            *OPERATION_ROUTES,
            *file_routes(shown, docs_files()),
        ],
        state=State({"service": service, "page": page, "training": training}),
        exception_handlers={
            HeadraceError: on_headrace_error,
            HTTPException: on_http_error,
            Exception: on_any_error,
        },
        cors_config=CORSConfig(allow_origins=list(origins)) if origins else None,
        openapi_config=OpenAPIConfig(title="Headrace", version=version("headrace"), path="/docs/unused"),
        on_shutdown=[close],
        request_max_body_size=settings.serving.max_body_bytes,
        logging_config=None,
    )
    app.state["document"] = openapi_document(app)
    app.asgi_handler = Edge(app.asgi_handler, api_key=api_key, free=shown, telemetry=service.telemetry)
    return app
