"""The front: a process of its own that takes connections, and passes on the two requests that nearly all are.

    python -m headrace.app.http.front LISTENING LINK HANDS LARGEST

The first three are open sockets, by number; `LARGEST` is the bytes of a body that is passed on at most.

Plain requests (see `plain`) go to the service as short messages over the link, many at a time, and never meet the
framework: HTTP costs a third, and is spoken on a core and under an interpreter lock of its own. A connection that asks
for anything else is handed over, the socket and what it has sent so far; the framework serves it from then on.

The front ends when the link does, and ignores signals: it is for the service to say when it shall stop.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections import deque
from contextlib import suppress
from email.utils import formatdate
from functools import partial
from typing import cast

import uvloop

from headrace.app.http.messages import GONE, PIECE, PIECE_BYTES, STOP, Messages, message
from headrace.app.http.plain import More, plain_request
from headrace.app.listening import BACKLOG

IDLE_S = 60.0
"""A connection that asks nothing for so long is closed."""
_LOOK_S = 1.0
"""How often the connections are looked at, and the clock."""
_MOST_WAITING = 1 << 16
"""Bytes of requests behind an open one that are read; the rest waits in the network."""
_PATIENCE_S = 8.0
"""How long a connection may take to end after the service has said to stop."""


class Front:
    """All connections, and the link to the service."""

    def __init__(self, hands: socket.socket, expected: bytes | None, largest: int) -> None:
        """`hands` takes connections that are handed over; the others as for `plain_request`."""
        self.expected = expected
        self.largest = largest
        self.visitors: set[Visitor] = set()
        self.date = b""
        self.ended = asyncio.Event()
        self.link = Link(self)
        self._hands = hands
        self._open: dict[int, Visitor] = {}
        self._number = 0
        self._unsent: list[bytes] = []
        self._pieces: deque[tuple[bytes, int | None]] = deque()

    def ask(self, visitor: Visitor, kind: int, body: bytes) -> int:
        """Pass a request on and return its number; `Visitor.reply` will hear of the answer."""
        self._number += 1
        self._open[self._number] = visitor
        self._send(message(self._number, kind, 0, body))
        return self._number

    def gone(self, number: int) -> None:
        """Tell the service that nobody waits for an answer any more."""
        if self._open.pop(number, None) is not None:
            self._send(message(number, GONE, 0))

    def answer(self, number: int, status: int, retry_s: int, body: bytes) -> None:
        """Take what the service says to a request."""
        if status == STOP:
            self.stop()
        elif (visitor := self._open.pop(number, None)) is not None:
            visitor.reply(status, retry_s, body)

    def hand_over(self, handle: int, sent: bytes) -> None:
        """Give a connection to the service, with what it has sent."""
        self._number += 1
        idle = not self._pieces
        for start in range(0, len(sent), PIECE_BYTES):
            head = PIECE.pack(self._number, start + PIECE_BYTES >= len(sent))
            own = None if start else os.dup(handle)  # the connection's own is closed before this may be sent
            self._pieces.append((head + sent[start : start + PIECE_BYTES], own))
        if idle:
            self._hand_on()

    def _hand_on(self) -> None:
        """Send what there is of connections that are handed over, until the service has to take some."""
        loop = asyncio.get_running_loop()
        while self._pieces:
            piece, handle = self._pieces[0]
            try:
                if handle is None:
                    self._hands.send(piece)
                else:
                    socket.send_fds(self._hands, [piece], [handle])
            except BlockingIOError:
                loop.add_writer(self._hands, self._hand_on)
                return
            self._pieces.popleft()
            if handle is not None:
                os.close(handle)
        loop.remove_writer(self._hands)

    def stop(self) -> None:
        """Take no more requests; ends when those that are open are answered."""
        self.ended.set()
        for visitor in list(self.visitors):
            visitor.close_when_idle()

    def tick(self) -> None:
        """Close who has asked nothing for long, and look at the clock."""
        self.date = formatdate(usegmt=True).encode()
        now = asyncio.get_running_loop().time()
        for visitor in [one for one in self.visitors if now - one.since > IDLE_S]:
            visitor.close_when_idle()

    def _send(self, one: bytes) -> None:
        """Send at the end of this turn of the loop, together with what else it brings."""
        if not self._unsent:
            asyncio.get_running_loop().call_soon(self._flush)
        self._unsent.append(one)

    def _flush(self) -> None:
        self.link.send(b"".join(self._unsent))
        self._unsent.clear()


class Link(asyncio.Protocol):
    """The service's end of the link, as the front sees it."""

    def __init__(self, front: Front) -> None:
        self._front = front
        self._messages = Messages()
        self.lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's are of no class of asyncio's

    def send(self, data: bytes) -> None:
        """Send messages."""
        self._transport.write(data)

    def data_received(self, data: bytes) -> None:
        """Take answers."""
        for number, status, retry_s, body in self._messages.of(data):
            self._front.answer(number, status, retry_s, body)

    def connection_lost(self, _: Exception | None) -> None:
        """End: without the service there is nothing to do."""
        self.lost = True
        self._front.ended.set()


class Visitor(asyncio.Protocol):
    """One connection: one open request at a time, the next ones wait."""

    def __init__(self, front: Front) -> None:
        self._front = front
        self._sent = b""
        self._open: int | None = None
        self._read = self._reading = True
        self.since = asyncio.get_running_loop().time()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Come in."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(0)  # so that `pause_writing` tells of each byte that waits
        self._front.visitors.add(self)

    def data_received(self, data: bytes) -> None:
        """Take what the client sends."""
        self.since = asyncio.get_running_loop().time()
        self._sent += data
        self._look()

    def pause_writing(self) -> None:
        """The client has not read all that was sent: it is answered no further, and handed over to nobody."""
        self._read = False

    def resume_writing(self) -> None:
        """It has."""
        self._read = True
        self._look()

    def connection_lost(self, _: Exception | None) -> None:
        """The client has gone, or has said that it will send no more, which is taken for the same."""
        self._front.visitors.discard(self)
        if self._open is not None:
            self._front.gone(self._open)

    def reply(self, status: int, retry_s: int, body: bytes) -> None:
        """Send the answer, and look at what was sent meanwhile."""
        kind = b"application/json" if status < 400 else b"application/problem+json"
        retry = b"retry-after: %d\r\n" % retry_s if retry_s else b""
        head = b"HTTP/1.1 %d %s\r\ndate: %s\r\ncontent-type: %s\r\n%scontent-length: %d\r\n\r\n"
        self._transport.write(
            head % (status, _PHRASES.get(status, b""), self._front.date, kind, retry, len(body)) + body
        )
        self._open = None
        self.since = asyncio.get_running_loop().time()
        if self._front.ended.is_set():
            self._transport.close()
        else:
            self._look()

    def close_when_idle(self) -> None:
        """Close the connection unless a request is open."""
        if self._open is None:
            self._transport.close()

    def _look(self) -> None:
        """Look at what the client has sent, once it has read what it was sent."""
        if self._open is None and self._read and self._sent and not self._transport.is_closing():
            found = plain_request(self._sent, self._front.expected, self._front.largest)
            if found is None:
                self._hand_over()
                return
            if not isinstance(found, More):
                self._sent = self._sent[found.size :]
                self._open = self._front.ask(self, found.kind, found.body)
        if (len(self._sent) <= _MOST_WAITING) != self._reading:
            self._reading = not self._reading
            if self._reading:
                self._transport.resume_reading()
            else:
                self._transport.pause_reading()

    def _hand_over(self) -> None:
        handle: int = self._transport.get_extra_info("socket").fileno()
        self._front.hand_over(handle, self._sent)
        self._transport.abort()  # closes our end of it only


_PHRASES = {200: b"OK", 400: b"Bad Request", 404: b"Not Found", 409: b"Conflict", 422: b"Unprocessable Entity",
            429: b"Too Many Requests", 500: b"Internal Server Error", 503: b"Service Unavailable"}  # fmt: skip


async def serve(listening: socket.socket, link: socket.socket, hands: socket.socket, largest: int) -> None:
    """Take connections until the service says to stop, or is gone."""
    key = os.environ.get("HEADRACE_API_KEY")
    front = Front(hands, None if key is None else f"Bearer {key}".encode(), largest)
    loop = asyncio.get_running_loop()
    await loop.connect_accepted_socket(lambda: front.link, link)
    front.tick()
    server = await loop.create_server(partial(Visitor, front), sock=listening, backlog=BACKLOG)
    while not front.ended.is_set():
        with suppress(TimeoutError):
            await asyncio.wait_for(front.ended.wait(), _LOOK_S)
        front.tick()
    server.close()
    end = loop.time() + _PATIENCE_S
    while front.visitors and not front.link.lost and loop.time() < end:
        await asyncio.sleep(0.01)


def main() -> None:
    """Take over the sockets and serve."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    listening, link, hands = (socket.socket(fileno=int(number)) for number in sys.argv[1:4])
    for one in (listening, link, hands):
        one.setblocking(False)
    uvloop.run(serve(listening, link, hands, int(sys.argv[4])))


if __name__ == "__main__":
    main()
