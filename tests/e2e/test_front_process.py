"""A service behind its front, as `headrace serve` starts it."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import time
from pathlib import Path
from urllib.parse import urlsplit

from running import Running, running


def fronts(started: Running) -> list[int]:
    """Return the processes of the service's front."""
    found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(started.process.pid)], capture_output=True, text=True)
    return [int(pid) for pid in found.stdout.split()]


def alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def gone(pid: int) -> bool:
    deadline = time.monotonic() + 20
    while alive(pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    return not alive(pid)


def test_one_connection_may_ask_for_everything_in_turn(tmp_path: Path) -> None:
    with running(["serve", "--port", "0", "--store", f"sqlite:///{tmp_path}/shop.db"], tmp_path) as started:
        at = urlsplit(started.url)
        assert at.hostname is not None
        client = http.client.HTTPConnection(at.hostname, at.port, timeout=20)

        def call(method: str, path: str, body: object = None) -> tuple[int, bytes]:
            sent = None if body is None else json.dumps(body)
            client.request(method, path, sent, {} if body is None else {"Content-Type": "application/json"})
            reply = client.getresponse()
            return reply.status, reply.read()

        assert call("POST", "/v1/events", {"user_id": "ann", "item_id": "tea"})[0] == 200
        assert json.loads(call("GET", "/v1/users/bob/recommendations?k=1")[1])["items"][0]["item_id"] == "tea"
        assert call("PUT", "/v1/items/cup", {"title": "A cup"})[0] == 200
        assert json.loads(call("GET", "/v1/users/bob/recommendations")[1])["events_seen"] == 1
        many = [{"user_id": "eve", "item_id": f"item-{n}"} for n in range(5000)]
        status, body = call("POST", "/v1/events", many)
        assert (status, json.loads(body)["accepted"]) == (200, 5000)
        assert call("HEAD", "/v1/health/ready") == (200, b"")
        metrics = call("GET", "/metrics")[1]
        assert b'headrace_request_seconds_count{route="/v1/events"} 2.0' in metrics
        assert b'headrace_request_seconds_count{route="/v1/users/{user_id}/recommendations"} 2.0' in metrics
        client.close()
        (front,) = fronts(started)
        assert started.stop() == 0
        assert gone(front)


def test_the_front_goes_with_a_service_that_is_killed_and_frees_the_port(tmp_path: Path) -> None:
    arguments: list[str | Path] = ["serve", "--store", f"sqlite:///{tmp_path}/shop.db", "--port"]
    with running([*arguments, "0"], tmp_path) as started:
        (front,) = fronts(started)
        os.kill(started.process.pid, signal.SIGKILL)
        started.process.wait(20)
        assert gone(front)
    with running([*arguments, started.url.rpartition(":")[2]], tmp_path) as again:
        assert again.url == started.url


def test_a_signal_to_the_whole_group_ends_both_cleanly(tmp_path: Path) -> None:
    with running(["serve", "--port", "0", "--store", f"sqlite:///{tmp_path}/shop.db"], tmp_path) as started:
        (front,) = fronts(started)
        for pid in (front, started.process.pid):
            os.kill(pid, signal.SIGINT)
        assert started.process.wait(20) in (0, 130)
        assert gone(front)
        assert "Traceback" not in started.output
