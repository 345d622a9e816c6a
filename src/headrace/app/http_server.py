"""The HTTP server behind a front: it takes over the connections that are handed to it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from types import FrameType
from typing import Protocol, cast

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


class Front(Protocol):
    """What takes connections, and hands some over; `http.front_link.FrontLink` is one."""

    @property
    def hands(self) -> socket.socket:
        """The socket by which connections come."""

    def take(self) -> tuple[socket.socket, bytes] | None:
        """Return a connection and what it has sent, once `hands` can be read; None where that is not whole yet."""

    def stop(self) -> None:
        """Take no more connections."""

    def join(self) -> None:
        """Wait until all that is open is answered."""


class Server(uvicorn.Server):
    """Serves until it is told to stop."""

    def __init__(self, config: uvicorn.Config, give_up: Callable[[], None], front: Front | None) -> None:
        """See `listening.run_until_stopped`."""
        super().__init__(config)
        self._give_up = give_up
        self._front = front

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Hear a signal."""
        self._give_up()
        if self._front is not None:
            self._front.stop()
        super().handle_exit(sig, frame)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to serve."""
        await super().startup(sockets)
        if self._front is not None:
            asyncio.get_running_loop().add_reader(self._front.hands, self._take, self._front)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End, the front before the application."""
        if self._front is not None:
            await asyncio.to_thread(self._front.join)
            asyncio.get_running_loop().remove_reader(self._front.hands)
            self._front.hands.close()
        await super().shutdown(sockets)

    def _take(self, front: Front) -> None:
        taken = front.take()
        if taken is None:
            return
        connection, sent = taken
        connection.setblocking(False)
        loop = asyncio.get_running_loop()
        coming = loop.connect_accepted_socket(lambda: _Handed(self, sent), connection)
        task = cast("asyncio.Task[None]", loop.create_task(coming))  # nobody looks at its result
        self.server_state.tasks.add(task)
        task.add_done_callback(self.server_state.tasks.discard)


class _Handed(HttpToolsProtocol):
    """A connection that has sent something already."""

    def __init__(self, server: Server, sent: bytes) -> None:
        super().__init__(server.config, server.server_state, server.lifespan.state)
        self._sent = sent

    def connection_made(  # type: ignore[override]  # as uvicorn narrows it
        self, transport: asyncio.Transport
    ) -> None:
        """Read what was sent."""
        super().connection_made(transport)
        self.data_received(self._sent)
