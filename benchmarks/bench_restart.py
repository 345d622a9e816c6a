"""Kill a service with `kill -9` under load, again and again; print how long each restart took and what was lost.

    python benchmarks/bench_restart.py --store demo.db [--model MODEL] [--rounds 20] [--seconds 2]

Works on a copy of the store. Clients send events one after the other and ask for lists; an event that was acknowledged
must be in the store after the kill. Writes benchmarks/results/restart.json.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import random
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import closing
from pathlib import Path

HERE = Path(__file__).resolve().parent
HEADRACE = str(Path(sys.executable).with_name("headrace"))
CLIENTS = 4
PATIENCE_S = 120.0


def free_port() -> int:
    """Return a port on which nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as bound:
        return int(bound.getsockname()[1])


def copy_of(store: Path, folder: Path) -> Path:
    """Return a consistent copy of a SQLite store, with the snapshot of counts and the vectors that stand beside it."""
    target = folder / store.name
    for beside in store.parent.glob(f"{store.name}.*"):
        if beside.is_dir():
            shutil.copytree(beside, folder / beside.name)
        elif beside.suffix != ".lock":
            shutil.copy2(beside, folder)
    with closing(sqlite3.connect(store)) as source, closing(sqlite3.connect(target)) as copy:
        source.backup(copy)
    return target


def some_items(store: Path, count: int = 1000) -> list[str]:
    """Return ids of items that the store's catalogue knows."""
    with closing(sqlite3.connect(store)) as connection:
        return [row[0] for row in connection.execute("SELECT item_id FROM items LIMIT ?", (count,))]


def wait_until_ready(port: int, started: float) -> float:
    """Return the seconds from `started` until the service said that it is ready."""
    while time.monotonic() - started < PATIENCE_S:
        try:
            with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=5)) as connection:
                connection.request("GET", "/v1/health/ready")
                if connection.getresponse().status == 200:
                    return time.monotonic() - started
        except OSError:
            time.sleep(0.01)  # nobody listens yet: nothing to wait on but the clock
    raise SystemExit(f"the service was not ready after {PATIENCE_S:.0f} s")


def load(port: int, name: str, items: list[str], acknowledged: list[str], questions: list[float]) -> None:
    """Send an event and ask for the list that follows, until the service is gone."""
    chance = random.Random(name)
    try:
        with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as connection:
            for turn in range(1_000_000):
                event = {"user_id": name, "item_id": chance.choice(items), "event_id": f"{name}-{turn}"}
                body, headers = json.dumps([event]), {"Content-Type": "application/json"}
                connection.request("POST", "/v1/events", body, headers)
                response = connection.getresponse()
                if response.read() and response.status == 200:
                    acknowledged.append(f"{name}-{turn}")
                asked = time.monotonic()
                connection.request("GET", f"/v1/users/{name}/recommendations?k=10")
                connection.getresponse().read()
                questions.append(time.monotonic() - asked)
    except (OSError, http.client.HTTPException):
        return


def kept(store: Path, round_: int) -> list[str]:
    """Return the ids of the events of one round that the store holds."""
    with closing(sqlite3.connect(store)) as connection:
        rows = connection.execute("SELECT event_id FROM events WHERE event_id GLOB ?", (f"kill-{round_}-*",))
        return [event_id for (event_id,) in rows]


def one_round(round_: int, command: list[str], store: Path, items: list[str], seconds: float) -> dict[str, float]:
    """Start, load for some seconds, kill; return what was seen."""
    port, started = free_port(), time.monotonic()
    with subprocess.Popen(
        [*command, "--port", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT
    ) as service:
        ready = wait_until_ready(port, started)
        lists: list[list[str]] = [[] for _ in range(CLIENTS)]
        times: list[float] = []
        threads = [
            threading.Thread(target=load, args=(port, f"kill-{round_}-{place}", items, some, times))
            for place, some in enumerate(lists)
        ]
        for thread in threads:
            thread.start()
        time.sleep(seconds)  # the load runs meanwhile
        os.kill(service.pid, signal.SIGKILL)
        for thread in threads:
            thread.join()
    acknowledged, found = [one for some in lists for one in some], kept(store, round_)
    return {
        "round": round_,
        "ready_s": round(ready, 2),
        "acknowledged": len(acknowledged),
        "lost": len(set(acknowledged) - set(found)),
        "twice": len(found) - len(set(found)),
        "questions": len(times),
        "median_answer_ms": round(1000 * sorted(times)[len(times) // 2], 1) if times else float("nan"),
    }


def main() -> None:
    """Parse the command line, go through the rounds and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", type=Path, required=True, help="a SQLite store, as `headrace demo` leaves it")
    parser.add_argument("--model", type=Path, help="a model folder to serve")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=2, help="of load before each kill, on average")
    options = parser.parse_args()
    chance, rows = random.Random(1), []
    with tempfile.TemporaryDirectory() as folder:
        store = copy_of(options.store, Path(folder))
        command = [HEADRACE, "serve", "--store", f"sqlite:///{store}"]
        command += [str(options.model)] if options.model else []
        items = some_items(store)
        print("| " + " | ".join(("round", "ready s", "acknowledged", "lost", "twice", "lists", "median ms")) + " |")
        print("| --- " * 7 + "|")
        for round_ in range(options.rounds):
            rows.append(one_round(round_, command, store, items, options.seconds * chance.uniform(0.5, 1.5)))
            print("| " + " | ".join(str(value) for value in rows[-1].values()) + " |", flush=True)
    (HERE / "results" / "restart.json").write_text(json.dumps(rows, indent=1) + "\n")
    slowest = max(row["ready_s"] for row in rows)
    print(f"\nslowest restart {slowest} s; lost {sum(row['lost'] for row in rows):.0f} acknowledged events")


if __name__ == "__main__":
    main()
