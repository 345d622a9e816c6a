"""Exchange the model of a service under load; print how long answers wait before, during and after.

    python benchmarks/bench_swap.py --items 100000 --users 100000 --rate 400

The world is that of `bench_serve.py`; the second model is the first under another name, so that the work of a swap
is the whole of it: reading and checking the folder, exchanging, lists of near items, and reading users anew. Writes
results/swap-ITEMS.json.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import threading
import time
import urllib.request
from pathlib import Path

import msgspec
import numpy as np
from bench_serve import HERE, Load, Server, add_world, loads, running, send, served, show
from load.world import World

from headrace.core.formats import MODEL_FILE

SECOND = "second"


def renamed(chosen: World, target: Path) -> None:
    """Copy the world's model under another version."""
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(chosen.model, target)
    about = msgspec.json.decode((target / MODEL_FILE).read_bytes())
    about["version"] = about["version"] + "-second"
    (target / MODEL_FILE).write_bytes(msgspec.json.encode(about))


def swap(server: Server, after_s: float, said: dict[str, float]) -> None:
    """Ask for the second model after some seconds; note when it was asked for and taken."""
    time.sleep(after_s)  # in the middle of the load
    said["asked"] = time.monotonic()
    body = json.dumps({"path": SECOND}).encode()
    request = urllib.request.Request(
        f"http://127.0.0.1:{server.port}/v1/models", body, {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=120) as reply:
        assert reply.status == 200, reply.read()
    said["taken"] = time.monotonic()


def part(name: str, latencies: np.ndarray, statuses: np.ndarray) -> dict[str, float]:
    """Return and print what answers of one part of the time waited."""
    row: dict[str, float] = {"answers": len(latencies), "failed": int((statuses != 200).sum())}
    fine = latencies[statuses == 200]
    for share in (50, 90, 99) if len(fine) else ():
        row[f"p{share}_ms"] = round(float(np.percentile(fine, share)) / 1e6, 2)
    show(name, row)
    return row


def measure(server: Server, load: Load, rate: float, connections: int, quiet_s: float) -> dict[str, dict[str, float]]:
    """Send a load and swap in the middle of it."""
    said: dict[str, float] = {}
    swapping = threading.Thread(target=swap, args=(server, quiet_s, said))
    swapping.start()
    client, found = send(server, load, rate, connections)
    swapping.join()
    share = 1 - load.events.mean()
    moments = client["started"] + np.arange(len(load.requests)) * share / rate
    kept = ~load.events
    moments, latencies, statuses = moments[kept], found["latencies"][kept], found["statuses"][kept]
    print(f"taken {said['taken'] - said['asked']:.1f} s after it was asked for", flush=True)
    parts = {
        "before": moments < said["asked"],
        "while it is read": (moments >= said["asked"]) & (moments < said["taken"]),
        "the ten seconds after": (moments >= said["taken"]) & (moments < said["taken"] + 10),
        "the rest": moments >= said["taken"] + 10,
    }
    return {name: part(name, latencies[which], statuses[which]) for name, which in parts.items()}


def main() -> None:
    """Parse the command line, serve and swap."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, default=400, help="questions a second; half as many events come")
    parser.add_argument("--seconds", type=float, default=60)
    add_world(parser, users=100_000)
    options = parser.parse_args()
    random = np.random.default_rng(3)
    chosen, met, command = served(options)
    renamed(chosen, chosen.folder / SECOND)
    with running(command, {"HEADRACE_SERVING__MODELS": str(chosen.folder)}) as server:
        time.sleep(12)  # lists of near items
        questions = int(options.rate * options.seconds)
        send(server, loads(chosen, met, questions // 2, random), options.rate, options.connections)
        rows = measure(
            server, loads(chosen, met, questions, random), options.rate, options.connections, options.seconds / 3
        )
    about = {name: str(value) for name, value in vars(options).items()}
    result = HERE / "results" / f"swap-{options.items}.json"
    result.write_text(json.dumps({"options": about, "cores": os.cpu_count(), "parts": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
