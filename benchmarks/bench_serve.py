"""Ask a service of many users and items for lists at a fixed rate, while events come; print how long each waited.

    python benchmarks/bench_serve.py --items 100000 --rate 2500 [--users 1000000 --seconds 20 --runs 5]

The service runs in one process, the client in another (`load/client.py`), both on this machine. Two questions (k = 20)
go with one event; users come by Zipf's law. Latency counts from the moment a request was due. Prints per run and in the
median what was reached, the latencies, how many lists needed a history read anew, and CPU seconds of both; beside it
an empty handler that answers as many bytes. Writes benchmarks/results/serve-ITEMS-USERS-RATE.json.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
from load.world import World, copies_of, trained_model, world, zipf_users

from headrace.data.dataset import Dataset

HERE = Path(__file__).resolve().parent
WARM_UPS = 3
"""Runs before those that count: lists of near items are made, and states are read."""
PATIENCE_S = 3600
"""How long a start may take: the first one imports the events."""
TICKS = os.sysconf("SC_CLK_TCK")
HEADRACE = str(Path(sys.executable).with_name("headrace"))


@dataclass(frozen=True)
class Server:
    """A running server."""

    process: subprocess.Popen[str]
    port: int

    @property
    def cpu_s(self) -> float:
        """CPU seconds that it and its front have taken so far."""
        return sum(sum(map(int, _stat(pid)[11:13])) for pid in self._pids) / TICKS

    @property
    def memory_gb(self) -> float:
        """Their resident memory."""
        statuses = [Path(f"/proc/{pid}/status").read_text() for pid in self._pids]
        return sum(int(status.partition("VmRSS:")[2].split()[0]) for status in statuses) / 1e6

    @property
    def _pids(self) -> list[int]:
        found = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]
        return [self.process.pid, *(pid for pid in found if _parent(pid) == self.process.pid)]

    def metric(self, name: str) -> float:
        """Return one of its metrics."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics") as reply:
                found = re.search(rf"^{name}(?:{{[^}}]*}})? (\S+)$", reply.read().decode(), re.MULTILINE)
        except urllib.error.HTTPError:  # the empty handler has none
            return 0.0
        return float(found[1]) if found else 0.0


def _stat(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def _parent(pid: int) -> int | None:
    try:
        return int(_stat(pid)[1])
    except FileNotFoundError:  # it has ended meanwhile
        return None


@contextmanager
def running(command: Sequence[str], environment: dict[str, str]) -> Iterator[Server]:
    """Start a server that says where it listens, and end it."""
    process = subprocess.Popen(
        command, env=os.environ | environment, stdout=subprocess.PIPE, stderr=None, text=True, cwd=HERE
    )
    try:
        assert process.stdout is not None
        started = time.monotonic()
        for line in process.stdout:
            if at := re.search(r"listening on http://127\.0\.0\.1:(\d+);", line):
                server = Server(process, int(at[1]))
                print(f"up after {time.monotonic() - started:.1f} s, {server.memory_gb:.2f} GB", flush=True)
                break
        else:
            raise SystemExit("the server ended before it listened")
        yield server
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(120)


@dataclass(frozen=True)
class Load:
    """Requests in the order they are sent; `events` (n,) says which of them are events."""

    requests: list[bytes]
    events: np.ndarray

    def at(self, rate: float, target: Path) -> None:
        """Write them for the client, evenly spaced so that `rate` questions are due in a second; events if all are."""
        share = (1 - self.events.mean()) or 1.0
        moments = np.arange(len(self.requests)) * (1e9 * share / rate)
        offsets = np.concatenate(([0], np.cumsum([len(one) for one in self.requests])))
        joined = np.frombuffer(b"".join(self.requests), np.uint8)
        np.savez(target, requests=joined, offsets=offsets, moments=moments.astype(np.int64))


def add_world(parser: argparse.ArgumentParser, *, users: int) -> None:
    """Let the command line say which world is served."""
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--users", type=int, default=users)
    parser.add_argument("--connections", type=int, default=256)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--minutes-of-training", type=float, default=10, help="once")
    parser.add_argument("--dataset", type=Path, default=Path("bench-work/quality/datasets/groceries"))
    parser.add_argument("--work", type=Path, default=Path("bench-work/serve"))


def served(options: argparse.Namespace) -> tuple[World, np.ndarray, list[str]]:
    """Return the world, made once, the items of real events, and the command that serves it."""
    work = options.work.resolve()
    trained = trained_model(options.dataset, work, width=options.width, minutes=options.minutes_of_training)
    chosen = world(options.dataset, trained, work, items=options.items, users=options.users)
    command = [HEADRACE, "serve", str(chosen.model), "--store", f"sqlite:///{chosen.store}", "--port", "0"]
    met: np.ndarray = Dataset.open(options.dataset).log().items
    return chosen, met, [*command, "--history", str(chosen.dataset)]  # imported once


def question(user: int) -> bytes:
    """Return the request of a list."""
    return f"GET /v1/users/{user}/recommendations?k=20 HTTP/1.1\r\nHost: headrace\r\n\r\n".encode()


def event(user: int, item: int) -> bytes:
    """Return the request that tells an event."""
    body = f'{{"user_id":"{user}","item_id":"{item}"}}'
    return (
        f"POST /v1/events HTTP/1.1\r\nHost: headrace\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n{body}"
    ).encode()


def loads(chosen: World, items: np.ndarray, questions: int, random: np.random.Generator) -> Load:
    """Return so many questions, with an event before each second one; `items` are those of real events."""
    each = questions // 2
    users = zipf_users(chosen.users, 3 * each, random).reshape(each, 3)
    met = copies_of(random.choice(items, each), chosen.trained, chosen.items, random)
    requests: list[bytes] = []
    for (first, second, third), item in zip(users.tolist(), met.tolist(), strict=True):
        requests += (event(first, item), question(second), question(third))
    return Load(requests, np.tile([True, False, False], each))


def play(server: Server, load: Load, rate: float, connections: int) -> dict[str, float]:
    """Send a load and return what was seen."""
    rebuilt, cpu, started = server.metric("headrace_states_rebuilt"), server.cpu_s, time.monotonic()
    said, found = send(server, load, rate, connections)
    wall = said["wall_s"]
    cpu = server.cpu_s - cpu
    fine, latencies = found["statuses"] == 200, found["latencies"] / 1e6
    answers = ~load.events
    row = {
        "answers_per_s": round(float((fine & answers).sum()) / wall, 1),
        "events_per_s": round(float((fine & load.events).sum()) / wall, 1),
        "failed": int((~fine).sum()),
    }
    for name, kind in (("answer", answers), ("event", load.events)):
        for share in (50, 90, 99):
            some = latencies[kind & fine]
            row[f"{name}_p{share}_ms"] = round(float(np.percentile(some, share)), 2) if len(some) else float("nan")
    rebuilt = server.metric("headrace_states_rebuilt") - rebuilt
    return row | {
        "anew_share": round(rebuilt / max(1, int(answers.sum())), 3),
        "reply_bytes": round(float(found["sizes"][answers].mean())),
        "server_cpu": round(cpu / wall, 3),
        "client_cpu": round(said["cpu_s"] / wall, 3),
        "cpu_us_per_answer": round(1e6 * cpu / max(1, int((fine & answers).sum())), 1),
        "memory_gb": round(server.memory_gb, 2),
        "wall_s": round(time.monotonic() - started, 1),
    }


def send(server: Server, load: Load, rate: float, connections: int) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """Send a load; return what the client says of itself, and of each request its latency, status and size."""
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "requests.npz", Path(folder) / "answers.npz"
        load.at(rate, source)
        command = [sys.executable, "-m", "load.client", str(server.port), str(connections), str(source), str(target)]
        said = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, cwd=HERE).stdout)
        return said, dict(np.load(target))


def show(name: str, row: dict[str, float]) -> None:
    """Print what one run saw."""
    print(name + ": " + ", ".join(f"{key} {value:g}" for key, value in row.items()), flush=True)


def medians(rows: list[dict[str, float]]) -> dict[str, float]:
    """Return the median of each number over the runs."""
    return {key: median(row[key] for row in rows) for key in rows[0]}


def main() -> None:
    """Parse the command line, serve and ask."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_world(parser, users=1_000_000)
    parser.add_argument("--rate", type=float, default=2500, help="questions a second; half as many events come")
    parser.add_argument("--seconds", type=float, default=20, help="of each run")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--state-bytes", type=int, default=2_000_000_000)
    parser.add_argument("--wait", type=float, default=0, help="seconds before the first run, while lists are made")
    parser.add_argument("--counts-only", action="store_true", help="serve no model")
    options = parser.parse_args()
    random = np.random.default_rng(3)
    chosen, met, command = served(options)
    questions = int(options.rate * options.seconds)
    if options.counts_only:
        command.remove(str(chosen.model))
    with running(command, {"HEADRACE_SERVING__STATE_BYTES": str(options.state_bytes)}) as server:
        time.sleep(options.wait)  # for lists of near items, which among millions take minutes
        for _ in range(WARM_UPS):
            show("warm-up", play(server, loads(chosen, met, questions, random), options.rate, options.connections))
        rows = []
        for run in range(options.runs):
            rows.append(play(server, loads(chosen, met, questions, random), options.rate, options.connections))
            show(f"run {run + 1}", rows[-1])
        asked = loads(chosen, met, questions, random)
        kept = [one for one, told in zip(asked.requests, asked.events, strict=True) if not told]
        alone = Load(kept, np.zeros(len(kept), np.bool_))
        only = play(server, alone, options.rate, options.connections)
        show("no events", only)
    with running([sys.executable, "-m", "load.empty"], {}) as server:
        empty = play(server, alone, options.rate, options.connections)
        show("empty handler", empty)
    middle = medians(rows)
    show("median", middle)
    for key in ("answers_per_s", "answer_p99_ms", "event_p99_ms", "anew_share"):
        print(f"{key}: {min(row[key] for row in rows):g} .. {max(row[key] for row in rows):g} over the runs")
    print(f"CPU of an answer over the empty handler's: {only['cpu_us_per_answer'] / empty['cpu_us_per_answer']:.1f}")
    result = HERE / "results" / f"serve-{options.items}-{options.users}-{options.rate:g}.json"
    about = {name: str(value) for name, value in vars(options).items()}
    result.write_text(
        json.dumps({"options": about, "runs": rows, "median": middle, "no_events": only, "empty": empty}, indent=1)
        + "\n"
    )


if __name__ == "__main__":
    main()
