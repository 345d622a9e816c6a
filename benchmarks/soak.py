"""Serve at a steady load for an hour, and hold the memory against that of its tenth minute; ends with 1 beyond 5 %.

    make soak          or: python benchmarks/soak.py [--minutes 60 --rate 500]

The world and the load are those of `bench_serve.py`. Prints each minute what was answered, how long it took and the
memory of the service and its front; writes results/soak.json.
"""

from __future__ import annotations

import argparse
import json
import sys
import time

import numpy as np
from bench_serve import HERE, add_world, loads, play, running, served, show

SETTLED = 10
"""The minute by which the caches are full."""
MOST_GROWTH = 0.05


def main() -> int:
    """Parse the command line and serve; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=int, default=60)
    parser.add_argument("--rate", type=float, default=500, help="questions a second; half as many events come")
    parser.add_argument("--state-bytes", type=int, default=1_000_000_000)
    add_world(parser, users=100_000)
    options = parser.parse_args()
    random = np.random.default_rng(3)
    chosen, met, command = served(options)
    rows: list[dict[str, float]] = []
    with running(command, {"HEADRACE_SERVING__STATE_BYTES": str(options.state_bytes)}) as server:
        for minute in range(1, options.minutes + 1):
            began = time.monotonic()
            load = loads(chosen, met, int(options.rate * 55), random)
            rows.append(play(server, load, options.rate, options.connections))
            show(f"minute {minute}", rows[-1])
            time.sleep(max(0.0, began + 60 - time.monotonic()))  # a row is a minute
    memory = [row["memory_gb"] for row in rows]
    settled = memory[min(SETTLED, len(memory)) - 1]
    growth = memory[-1] / settled - 1
    failed = sum(row["failed"] for row in rows[1:])
    print(f"memory {settled:.2f} GB in minute {SETTLED}, {memory[-1]:.2f} GB at last: {growth:+.1%}; failed {failed:g}")
    (HERE / "results" / "soak.json").write_text(json.dumps({"minutes": rows, "growth": growth}, indent=1) + "\n")
    return int(growth > MOST_GROWTH)


if __name__ == "__main__":
    sys.exit(main())
