"""Train on a large generated log; print the seconds and the largest resident set of each command.

    python benchmarks/bench_memory.py [--users 1_000_000] [--events-per-user 50] [--items 1_000_000] [--steps 40]

Ids only, width 64 (`--preset small`); some items are met much more often than others. The memory that training takes
depends on the data and not on the steps, so a few show it. Writes benchmarks/results/memory.json.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import polars as pl
from bench_prepare import HEADRACE, measure

RESULTS = Path(__file__).resolve().parent / "results" / "memory.json"
USERS_AT_ONCE = 100_000


def generate(path: Path, users: int, per_user: int, items: int) -> None:
    """Write the events as Parquet, some users at a time."""
    parts = path.with_suffix("")
    parts.mkdir(parents=True)
    random = np.random.default_rng(1)
    for first in range(0, users, USERS_AT_ONCE):
        n = min(USERS_AT_ONCE, users - first) * per_user
        popular = (random.random(n) ** 3 * items).astype(np.int64)
        chosen = np.where(random.random(n) < 0.5, popular, random.integers(0, items, n))
        pl.DataFrame(
            {
                "user_id": np.repeat(np.arange(first, first + n // per_user), per_user),
                "item_id": chosen,
                "time": random.integers(1_700_000_000, 1_707_776_000, n),
            }
        ).write_parquet(parts / f"{first:012}.parquet")
    pl.scan_parquet(parts / "*.parquet").sink_parquet(path)
    shutil.rmtree(parts)


def main() -> None:
    """Parse the command line, generate, prepare, train, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=1_000_000)
    parser.add_argument("--events-per-user", type=int, default=50)
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--work", type=Path, default=Path("bench-work/memory"))
    options = parser.parse_args()
    size = f"{options.users}-{options.events_per_user}-{options.items}"
    path, dataset = options.work / f"events-{size}.parquet", options.work / f"data-{size}"
    if not path.exists():
        generate(path, options.users, options.events_per_user, options.items)
    commands = {} if dataset.exists() else {"prepare": ["prepare", str(path), "--out", str(dataset)]}
    commands["train"] = ["train", str(dataset), "--out", str(options.work / "model"), "--preset", "small"]
    commands["train"] += ["--steps", str(options.steps)]
    rows = []
    for name, command in commands.items():
        seconds, memory = measure([HEADRACE, *command])
        rows.append({"command": name, "seconds": round(seconds, 1), "memory_gb": round(memory, 2)})
        print(json.dumps(rows[-1]), flush=True)
    sizes = {name: getattr(options, name) for name in ("users", "events_per_user", "items", "steps")}
    RESULTS.write_text(json.dumps({**sizes, "python": sys.version.split()[0], "runs": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
