"""Bodies from bytes: JSON of a declared type, large ones off the event loop, every fault of a list with its place."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Sequence
from typing import TypeVar

import msgspec
from litestar import Request
from litestar.datastructures import State
from litestar.exceptions import InternalServerException

from headrace.app.http.problems import MalformedError, MediaTypeError
from headrace.app.http.wire import EventBody, ItemBody, ListedItemBody, event_of
from headrace.core.errors import DataError
from headrace.core.types import Event, Item, Scalar
from headrace.data.row_rules import Fault
from headrace.serving.faults import RowFaultsError
from headrace.serving.service import Service

Web = Request[object, object, State]

LARGE_BYTES = 8192
"""A larger body is decoded and checked in a thread; this many bytes, 110 events, take 0.4 ms."""

Body = TypeVar("Body")

_PLACE = re.compile(r" - at `\$(?:\[(?P<index>\d+)\])?\.?(?P<field>[^`\[.]*)")
_NAMED = re.compile(r"field `(?P<field>[^`]*)`")
_ITEM_FIELDS = frozenset(ItemBody.__struct_fields__)


async def read_body(request: Web, decode: Callable[[bytes], Body]) -> Body:
    """Read a request's body and decode it.

    Raises:
        MediaTypeError: it is not declared as JSON.
        MalformedError: it is not JSON, or not whole.
        DataError: it is JSON of another shape.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json" and not kind.endswith("+json"):
        raise MediaTypeError(f"a body must have the content type application/json, got {kind or 'none'!r}")
    try:
        raw = await request.body()
    except InternalServerException:  # Litestar's word for a client that has gone; it is no failure of the service
        raise MalformedError("a body must be sent whole, the client went away before its end") from None
    if len(raw) > LARGE_BYTES:
        return await asyncio.to_thread(decode_body, raw, decode)
    return decode_body(raw, decode)


def decoder_of(kind: type[Body]) -> Callable[[bytes], Body]:
    """Return a decoder of one type."""
    return msgspec.json.Decoder(kind).decode


class ReadEvents(msgspec.Struct, frozen=True):
    """Events out of a body: those that could be read, their places in the list, and the faults of the others."""

    events: list[Event]
    places: Sequence[int]
    faults: list[Fault]


def decode_events(raw: bytes) -> ReadEvents:
    """Decode one event or a list of them; one that is of another shape is a fault and does not hide the others'."""
    try:
        found = _EVENTS.decode(raw)
        bodies = found if isinstance(found, list) else [found]
        events = [event_of(body, index) for index, body in enumerate(bodies)]
        return ReadEvents(events, range(len(events)), [])
    except (msgspec.ValidationError, RowFaultsError):
        readable: dict[int, Event] = {}
        faults = _faults(raw, lambda index, entry: readable.__setitem__(index, event_of(_EVENT.decode(entry), index)))
        return ReadEvents(list(readable.values()), list(readable), faults)


def event_decoder(service: Service) -> Callable[[bytes], list[Event]]:
    """Return what decodes a body of events and holds them against the rules of a service."""

    def decode(raw: bytes) -> list[Event]:
        read = decode_events(raw)
        service.check_events(read.events, read.places, read.faults)
        return read.events

    return decode


def decode_items(raw: bytes) -> list[Item]:
    """Decode one item or a list of them, each with its id.

    Raises:
        RowFaultsError: some entry is of another shape; every fault is listed.
    """
    try:
        found = _ITEMS.decode(raw)
        return [_item(entry) for entry in (found if isinstance(found, list) else [found])]
    except msgspec.ValidationError:
        raise RowFaultsError(_faults(raw, lambda _, entry: _item(_OBJECT.decode(entry)))) from None


def decode_item(raw: bytes, item_id: str) -> Item:
    """Decode one item whose id stands in the path; an id in the body must be the same.

    Raises:
        DataError: the ids differ.
    """
    body = _OBJECT.decode(raw)
    named = body.setdefault("item_id", item_id)
    item = _item(body)
    if item.item_id != item_id:
        raise DataError(f"the id in the path and in the body must be one, got {item_id!r} and {named!r}")
    return item


def decode_changes(raw: bytes, item_id: str) -> dict[str, object]:
    """Decode the changes of an item: only what the body names changes, other fields change as attributes.

    Null as an attribute takes it away, and `"attributes": null` alone all of them; see `merge_item`.
    """
    body = _OBJECT.decode(raw)
    item = decode_item(raw, item_id)
    changes: dict[str, object] = {name: getattr(item, name) for name in body if name in _ITEM_FIELDS}
    if item.attributes or "attributes" in body:
        changes["attributes"] = item.attributes if item.attributes or body.get("attributes") is not None else None
    changes.pop("item_id", None)
    return changes


_EVENTS = msgspec.json.Decoder(EventBody | list[EventBody])
_ITEMS = msgspec.json.Decoder(dict[str, object] | list[dict[str, object]])
_OBJECT = msgspec.json.Decoder(dict[str, object])
_RAW = msgspec.json.Decoder(list[msgspec.Raw])
_EVENT = msgspec.json.Decoder(EventBody)


def decode_body(raw: bytes, decode: Callable[[bytes], Body]) -> Body:
    """Decode a body.

    Raises:
        MalformedError, DataError: see `read_body`.
    """
    try:
        return decode(raw)
    except msgspec.ValidationError as error:
        raise RowFaultsError([_fault(error, 0)]) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise MalformedError(f"a body must be JSON in UTF-8, this one is not: {error}") from None
    except RecursionError:
        raise MalformedError("a body must not be nested this deeply") from None


def _item(body: dict[str, object]) -> Item:
    known = {name: value for name, value in body.items() if name in _ITEM_FIELDS and value is not None}
    listed = msgspec.convert(known, ListedItemBody)
    others = {name: value for name, value in body.items() if name not in _ITEM_FIELDS}
    return Item(
        item_id=str(listed.item_id),
        title=listed.title,
        text=listed.text,
        categories=tuple(listed.categories),
        price=listed.price,
        available=listed.available,
        image=listed.image,
        audio=listed.audio,
        attributes={**listed.attributes, **msgspec.convert(others, dict[str, Scalar])},
    )


def _faults(raw: bytes, read: Callable[[int, bytes], object]) -> list[Fault]:
    """Read each entry of a list alone, to name every one at fault."""
    entries = [bytes(entry) for entry in _RAW.decode(raw)] if raw.lstrip().startswith(b"[") else [raw]
    faults: list[Fault] = []
    for index, entry in enumerate(entries):
        try:
            read(index, entry)
        except msgspec.ValidationError as error:
            faults.append(_fault(error, index))
        except RowFaultsError as error:
            faults.extend(error.faults)
    return faults


def _fault(error: msgspec.ValidationError, index: int) -> Fault:
    text = str(error)
    place, named = _PLACE.search(text), _NAMED.search(text)
    field = place["field"] if place and place["field"] else named["field"] if named else ""
    at = int(place["index"]) if place and place["index"] else index
    return Fault(at, field, "shape", text.partition(" - at ")[0])
