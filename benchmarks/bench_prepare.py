"""Time `headrace prepare` beside a bare Polars scan, unique, sort and write of the same file; print seconds and memory.

    python benchmarks/bench_prepare.py [--events 100_000_000] [--work bench-work/prepare] [--repeats 1]

The events are generated: ids of 12 characters, a fiftieth as many users as events, a two-hundredth as many items, three
types, a rating in every tenth, one row in a hundred twice. All cleaning steps run, the k-core among them. Each command
is a process of its own, in turns; its memory is its largest resident set. Bare Polars may take what memory it likes.
Writes benchmarks/results/prepare.json.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import polars as pl

RESULTS = Path(__file__).resolve().parent / "results" / "prepare.json"
HEADRACE = str(Path(sys.executable).with_name("headrace"))
KINDS = ("csv", "parquet")
AT_ONCE = 5_000_000
RARE = {"HEADRACE_DATA__MIN_USER_EVENTS": "2", "HEADRACE_DATA__MIN_ITEM_EVENTS": "2"}
BARE = """
import sys, polars as pl
source, out = sys.argv[1:]
scan = pl.scan_csv(source) if source.endswith("csv") else pl.scan_parquet(source)
scan.unique().sort("user_id", "time").sink_parquet(out)
"""


def generate(events: int, work: Path) -> dict[str, Path]:
    """Write the events in both forms, where they are not there yet."""
    files = {kind: work / f"events-{events}.{kind}" for kind in KINDS}
    if all(path.exists() for path in files.values()):
        return files
    parts = work / "parts"
    shutil.rmtree(parts, ignore_errors=True)
    parts.mkdir(parents=True)
    random = np.random.default_rng(1)
    with files["csv"].open("wb") as text:
        for start in range(0, events, AT_ONCE):
            frame = _some(min(AT_ONCE, events - start), events, random)
            frame.write_csv(text, include_header=not start)
            frame.write_parquet(parts / f"{start:012}.parquet")
    pl.scan_parquet(parts / "*.parquet").sink_parquet(files["parquet"])
    shutil.rmtree(parts)
    return files


def _some(rows: int, events: int, random: np.random.Generator) -> pl.DataFrame:
    new = rows - rows // 100
    rare = random.random(new) ** 3  # some items are met much more often than others
    frame = pl.DataFrame(
        {
            "user": random.integers(0, max(1, events // 50), new),
            "item": (rare * max(1, events // 200)).astype(np.int64),
            "type": random.choice(np.array(["view", "cart", "rating"]), new, p=[0.8, 0.1, 0.1]),
            "value": random.integers(1, 6, new),
            "time": random.integers(1_700_000_000, 1_707_776_000, new),
        }
    ).select(
        user_id="u" + pl.col("user").cast(pl.String).str.zfill(11),
        item_id="i" + pl.col("item").cast(pl.String).str.zfill(11),
        type="type",
        value=pl.when(type="rating").then("value"),
        time="time",
    )
    return pl.concat([frame, frame.head(rows - new)])


def measure(command: list[str], environment: Mapping[str, str] = os.environ) -> tuple[float, float]:
    """Run a command; return its seconds and its largest resident set in GB."""
    begun = time.perf_counter()
    process = os.posix_spawn(command[0], command, environment, file_actions=[(os.POSIX_SPAWN_CLOSE, 1)])
    _, status, used = os.wait4(process, 0)
    if status:
        raise SystemExit(f"{' '.join(command)} ended with {os.waitstatus_to_exitcode(status)}")
    return time.perf_counter() - begun, used.ru_maxrss * 1024 / 1e9


def main() -> None:
    """Parse the command line, generate, measure in turns, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=100_000_000)
    parser.add_argument("--work", type=Path, default=Path("bench-work/prepare"))
    parser.add_argument("--repeats", type=int, default=1)
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    rows = []
    for kind, path in generate(options.events, options.work).items():
        out = options.work / "out"
        commands = {
            "polars": [sys.executable, "-c", BARE, str(path), str(out)],
            "headrace": [HEADRACE, "prepare", str(path), "--out", str(out)],
        }
        for _ in range(options.repeats):
            for name, command in commands.items():
                seconds, memory = measure(command, {**os.environ, **(RARE if name == "headrace" else {})})
                shutil.rmtree(out) if out.is_dir() else out.unlink()
                rows.append({"file": kind, "what": name, "seconds": round(seconds, 1), "memory_gb": round(memory, 2)})
                print(json.dumps(rows[-1]), flush=True)
    RESULTS.write_text(json.dumps({"events": options.events, "runs": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
