"""The front: what it passes on is answered as the framework answers it, everything else is handed over whole."""

from __future__ import annotations

import contextlib
import os
import re
import select
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from litestar.testing import TestClient

from headrace.app.http.application import create_app
from headrace.app.http.front_link import FrontLink
from headrace.app.http.messages import ASK, QUESTION, TELL, Messages, message
from headrace.app.http.plain import More, Plain, plain_request
from headrace.app.listening import listen
from headrace.core.settings import ServingSettings, Settings
from headrace.core.types import Event
from headrace.serving.service import Service

GET = b"GET /v1/users/%s/recommendations%s HTTP/1.1\r\nHost: shop\r\nAccept: */*\r\n\r\n"
POST = b"POST /v1/events HTTP/1.1\r\nHost: shop\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
OTHER = b"GET /v1/health/live HTTP/1.1\r\nHost: shop\r\n\r\n"


def get(user: str = "ann", query: str = "") -> bytes:
    return GET % (user.encode(), query.encode())


def post(body: bytes) -> bytes:
    return POST % len(body) + body


def asked(user: str, k: int = 10, at_least: int = 0) -> bytes:
    return QUESTION.pack(k, at_least) + user.encode()


@pytest.mark.parametrize(
    ("sent", "body"),
    [
        (get(), asked("ann")),
        (get(query="?"), asked("ann")),
        (get(query="?k=3"), asked("ann", 3)),
        (get(query="?at_least=4"), asked("ann", at_least=4)),
        (get(query="?k=3&at_least=4"), asked("ann", 3, 4)),
        (get("a%2Fb%25%C3%A9"), asked("a/b%\u00e9")),
        *(
            (get(query=f"?{query}"), None)
            for query in ("k=03", "k=+3", "k=3&k=4", "k=3&", "&k=3", "k=3&seen=include", "at_least=4&k=3", "k=0")
        ),
        (get("%FF"), None),
        (get("a/b"), None),
        (get().replace(b"GET", b"HEAD"), None),
        (get().replace(b"HTTP/1.1", b"HTTP/1.0"), None),
        (get().replace(b"recommendations", b"recommendations/"), None),
        (b"\r\n" + get(), None),
    ],
)
def test_only_a_plain_question_goes_past_the_framework(sent: bytes, body: bytes | None) -> None:
    assert plain_request(sent, None, 8192) == (None if body is None else Plain(ASK, body, len(sent)))


@pytest.mark.parametrize(
    "header",
    [
        b"Origin: https://a.example",
        b"Connection: close",
        b"Connection: upgrade",
        b"Upgrade: websocket",
        b"Expect: 100-continue",
        b"Transfer-Encoding: chunked",
        b"Content-Length: 5",
        b"Host: twice",
        b"Accept : */*",
        b" folded",
        b"No-Colon",
        b"X: a\x00b",
        b"X: a\nTransfer-Encoding: chunked",
    ],
)
def test_a_request_with_a_header_that_says_more_is_not_plain(header: bytes) -> None:
    fine = get().replace(b"\r\n\r\n", b"\r\nX-Request-Id: 7\r\nConnection: Keep-Alive\r\nX: \r\n\r\n")
    assert isinstance(plain_request(fine, None, 8192), Plain)
    assert plain_request(get().replace(b"\r\n\r\n", b"\r\n" + header + b"\r\n\r\n"), None, 8192) is None


def test_only_a_small_body_of_declared_length_and_kind_is_plain() -> None:
    assert plain_request(post(b"{}") + b"next", None, 8192) == Plain(TELL, b"{}", len(post(b"{}")))
    assert isinstance(plain_request(post(b"{}")[:-1], None, 8192), More)
    assert plain_request(post(b" " * 8192), None, 8192) == Plain(TELL, b" " * 8192, len(post(b" " * 8192)))
    assert plain_request(post(b" " * 8193), None, 8192) is None
    for length in (b"-4", b"9" * 30, b"", b"1_0", b"+2"):
        assert plain_request(post(b"{}").replace(b"Length: 2", b"Length: " + length), None, 8192) is None
    assert plain_request(post(b"{}").replace(b"json", b"json; charset=latin-1"), None, 8192) is None
    assert plain_request(post(b"{}").replace(b"events", b"events/"), None, 8192) is None
    assert plain_request(post(b"{}").replace(b"POST", b"PUT"), None, 8192) is None


def test_a_head_that_does_not_end_is_for_the_framework() -> None:
    assert isinstance(plain_request(get()[:-1], None, 8192), More)
    assert isinstance(plain_request(b"", None, 8192), More)
    assert plain_request(b"GET /" + b"a" * 20_000, None, 8192) is None


def test_with_a_key_only_who_has_it_is_passed_on() -> None:
    with_key = get().replace(b"\r\n\r\n", b"\r\nauthorization: Bearer secret\r\n\r\n")
    assert isinstance(plain_request(with_key, b"Bearer secret", 8192), Plain)
    for wrong in (get(), with_key.replace(b"secret", b"secreT"), with_key.replace(b"Bearer ", b"")):
        assert plain_request(wrong, b"Bearer secret", 8192) is None


def test_messages_come_whole_however_they_are_cut() -> None:
    sent = [(7, 1, 2, b"one"), (8, 0, 0, b""), (2**60, 9, 30, b"x" * 1000)]
    stream = b"".join(message(*one) for one in sent)
    for size in (1, 3, 16, 17, 500, len(stream)):
        messages = Messages()
        found = [one for start in range(0, len(stream), size) for one in messages.of(stream[start : start + size])]
        assert found == sent


class Shop:
    """A service behind a front, on a port of its own."""

    def __init__(self, folder: Path, key: str | None = None, **serving: object) -> None:
        self.settings = Settings(serving=ServingSettings(store=f"sqlite:///{folder}/shop.db", **serving))
        self.service = Service.open(self.settings)
        self.bound = listen("127.0.0.1", 0)
        self.bound.listen()
        self.address = self.bound.getsockname()[:2]
        self.front = FrontLink(self.service, self.bound, key)
        self.front.start()

    def connect(self) -> socket.socket:
        return socket.create_connection(self.address, timeout=20)

    def ask(self, sent: bytes, connection: socket.socket | None = None) -> tuple[int, dict[str, str], bytes]:
        mine = connection or self.connect()
        mine.sendall(sent)
        reply = read(mine)
        if connection is None:
            mine.close()
        return reply

    def close(self) -> None:
        self.front.stop()
        self.bound.close()
        self.front.join()
        self.front.hands.close()
        self.service.close()


def read(connection: socket.socket) -> tuple[int, dict[str, str], bytes]:
    """Read one reply and not a byte of the next."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        byte = connection.recv(1)
        assert byte, head
        head += byte
    first, *lines = head.decode().rstrip().split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines)
    size = int(headers["content-length"])
    body = connection.recv(size, socket.MSG_WAITALL) if size else b""
    return int(first.split()[1]), headers, body


def until(true: Callable[[], object]) -> None:
    deadline = time.monotonic() + 20
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    one = Shop(tmp_path_factory.mktemp("shop"))
    yield one
    one.close()


@pytest.fixture(scope="module")
def framework(shop: Shop) -> Iterator[TestClient]:  # type: ignore[type-arg]
    app = create_app(shop.service, page=False, api_key=None, settings=shop.settings)
    app.on_shutdown.clear()
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("ann/recommendations", 200),
        ("ann/recommendations?k=3", 200),
        ("ann/recommendations?k=2&at_least=3", 200),
        ("nobody%2F%25%C3%A9/recommendations?at_least=3", 200),
        ("ann/recommendations?k=100000", 422),
        (f"{'a' * 2000}/recommendations", 422),
        ("ann/recommendations?at_least=99", 503),
    ],
)
def test_a_plain_question_is_answered_as_the_framework_answers_it(
    shop: Shop,
    framework: TestClient,
    path: str,
    status: int,  # type: ignore[type-arg]
) -> None:
    framework.post("/v1/events", json=[{"user_id": "ann", "item_id": item, "event_id": f"q{item}"} for item in "abc"])
    code, headers, body = shop.ask(f"GET /v1/users/{path} HTTP/1.1\r\nHost: shop\r\n\r\n".encode())
    routed = framework.get(f"/v1/users/{path}")
    assert code == routed.status_code == status
    assert headers.pop("date")
    assert headers == dict(routed.headers)
    ours, theirs = body.decode(), routed.text
    if status == 200:
        ours, theirs = (re.sub('"recommendation_id":"[0-9a-f]{32}"', "", text) for text in (ours, theirs))
        assert len(ours) < len(body)
    assert ours == theirs


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b'{"user_id": "ann", "item_id": "tea"}', 200),
        (
            b'[{"user_id": 1, "item_id": "tea", "time": "2024-01-01"}, {"user_id": "b", "item_id": "c", "value": 2}]',
            200,
        ),
        (b'{"user_id": "ann", "item_id": "tea", "event_id": "taken"}', 409),
        (b'{"user_id": "ann"}', 422),
        (b'[{"user_id": "ann", "item_id": "tea"}, {"user_id": "", "item_id": 1.5, "time": "noon"}]', 422),
        (b"[]", 422),
        (b'{"user_id": "ann", "item_id"', 400),
        (b"\xff\xfe", 400),
        (b"", 400),
    ],
)
def test_a_plain_event_is_answered_as_the_framework_answers_it(
    shop: Shop,
    framework: TestClient,
    body: bytes,
    status: int,  # type: ignore[type-arg]
) -> None:
    framework.post("/v1/events", json={"user_id": "bob", "item_id": "cup", "event_id": "taken"})
    code, headers, ours = shop.ask(post(body))
    routed = framework.post("/v1/events", content=body, headers={"Content-Type": "application/json"})
    assert code == routed.status_code == status
    assert headers["content-type"] == routed.headers["content-type"]
    numbers = re.compile(rb'"sequence":\d+')
    assert numbers.sub(b"", ours) == numbers.sub(b"", routed.content)


def test_requests_are_answered_in_order_however_they_are_sent(shop: Shop) -> None:
    events = [f'{{"user_id": "eve", "item_id": "e{n}"}}'.encode() for n in range(5)]
    sent = b"".join(post(event) + get("eve", "?k=1") for event in events)
    for size in (len(sent), 7, 100):
        with shop.connect() as connection:
            for start in range(0, len(sent), size):
                connection.sendall(sent[start : start + size])
            before = 0
            for _ in events:
                stored, answered = (read(connection)[2] for _ in range(2))
                sequence = int(re.findall(rb'"sequence":(\d+)', stored)[0])
                assert sequence > before
                assert int(re.findall(rb'"events_seen":(\d+)', answered)[0]) >= sequence
                before = sequence


def test_a_question_of_a_client_that_has_gone_is_taken_back(shop: Shop) -> None:
    hold = threading.Event()
    held = shop.service.engine.run(lambda: hold.wait(20))
    connection = shop.connect()
    connection.sendall(get("gone"))
    until(lambda: shop.front._open)
    (waiting,) = shop.front._open.values()
    connection.close()
    until(lambda: waiting.cancelled())
    assert not shop.front._open
    hold.set()
    held.result()
    assert shop.ask(get())[0] == 200


def test_any_other_request_is_handed_over_with_all_that_was_sent(shop: Shop) -> None:
    large = post(b" " * 100_000)
    for sent in (OTHER, get() + OTHER + get(), large):
        with shop.connect() as connection:
            connection.sendall(sent)
            if sent.startswith(b"GET /v1/users"):
                assert read(connection)[0] == 200
                sent = sent[len(get()) :]
            found, rest = None, b""
            while found is None:
                assert select.select([shop.front.hands], [], [], 20)[0]
                found = shop.front.take()
            theirs, rest = found
            while len(rest) < len(sent):
                rest += theirs.recv(1 << 20)
            assert rest == sent
            theirs.sendall(b"hello")
            assert connection.recv(5) == b"hello"
            theirs.close()
            assert connection.recv(1) == b""


def test_a_front_that_dies_is_started_again(shop: Shop) -> None:
    process = shop.front._process
    os.kill(process.pid, signal.SIGKILL)
    until(lambda: shop.front._process is not process)
    assert shop.ask(get())[0] == 200
    assert 'headrace_errors_total{error="front"} ' in shop.service.telemetry.exposition().decode()


def test_an_answer_for_a_front_that_died_goes_to_nobody_else(shop: Shop) -> None:
    process = shop.front._process
    with shop.connect() as connection:
        connection.sendall(get("victim", "?at_least=1000000"))
        until(lambda: shop.front._open)
        until(lambda: shop.service.engine.waiting == 0)  # it is the engine's, and cannot be taken back
        os.kill(process.pid, signal.SIGKILL)
        assert connection.recv(1) == b""
    until(lambda: shop.front._process is not process)
    # The first numbers of the new front are those of the old one.
    started = time.monotonic()
    status, _, body = shop.ask(get("stranger", "?k=1&at_least=1000001"))
    assert (status, time.monotonic() - started > 1.5) == (503, True)
    assert b"event 1000001" in body


def test_a_front_that_does_not_read_is_replaced_and_stops_nobody(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    process = shop.front._process
    with shop.connect() as connection:
        hold = threading.Event()
        held = shop.service.engine.run(lambda: hold.wait(20))
        connection.sendall(get() * 50)
        until(lambda: shop.front._open)
        os.kill(process.pid, signal.SIGSTOP)
        hold.set()
        held.result()
        # More than the pair of sockets holds: the thread that sends it waits for a while, and then no longer.
        sending = threading.Thread(target=shop.front._put, args=(message(0, 200, 0, b" " * 3_000_000),))
        sending.start()
        sending.join(20)
        assert not sending.is_alive()
    until(lambda: shop.front._process is not process)
    assert shop.ask(get())[0] == 200


def test_events_of_a_client_that_does_not_wait_are_stored(shop: Shop) -> None:
    before = shop.service.store.last_sequence()
    for n in range(50):
        with shop.connect() as connection:
            connection.sendall(post(f'{{"user_id": "quick", "item_id": "q{n}"}}'.encode()))
    until(lambda: shop.service.store.last_sequence() == before + 50)


def test_a_connection_is_handed_over_once_all_answers_are_read(shop: Shop) -> None:
    shop.service.add_events([Event(user_id="many", item_id=f"many-{n}") for n in range(400)]).result()
    asked = get("reader", "?k=400")
    with shop.connect() as connection:
        connection.sendall(asked * 300 + OTHER)
        time.sleep(0.5)
        assert not select.select([shop.front.hands], [], [], 0)[0]
        for _ in range(300):
            assert read(connection)[0] == 200
        assert select.select([shop.front.hands], [], [], 20)[0]
        taken = shop.front.take()
        assert taken is not None
        assert taken[1] == OTHER
        taken[0].close()


def test_a_client_that_reads_nothing_takes_little_memory(shop: Shop) -> None:
    def resident() -> int:
        status = Path(f"/proc/{shop.front._process.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0])

    before = resident()
    with shop.connect() as connection:
        connection.settimeout(1)
        with contextlib.suppress(TimeoutError):
            for _ in range(400):
                connection.sendall(get("greedy") * 1000)
        assert shop.ask(get())[0] == 200
        assert resident() - before < 20_000


def test_a_refused_question_says_when_to_come_again(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shop.service.engine._line, "_questions", shop.settings.serving.queue)
    status, headers, body = shop.ask(get())
    assert (status, headers["retry-after"], headers["content-type"]) == (429, "1", "application/problem+json")
    assert b"may wait" in body


def test_a_body_above_the_limit_of_the_service_is_not_passed_on(tmp_path: Path) -> None:
    shop = Shop(tmp_path, max_body_bytes=100)
    small, large = (
        post(b'{"user_id": "ann", "item_id": "tea"}'),
        post(b'{"user_id": "ann", "item_id": "tea"}' + b" " * 99),
    )
    assert shop.ask(small)[0] == 200
    with shop.connect() as connection:
        connection.sendall(large)
        assert select.select([shop.front.hands], [], [], 20)[0]
        taken = shop.front.take()
        assert taken is not None
        taken[0].close()
    shop.close()


def test_the_end_answers_what_is_open(tmp_path: Path) -> None:
    shop = Shop(tmp_path, key="secret")
    asked = get("ann", "?at_least=1").replace(b"\r\n\r\n", b"\r\nAuthorization: Bearer secret\r\n\r\n")
    waiting, idle = shop.connect(), shop.connect()
    waiting.sendall(asked)
    until(lambda: shop.front._open)
    shop.front.stop()
    assert idle.recv(1) == b""
    idle.close()
    shop.service.add_events([Event(user_id="ann", item_id="tea")]).result()
    assert read(waiting)[0] == 200
    waiting.close()
    shop.close()
    assert shop.front._process.returncode == 0
    with pytest.raises(ConnectionError):
        shop.connect()
