"""`kill -9` under load loses no acknowledged event; and each answer waits for the disk."""

from __future__ import annotations

import http.client
import json
import os
import random
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

ROUNDS = 20

# One process imports everything; each line that it reads is a store to serve from on a socket, in a child that dies.
SERVER = """
import os, socket, sys
from headrace.app.http.application import create_app
from headrace.app.listening import run_until_stopped
from headrace.core.settings import ServingSettings, Settings
from headrace.serving.service import Service

def serve(store, port):
    bound = socket.create_server(("127.0.0.1", port))
    settings = Settings(serving=ServingSettings(store=store))
    service = Service.open(settings)
    run_until_stopped(create_app(service, page=False, api_key=None, settings=settings), bound, service.desk.give_up)

for line in sys.stdin:
    store, port = line.split()
    pid = os.fork()
    if not pid:
        serve(store, int(port))
        os._exit(0)
    print(pid, flush=True)
    os.waitpid(pid, 0)
"""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as bound:
        return int(bound.getsockname()[1])


def wait_until_ready(port: int, patience_s: float = 60.0) -> float:
    """Return the seconds until the service on a port said that it is ready."""
    started = time.monotonic()
    while time.monotonic() - started < patience_s:
        try:
            with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=5)) as connection:
                connection.request("GET", "/v1/health/ready")
                if connection.getresponse().status == 200:
                    return time.monotonic() - started
        except OSError:
            time.sleep(0.02)
    raise AssertionError("the service did not become ready")


@pytest.fixture
def forks() -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", SERVER]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield process


def client(port: int, name: str, acknowledged: list[str], stopping: threading.Event) -> None:
    """Send events one after the other and note those that were acknowledged, until the service is gone."""
    try:
        with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as connection:
            while not stopping.is_set():
                count = len(acknowledged)
                ids = [f"{name}-{count}-{place}" for place in range(1 + count % 3)]
                events = [{"user_id": name, "item_id": str(count % 17), "event_id": one} for one in ids]
                headers = {"Content-Type": "application/json"}
                connection.request("POST", "/v1/events", json.dumps(events), headers)
                response = connection.getresponse()
                if response.read() and response.status == 200:
                    acknowledged.extend(ids)
    except (OSError, http.client.HTTPException):
        return


def test_kill_9_under_load_loses_no_acknowledged_event(tmp_path: Path, forks: subprocess.Popen[str]) -> None:
    store, chance = tmp_path / "shop.db", random.Random(1)
    acknowledged: set[str] = set()
    assert forks.stdin is not None
    assert forks.stdout is not None
    for round_ in range(ROUNDS):
        port = free_port()
        forks.stdin.write(f"sqlite:///{store} {port}\n")
        forks.stdin.flush()
        pid = int(forks.stdout.readline())
        wait_until_ready(port)
        stopping = threading.Event()
        lists: list[list[str]] = [[] for _ in range(4)]
        threads = [
            threading.Thread(target=client, args=(port, f"r{round_}c{place}", some, stopping))
            for place, some in enumerate(lists)
        ]
        for thread in threads:
            thread.start()
        time.sleep(chance.uniform(0.05, 0.3))
        os.kill(pid, signal.SIGKILL)
        stopping.set()
        for thread in threads:
            thread.join()
        acknowledged.update(*lists)
        with closing(sqlite3.connect(store)) as connection:
            kept = [event_id for (event_id,) in connection.execute("SELECT event_id FROM events")]
        assert acknowledged <= set(kept)
        assert len(kept) == len(set(kept))
    assert len(acknowledged) > ROUNDS


def test_the_disk_is_synced_between_the_request_and_its_answer(tmp_path: Path) -> None:
    strace = shutil.which("strace")
    if strace is None:
        if os.environ.get("CI"):
            pytest.fail("this test needs strace; `apt-get install strace`")
        pytest.skip("strace is missing; `apt-get install strace`")
    port, log = free_port(), tmp_path / "trace"
    calls = "trace=fsync,fdatasync,read,recvfrom,recvmsg,write,writev,sendto,sendmsg"
    command = [
        strace,
        "-f",
        "--seccomp-bpf",
        "-qq",
        "-s",
        "64",
        "-e",
        calls,
        "-o",
        str(log),
        sys.executable,
        "-c",
        SERVER,
    ]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(f"sqlite:///{tmp_path}/shop.db {port}\n")
        process.stdin.flush()
        pid = int(process.stdout.readline())
        try:
            wait_until_ready(port)
            with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as connection:
                for turn in range(3):
                    body = json.dumps({"user_id": "ann", "item_id": str(turn)})
                    connection.request("POST", "/v1/events", body, {"Content-Type": "application/json"})
                    answer = connection.getresponse().read()
                    assert answer == b'{"accepted":1,"duplicates":0,"sequence":%d}' % (turn + 1)
        finally:
            os.kill(pid, signal.SIGKILL)
    calls_seen = log.read_text(errors="replace").splitlines()
    requests = [place for place, line in enumerate(calls_seen) if "POST /v1/events" in line]
    answers = [place for place, line in enumerate(calls_seen) if re.search(r"(send|write)\w*\(.*HTTP/1\.1 200", line)]
    synced = [place for place, line in enumerate(calls_seen) if re.search(r"f(data)?sync.* = 0", line)]
    assert len(requests) == 3
    for request in requests:
        answer = min(place for place in answers if place > request)
        assert any(request < place < answer for place in synced)
