"""The service's side of the front: starts its process, takes what it passes on, and gives back the answers."""

from __future__ import annotations

import logging
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager

import msgspec
from litestar import Litestar

from headrace.app.http.decoding import LARGE_BYTES, decode_body, event_decoder
from headrace.app.http.messages import ASK, GONE, PIECE, PIECE_BYTES, QUESTION, STOP, TELL, Messages, message
from headrace.app.http.problems import problem_of
from headrace.app.listening import run_until_stopped
from headrace.core.errors import HeadraceError
from headrace.serving.batch import Written
from headrace.serving.questions import Given, Question
from headrace.serving.service import Service

ROUTES = {ASK: "/v1/users/{user_id}/recommendations", TELL: "/v1/events"}
"""The routes of the requests that the front passes on, as the metrics name them."""

_PATIENCE_S = 10
"""How long the front may take to end after it was told to."""
_SENT_S = 2
"""How long the front may leave what it is sent unread; it has nothing else to do, so that then it is broken."""
_RECEIVED = 1 << 18
_encode = msgspec.json.Encoder().encode


class FrontLink:
    """The front of a service, its process among it; one that ends unasked is started again."""

    def __init__(self, service: Service, bound: socket.socket, api_key: str | None) -> None:
        """`bound` is what the front shall listen on; `api_key` as for `create_app`."""
        self._service = service
        self._bound = bound
        self._environment = {name: value for name, value in os.environ.items() if name != "HEADRACE_API_KEY"}
        if api_key is not None:
            self._environment["HEADRACE_API_KEY"] = api_key
        self.hands, self._front_hands = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._coming: dict[int, tuple[socket.socket, bytes]] = {}
        self._decode = event_decoder(service)
        self._largest = min(LARGE_BYTES, service.settings.serving.max_body_bytes)
        self._open: dict[int, Future[Given] | Future[Written]] = {}
        self._unsent: deque[bytes] = deque()
        self._asked: set[int] = set()
        self._held = 0
        self._holding, self._sending = threading.Lock(), threading.Lock()
        self._stopping = threading.Event()
        self._link = self._start_process()
        self._thread = threading.Thread(target=self._run, name="headrace-front", daemon=True)
        service.settle_with(self._together)

    def start(self) -> None:
        """Take connections."""
        self._thread.start()

    def stop(self) -> None:
        """Tell the front to take no more requests; it ends when those that are open are answered."""
        self._stopping.set()
        # In a thread: a signal may have come in the middle of anything, and the front may not read.
        threading.Thread(target=self._put, args=(message(0, STOP, 0),), daemon=True).start()

    def take(self) -> tuple[socket.socket, bytes] | None:
        """Return a connection that is handed over, and what it has sent; None where that is not whole yet."""
        data, handles, _, _ = socket.recv_fds(self.hands, PIECE.size + PIECE_BYTES, 1)
        if not data:
            return None
        number, last = PIECE.unpack_from(data)
        if handles:
            self._coming[number] = socket.socket(fileno=handles[0]), b""
        if number not in self._coming:
            return None  # its socket could not come: too many files are open
        connection, sent = self._coming.pop(number)
        sent += data[PIECE.size :]
        if last:
            return connection, sent
        self._coming[number] = connection, sent
        return None

    def join(self) -> None:
        """Wait until the front has ended."""
        try:
            self._process.wait(_PATIENCE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
        self._thread.join(_PATIENCE_S)
        self._front_hands.close()

    def _start_process(self) -> socket.socket:
        link, theirs = socket.socketpair()
        link.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", _SENT_S, 0))
        handles = [one.fileno() for one in (self._bound, theirs, self._front_hands)]
        command = [sys.executable, "-P", "-m", "headrace.app.http.front", *map(str, [*handles, self._largest])]
        # A front that begins must not die of a signal to all of the group either: it inherits what is blocked here.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM, signal.SIGHUP))
        try:
            self._process = subprocess.Popen(
                command, pass_fds=handles, env=self._environment, stdin=subprocess.DEVNULL, close_fds=True
            )
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        theirs.close()
        return link

    def _run(self) -> None:
        messages = Messages()
        while True:
            try:
                data = self._link.recv(_RECEIVED)
            except ConnectionError:
                data = b""
            if data:
                with self._together():  # what is refused at once
                    for number, kind, _, body in messages.of(data):
                        self._take(number, kind, body)
                continue
            self._forget_all()
            if self._stopping.is_set():
                return
            logging.getLogger(__name__).error("the front ended with code %s, another one starts", self._process.wait())
            self._service.telemetry.errors.labels("front").inc()
            time.sleep(0.1)  # one that cannot start shall not take a core
            with self._sending:  # nothing that was meant for the one before
                self._unsent.clear()
                messages, self._link = Messages(), self._start_process()
            if self._stopping.is_set():
                self._put(message(0, STOP, 0))

    def _forget_all(self) -> None:
        """Nobody waits any more for what the front that has ended had passed on."""
        self._link.close()
        left, self._open = self._open, {}
        for number in tuple(self._asked):
            if number in left:
                left[number].cancel()
        self._asked.clear()
        for connection, _ in self._coming.values():
            connection.close()
        self._coming.clear()

    def _take(self, number: int, kind: int, body: bytes) -> None:
        if kind == GONE:
            self._gone(number)
            return
        started = time.perf_counter()
        try:
            future = self._ask(body) if kind == ASK else self._service.add_events(decode_body(body, self._decode))
        except Exception as error:  # answered and logged as the framework does: no other request is disturbed
            self._fail(number, kind, started, error)
            return
        self._open[number] = future
        if kind == ASK:
            self._asked.add(number)
        future.add_done_callback(lambda done: self._settled(number, kind, started, done))

    def _gone(self, number: int) -> None:
        """Take a question back whose client has gone; events are stored all the same."""
        waiting = self._open.get(number)
        if waiting is not None and number in self._asked:
            waiting.cancel()

    def _ask(self, body: bytes) -> Future[Given]:
        k, at_least = QUESTION.unpack_from(body)
        return self._service.recommend(Question(body[QUESTION.size :].decode(), k=k, at_least=at_least))

    def _settled(self, number: int, kind: int, started: float, done: Future[Given] | Future[Written]) -> None:
        if self._open.get(number) is not done:
            return  # of a front that has ended
        del self._open[number]
        self._asked.discard(number)
        if done.cancelled():
            return
        try:
            given = done.result()
        except Exception as error:  # whatever it is, the client hears of it
            self._fail(number, kind, started, error)
            return
        self._put(message(number, 200, 0, _encode(given)))
        self._service.telemetry.request_seconds.labels(ROUTES[kind]).observe(time.perf_counter() - started)

    def _fail(self, number: int, kind: int, started: float, error: Exception) -> None:
        self._service.telemetry.errors.labels(type(error).__name__).inc()
        if not isinstance(error, HeadraceError):
            logging.getLogger(__name__).error("%s failed", ROUTES[kind], exc_info=error)
        problem, headers = problem_of(error)
        self._service.telemetry.request_seconds.labels(ROUTES[kind]).observe(time.perf_counter() - started)
        self._put(message(number, problem.status, int(headers.get("Retry-After", 0)), _encode(problem)))

    def _put(self, one: bytes) -> None:
        self._unsent.append(one)
        if not self._held:
            self._send()

    @contextmanager
    def _together(self) -> Iterator[None]:
        """Send what is settled meanwhile at once, at the end."""
        with self._holding:
            self._held += 1
        try:
            yield
        finally:
            with self._holding:
                self._held -= 1
            self._send()

    def _send(self) -> None:
        with self._sending:
            some = [self._unsent.popleft() for _ in range(len(self._unsent))]
            try:
                self._link.sendall(b"".join(some))
            except OSError:  # it has ended, and with it the connections that waited for this; or it does not read
                self._process.kill()


def serve(app: Litestar, service: Service, bound: socket.socket, api_key: str | None) -> None:
    """Serve behind a front until stopped; see `listening.run_until_stopped`."""
    front = FrontLink(service, bound, api_key)
    front.start()
    run_until_stopped(app, None, service.desk.give_up, front)
