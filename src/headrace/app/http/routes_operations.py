"""Routes for those who run the service: health, models, metrics and what it does now."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Annotated

import msgspec
from litestar import Response, get, post
from litestar.params import QueryParameter

from headrace.app.http.decoding import Web, decoder_of, read_body
from headrace.app.http.wire import Health, ModelBody, Taken
from headrace.app.training_progress import TrainingProgress
from headrace.core.errors import NotFoundError, StoppedError
from headrace.serving.service import Service
from headrace.serving.status import ExampleUser, Status

METRICS_TYPE = "text/plain; version=0.0.4"


class StatusPage(Status, frozen=True, kw_only=True):
    """What the service does now. `training` is a training behind the service, of the demo; null without one."""

    training: TrainingProgress | None = None


class Users(msgspec.Struct, frozen=True):
    """Some users."""

    users: list[ExampleUser]


@get("/v1/health/live", tags=["operations"])
async def live() -> Health:
    """Say that the process answers."""
    return Health("live")


@get("/v1/health/ready", tags=["operations"])
async def ready(request: Web) -> Response[Health]:
    """Say whether events are stored and questions answered; 503 while not."""
    service: Service = request.app.state["service"]
    return (
        Response(Health("ready"), status_code=200) if service.ready else Response(Health("starting"), status_code=503)
    )


@post("/v1/models", status_code=200, opt={"body": ModelBody}, tags=["operations"])
async def swap_model(request: Web) -> Taken:
    """Check, warm and take a model from below the service's models folder; a bad one is refused, the old one stays."""
    service: Service = request.app.state["service"]
    body = await read_body(request, decoder_of(ModelBody))
    try:
        return Taken(await asyncio.to_thread(service.swap, body.path))
    except asyncio.CancelledError:  # what uvicorn does to requests that outlast its patience when it is told to stop
        raise StoppedError("the service is stopping; ask the next one to take the model") from None


@get("/v1/status", sync_to_thread=True, tags=["operations"])
def show_status(request: Web) -> StatusPage:
    """Show what the service does now, for the page."""
    service: Service = request.app.state["service"]
    training: Callable[[], TrainingProgress | None] | None = request.app.state["training"]
    users = service.example_users(8) if request.app.state["page"] else []
    fields = msgspec.structs.asdict(service.status()) | {"example_users": users}
    return StatusPage(**fields, training=None if training is None else training())


@get("/v1/users", sync_to_thread=True, tags=["operations"])
def example_users(request: Web, limit: Annotated[int, QueryParameter(ge=1, le=100)] = 20) -> Users:
    """Name some users, for the page's chooser; 404 unless the service shows its page."""
    service: Service = request.app.state["service"]
    if not request.app.state["page"]:
        raise NotFoundError("users are listed only by a service that shows its page (--page)")
    return Users(service.example_users(limit))


@get("/metrics", sync_to_thread=True, include_in_schema=False)
def metrics(request: Web) -> Response[bytes]:
    """Show the metrics in Prometheus' text format."""
    service: Service = request.app.state["service"]
    return Response(service.telemetry.exposition(), media_type=METRICS_TYPE)


OPERATION_ROUTES = (live, ready, swap_model, show_status, example_users, metrics)
