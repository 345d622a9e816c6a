"""Routes of events and users: what people did, told, shown and forgotten."""

from __future__ import annotations

import asyncio

from litestar import delete, get, post
from litestar.params import FromPath

from headrace.app.http.decoding import Web, decode_events, read_body
from headrace.app.http.edge import path_id
from headrace.app.http.wire import EventBody
from headrace.core.types import Event
from headrace.serving.batch import Written
from headrace.serving.replies import Erasure, UserPage
from headrace.serving.service import Service


@post("/v1/events", status_code=200, opt={"body": EventBody | list[EventBody]}, tags=["events"])
async def add_events(request: Web) -> Written:
    """Store one event or a list of up to 10,000, all or nothing; durable before the answer.

    The same `event_id` again is a duplicate; with other content it is 409.
    """
    service: Service = request.app.state["service"]

    def decode(raw: bytes) -> list[Event]:
        read = decode_events(raw)
        service.check_events(read.events, read.places, read.faults)
        return read.events

    events = await read_body(request, decode)
    return await asyncio.wrap_future(service.add_events(events))


@get("/v1/users/{user_id:str}", sync_to_thread=True, tags=["users"])
def show_user(request: Web, user_id: FromPath[str]) -> UserPage:
    """Show the newest events of a user, oldest first."""
    service: Service = request.app.state["service"]
    return service.user(path_id(user_id))


@delete("/v1/users/{user_id:str}", status_code=200, sync_to_thread=True, tags=["users"])
def forget_user(request: Web, user_id: FromPath[str]) -> Erasure:
    """Forget a user: log, state and counts before the answer; `models` are the versions that learned from them."""
    service: Service = request.app.state["service"]
    return service.forget(path_id(user_id))


EVENT_ROUTES = (add_events, show_user, forget_user)
