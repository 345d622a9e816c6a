"""Routes of events and users: what people did, told, shown and forgotten."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from typing import Annotated

import msgspec
from litestar import delete, get, post
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath, QueryParameter
from litestar.response import Stream

from headrace.app.http.decoding import Web, event_decoder, read_body
from headrace.app.http.edge import path_id
from headrace.app.http.wire import EventBody
from headrace.serving.batch import Written
from headrace.serving.replies import Erasure, UserPage
from headrace.serving.service import Service
from headrace.serving.store import StoredEvent


@post("/v1/events", status_code=200, opt={"body": EventBody | list[EventBody]}, tags=["events"])
async def add_events(request: Web) -> Written:
    """Store one event or a list of up to 10,000, all or nothing; durable before the answer.

    The same `event_id` again is a duplicate; with other content it is 409.
    """
    service: Service = request.app.state["service"]
    events = await read_body(request, event_decoder(service))
    return await asyncio.wrap_future(service.add_events(events))


@get(
    "/v1/users/{user_id:str}",
    tags=["users"],
    responses={200: ResponseSpec(UserPage, generate_examples=False, description="The user's events.")},
)
async def show_user(
    request: Web,
    user_id: FromPath[str],
    limit: Annotated[int | None, QueryParameter(description="Only so many, the newest.", ge=1)] = None,
) -> Stream:
    """Show the events of a user, oldest first; all of them unless `limit` says otherwise."""
    service: Service = request.app.state["service"]
    user = path_id(user_id)
    parts = await asyncio.to_thread(service.user_events, user, limit)
    return Stream(_user_page(user, parts), media_type="application/json")


@delete("/v1/users/{user_id:str}", status_code=200, sync_to_thread=True, tags=["users"])
def forget_user(request: Web, user_id: FromPath[str]) -> Erasure:
    """Forget a user: log, state and counts before the answer; `models` are the versions that learned from them."""
    service: Service = request.app.state["service"]
    return service.forget(path_id(user_id))


def _user_page(user_id: str, parts: Iterable[list[StoredEvent]]) -> Iterator[bytes]:
    """Write a `UserPage` some events at a time, as a user may have a million of them."""
    opening = b'{"user_id":' + msgspec.json.encode(user_id) + b',"events":['
    for part in parts:
        if part:
            yield opening + msgspec.json.encode(part)[1:-1]
            opening = b","
    yield b"]}" if opening == b"," else opening + b"]}"


EVENT_ROUTES = (add_events, show_user, forget_user)
