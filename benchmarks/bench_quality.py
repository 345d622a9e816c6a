"""Ours and its peers on the same splits: RecTools' SASRec and eSASRec, implicit's ALS and item-kNN, VMIS-kNN.

    python benchmarks/bench_quality.py --data ../shared/data [--quick] [--sets groceries,beauty-hash]

Every method gets the same events to learn from, the same questions with the same histories and rules, and is scored on
its first 20 of the full catalogue by the same code, with intervals over users and differences to ours user by user. A
peer runs in an environment of its own (`peers/requirements-*.txt`) and may choose its settings on the questions between
the cuts (or the last event but one, or valid.txt) as long as `--peer-minutes` says; ours gets `--minutes` for all.
Writes `quality.md`, `plots/` and `results/quality.json`, with `-quick` in their names for the quick form; sets that are
not asked for keep their figures.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec
from quality.environments import PROGRAMS, ask
from quality.figures import Figure, figures_of, tables_of
from quality.pages import page, plot, verdicts
from quality.splits import SETS, keep, prepare, split_of

HERE = Path(__file__).resolve().parent
_QUICK_SETS = ("serenade-sessions", "ml-latest-small", "movietweetings-100k")
_QUICK_MINUTES = (2.0, 1.0)
_MINUTES = (8.0, 20.0)


def main() -> None:
    """Parse the command line, run every method on every set, write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the folder of the public sets")
    parser.add_argument("--work", type=Path, default=Path("bench-work/quality"), help="environments, datasets, lists")
    parser.add_argument("--quick", action="store_true", help=f"{', '.join(_QUICK_SETS)} alone, in under 30 minutes")
    parser.add_argument("--sets", help=f"of {', '.join(SETS)}; all without it")
    parser.add_argument("--methods", help=f"of headrace, {', '.join(PROGRAMS)}; all without it")
    parser.add_argument("--minutes", type=float, help=f"for ours; {_MINUTES[0]:g}, quick {_QUICK_MINUTES[0]:g}")
    parser.add_argument(
        "--peer-minutes",
        type=float,
        help=f"in which a peer chooses its settings; {_MINUTES[1]:g}, quick {_QUICK_MINUTES[1]:g}",
    )
    parser.add_argument("--resume", action="store_true", help="keep the lists of the methods that are done")
    options = parser.parse_args()
    defaults = _QUICK_MINUTES if options.quick else _MINUTES
    minutes = (options.minutes or defaults[0], options.peer_minutes or defaults[1])
    names = options.sets.split(",") if options.sets else list(_QUICK_SETS if options.quick else SETS)
    methods = options.methods.split(",") if options.methods else ["headrace", *PROGRAMS]
    if unknown := [*({*names} - {*SETS}), *({*methods} - {"headrace", *PROGRAMS})]:
        parser.error(f"no such set or method: {', '.join(unknown)}")
    figures = _of_others(names, options)
    for name in names:
        figures += run(name, methods, minutes, options)
        _write(figures, minutes, options)


def _of_others(names: Sequence[str], options: argparse.Namespace) -> list[Figure]:
    """Return the figures of the sets that are not run now, as an earlier run left them."""
    path = _results(options)
    found = msgspec.json.decode(path.read_bytes(), type=list[Figure]) if path.is_file() else []
    return [figure for figure in found if figure.set not in names]


def _results(options: argparse.Namespace) -> Path:
    return HERE / "results" / f"quality{'-quick' if options.quick else ''}.json"


def run(name: str, methods: Sequence[str], minutes: tuple[float, float], options: argparse.Namespace) -> list[Figure]:
    """Return the figures of a set, with those of methods that an earlier `--resume` left there."""
    chosen = SETS[name]
    dataset = prepare(chosen, options.data, options.work)
    split, ids = split_of(chosen, dataset, options.data)
    where, lists = options.work / "splits" / name, options.work / ("lists-quick" if options.quick else "lists") / name
    keep(split, ids, where)
    if not options.resume:
        shutil.rmtree(lists, ignore_errors=True)
    for method in methods:
        if (lists / method / "facts.json").exists():
            continue
        started = time.perf_counter()
        if method == "headrace":
            _ask_ours(name, dataset.path, where, lists, minutes[0])
        else:
            ask(method, where, lists / method, options.work, minutes[1])
        print(f"{name}: {method}: {time.perf_counter() - started:.0f} s", flush=True)
    found: list[Figure] = []
    for table in tables_of(split, chosen.protocol):
        found += figures_of(name, split, table, lists)
    return found


def _ask_ours(name: str, dataset: Path, split: Path, lists: Path, minutes: float) -> None:
    lists.mkdir(parents=True, exist_ok=True)
    path = os.pathsep.join([str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])])
    command = [
        sys.executable,
        "-m",
        "quality.ours",
        name,
        str(dataset),
        str(split),
        str(lists),
        "--minutes",
        str(minutes),
    ]
    with (lists / "log.txt").open("w") as log:
        subprocess.run(
            command, check=True, stdout=log, stderr=subprocess.STDOUT, env={**os.environ, "PYTHONPATH": path}
        )


def _write(figures: Sequence[Figure], minutes: tuple[float, float], options: argparse.Namespace) -> None:
    """Write page, plots and figures of all sets so far, and print the page."""
    figures = sorted(figures, key=lambda figure: [*SETS].index(figure.set))
    if not figures:
        print("no table yet: headrace has not answered; run it too, or --resume")
        return
    stem = "quality-quick" if options.quick else "quality"
    command = f"python benchmarks/bench_quality.py --data DATA{' --quick' if options.quick else ''}"
    notes = [
        f"`{command}`: ours trains and chooses in {minutes[0]:g} minutes; a peer chooses in {minutes[1]:g}, then",
        "trains anew. Seconds are for choosing, learning and answering all tables of a set; peak memory is that of the",
        "process. `-no-time`: the time of the request is hidden. Grey bars in the plots are Headrace's own traditional",
        "methods.",
    ]
    if options.quick:
        notes.append("**The quick form: few epochs, three sets. It shows that all runs, not who is best.**")
    text = page("Quality beside its peers", notes, figures)
    (HERE / f"{stem}.md").write_text(text)
    _results(options).write_bytes(msgspec.json.format(msgspec.json.encode(figures), indent=1))
    for name in dict.fromkeys(f.set for f in figures):
        plot(name, figures, HERE / "plots", stem)
    print("\n".join(verdicts(figures)), flush=True)


if __name__ == "__main__":
    main()
