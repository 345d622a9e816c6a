"""Offer a service ten times what it can answer; print what those wait who are let in, and what the rest are told.

    python benchmarks/bench_overload.py --items 100000 --users 100000 --rate 400 --seconds 10

The world is that of `bench_serve.py`. A first load at a fixed rate that the service keeps up with is what the second,
ten times as many questions and events a second, is held against, and a third like the first shows whether anything is
left of it. A request waits for a connection in the client where all are busy: so there are many connections, and the
latency of those let in counts from the moment the request was due. Writes results/overload-ITEMS.json.
"""

from __future__ import annotations

import argparse
import json
import os
import time

import numpy as np
from bench_serve import HERE, Load, Server, add_world, loads, running, send, served, show

TIMES = 10
STATUSES = (200, 429, 503)


def offer(server: Server, load: Load, rate: float, connections: int) -> dict[str, float]:
    """Send a load; return what became of questions and events, and the memory before and after."""
    before = server.memory_gb
    said, found = send(server, load, rate, connections)
    row: dict[str, float] = {"offered_per_s": round(len(load.requests) / said["wall_s"], 1)}
    for name, kind in (("answer", ~load.events), ("event", load.events)):
        statuses, latencies = found["statuses"][kind], found["latencies"][kind] / 1e6
        fine = latencies[statuses == 200]
        row[f"{name}s_per_s"] = round(len(fine) / said["wall_s"], 1)
        for share in (50, 99) if len(fine) else ():
            row[f"{name}_p{share}_ms"] = round(float(np.percentile(fine, share)), 2)
        row |= {f"{name}s_{status}": int((statuses == status).sum()) for status in STATUSES[1:]}
        row[f"{name}s_other"] = int((~np.isin(statuses, STATUSES)).sum())
    return row | {"memory_before_gb": round(before, 3), "memory_after_gb": round(server.memory_gb, 3)}


def main() -> None:
    """Parse the command line, serve and ask."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, default=400, help="questions a second that the service keeps up with")
    parser.add_argument("--seconds", type=float, default=20, help="of each load")
    add_world(parser, users=100_000)
    parser.set_defaults(connections=1024)
    options = parser.parse_args()
    random = np.random.default_rng(3)
    chosen, met, command = served(options)
    rows = {}
    with running(command, {"HEADRACE_SERVING__STATE_BYTES": "2000000000"}) as server:
        time.sleep(12)  # lists of near items are made meanwhile, and the service does not say when they are there
        loads_of = {"warm-up": 1, "within its power": 1, f"{TIMES} times as much": TIMES, "afterwards": 1}
        for name, times in loads_of.items():
            rate = options.rate * times
            load = loads(chosen, met, int(rate * options.seconds), random)
            rows[name] = offer(server, load, rate, options.connections)
            show(name, rows[name])
    about = {name: str(value) for name, value in vars(options).items()}
    result = HERE / "results" / f"overload-{options.items}.json"
    result.write_text(json.dumps({"options": about, "cores": os.cpu_count(), "loads": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
