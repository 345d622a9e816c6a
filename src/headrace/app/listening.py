"""Listen on an address and run the service there until it is told to stop."""

from __future__ import annotations

import errno
import gc
import ipaddress
import signal
import socket
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, NoReturn

from headrace.core.errors import SettingsError

if TYPE_CHECKING:
    from litestar import Litestar

    from headrace.app.http_server import Front


BACKLOG = 2048
"""Connections that may wait to be taken."""


def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach `host`."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def listen(host: str, port: int) -> socket.socket:
    """Return a bound socket; port 0 takes a free one. It is bound before the long start, so that a slip shows at once.

    Raises:
        SettingsError: the port is in use or not allowed, or the host is not of this machine.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        bound = socket.socket(family, kind, protocol)
    except OSError as error:
        raise SettingsError(f"cannot listen on {host}: {error.strerror}; see --host") from None
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
    except OSError as error:
        bound.close()
        if error.errno == errno.EADDRINUSE:
            raise SettingsError(f"port {port} of {host} must be free, it is in use; name another with --port") from None
        raise SettingsError(f"cannot listen on {host} port {port}: {error.strerror}; see --host and --port") from None
    return bound


def address_of(bound: socket.socket) -> str:
    """Return the address that a browser takes."""
    host, port = bound.getsockname()[:2]
    return address_at(host, port)


def address_at(host: str, port: int) -> str:
    """Return the address on this machine of a service that listens on `host` and `port`."""
    shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
    return f"http://{shown}:{port}"


def run_until_stopped(
    application: Litestar, bound: socket.socket | None, give_up: Callable[[], None], front: Front | None = None
) -> None:
    """Serve until Ctrl-C or SIGTERM, and return after the open requests are answered, so that the caller can close.

    Args:
        application: what answers.
        bound: the socket to listen on; None where all connections come from a front.
        give_up: called at the signal, to end requests that may take minutes.
        front: hands connections over, and ends before the application does.
    """
    import uvicorn

    from headrace.app.http_server import Server

    config = uvicorn.Config(
        application,
        http="httptools",
        loop="uvloop",
        lifespan="on",
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=10,
        backlog=BACKLOG,
    )
    # uvicorn raises the signal again once it has ended; without a handler, SIGTERM would then end us before the close.
    before = signal.signal(signal.SIGTERM, _leave)
    settle_process()
    try:
        Server(config, give_up, front).run(sockets=[] if bound is None else [bound])
    except KeyboardInterrupt:
        pass
    finally:
        signal.signal(signal.SIGTERM, before)


def settle_process() -> None:
    """Let neither the garbage collector nor a thread that goes on and on hold up answers; called before the first."""
    # What stands now, stays: to look through a million items for garbage would stop the service for tenths of a second.
    gc.collect()
    gc.freeze()
    # The same for what comes to stay later: only each billionth object or so leads to a look at all of them.
    gc.set_threshold(10_000, 10, 10_000)
    # Three threads answer: one whose turn it is must not wait 5 ms for another that goes on and on.
    sys.setswitchinterval(0.0001)


def _leave(*_: object) -> NoReturn:
    raise KeyboardInterrupt
