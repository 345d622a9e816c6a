"""Routes of the catalogue."""

from __future__ import annotations

import asyncio
from typing import Annotated

from litestar import delete, get, patch, post, put
from litestar.params import FromPath, QueryParameter

from headrace.app.http.decoding import Web, decode_changes, decode_item, decode_items, read_body
from headrace.app.http.edge import path_id
from headrace.app.http.wire import ItemBody, Items, ListedItemBody, Stored
from headrace.core.types import Item
from headrace.serving.service import Service

MAX_FOUND = 100
"""Items that one search returns at most."""


@post("/v1/items", status_code=200, opt={"body": ListedItemBody | list[ListedItemBody]}, tags=["items"])
async def put_items(request: Web) -> Stored:
    """Put one item or a list of up to 10,000 into the catalogue, all or nothing, each replacing what was there."""
    service: Service = request.app.state["service"]
    items = await read_body(request, decode_items)
    return Stored(await asyncio.to_thread(service.put_items, items))


@get("/v1/items", sync_to_thread=True, tags=["items"])
def search_items(
    request: Web,
    words: Annotated[
        str,
        QueryParameter(name="query", description="Words that title, text or categories must hold."),
    ] = "",
    limit: Annotated[int, QueryParameter(ge=1, le=MAX_FOUND)] = 20,
) -> Items:
    """Search the available items of the catalogue by words, best titles first, then the popular; all without words."""
    service: Service = request.app.state["service"]
    return Items(service.search(words, limit))


@put("/v1/items/{item_id:str}", status_code=200, opt={"body": ItemBody}, tags=["items"])
async def put_item(request: Web, item_id: FromPath[str]) -> Item:
    """Put an item into the catalogue, replacing what was there; the next answer may list it."""
    service: Service = request.app.state["service"]
    item = await read_body(request, lambda raw: decode_item(raw, path_id(item_id)))
    await asyncio.to_thread(service.put_items, [item])
    return item


@patch("/v1/items/{item_id:str}", status_code=200, opt={"body": ItemBody}, tags=["items"])
async def patch_item(request: Web, item_id: FromPath[str]) -> Item:
    """Change the fields that the body names, attributes one by one; `{"available": false}` takes it off all lists."""
    service: Service = request.app.state["service"]
    item = path_id(item_id)
    changes = await read_body(request, lambda raw: decode_changes(raw, item))
    return await asyncio.to_thread(service.patch_item, item, changes)


@get("/v1/items/{item_id:str}", sync_to_thread=True, tags=["items"])
def show_item(request: Web, item_id: FromPath[str]) -> Item:
    """Show an item; one known from events only has no fields."""
    service: Service = request.app.state["service"]
    return service.item(path_id(item_id))


@delete("/v1/items/{item_id:str}", status_code=204, sync_to_thread=True, tags=["items"])
def delete_item(request: Web, item_id: FromPath[str]) -> None:
    """Take an item out of the catalogue and off all lists; its events stay."""
    service: Service = request.app.state["service"]
    service.delete_item(path_id(item_id))


ITEM_ROUTES = (put_items, search_items, put_item, patch_item, show_item, delete_item)
