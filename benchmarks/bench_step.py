"""Time one event through the encoder: our step over kept states, and ONNX Runtime's graphs of the same network.

    python benchmarks/bench_step.py [--width 64 --layers 2 --heads 2 --window 200 --users 4000 --rounds 5]
    python benchmarks/bench_step.py --mixer retention

Weights are random; every user has a full window, and users come in random order, so that their states are not in the
processor's caches, as in a service. `step` is one new event of each of B users, read where the states stand (the gather
is part of it), `step again` of the same users each time, without that wait; `query` makes their vectors. `arena` is
both, with all that the service does around them; `arena, anew` reads users from their histories, `(L + 1)(W - 1) + 1`
events each, with retention `(L + 5)(W + 2)`. `onnx step` gets its slots contiguous, `onnx gather` copies them out of a
table of all users first; `onnx anew` encodes those histories whole. One thread. Prints microseconds a user, the median
of `--rounds` and their spread; writes benchmarks/results/step.json.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import TypeAlias, get_args

import headrace.model  # noqa: F401 (before PyTorch: its idle threads then sleep)

# isort: split
import numpy as np
import torch

from headrace.core.formats import ENCODE_FILE, RETENTION_HEAD, STEP_FILE, Blend, Learned, Mixer, ModelInfo, Shape
from headrace.data.log import History, Ints, Longs
from headrace.data.vocabulary import Vocabulary
from headrace.model.transformer import Transformer
from headrace.ranking.item_vectors import ItemVectors, Placed
from headrace.ranking.network import Network
from headrace.ranking.onnx_graph import OnnxGraph
from headrace.ranking.state_kernels import PAGE, NewEvents, Pages
from headrace.ranking.stepping import Precision, Stepper, stepper_of
from headrace.serving.arena import Arena, Asked
from headrace.training.asking import encode_graph, query_graph
from headrace.training.export import export_network

RESULTS = Path(__file__).resolve().parent / "results" / "step.json"
BATCHES = (1, 16, 64)
ITEMS = 10_000
CALLS = 2000
"""Users of a round, in batches."""
NOW = 10**15
SECOND = 1_000_000
Way: TypeAlias = tuple[str, Callable[[Ints], None]]


def filled(stepper: Stepper, users: int, precision: Precision) -> tuple[Pages, Ints]:
    """Return pages of users with a full window each, a user's pages far apart, and the users' seats."""
    ring = stepper.slots // PAGE
    pages = stepper.pages(users * ring, precision)
    order = np.random.default_rng(1).permutation(users * ring).astype(np.int32)
    seats = order[:users]
    pages.tables[seats] = order.reshape(ring, users).T
    for start in range(0, stepper.shape.window, PAGE):
        places = np.arange(start, min(start + PAGE, stepper.shape.window))
        for some in np.array_split(seats, max(1, users // 16)):
            stepper.extend(pages, events(stepper.shape, np.repeat(some, len(places)), np.tile(places, len(some))))
    return pages, seats


def events(shape: Shape, seats: Ints, places: Longs) -> NewEvents:
    """Return one event of a random item at each place."""
    n = len(seats)
    items = np.random.default_rng(2).normal(size=(n, shape.width)).astype(np.float32)
    return NewEvents(
        seats, places, items, np.zeros(n, np.int32), np.full(n, -1, np.float32), NOW + places * 60 * SECOND
    )


def kernels(stepper: Stepper, users: int, precision: Precision, size: int) -> Iterator[Way]:
    """Yield what is timed, each a function of some users."""
    pages, seats = filled(stepper, users, precision)
    new = events(stepper.shape, np.zeros(size, np.int32), np.full(size, stepper.shape.window))
    last, asked = np.full(size, stepper.shape.window), np.full(size, NOW + 10**12)
    yield f"step, {precision}", lambda some: stepper.extend(pages, new._replace(seats=seats[some]))
    again = new._replace(seats=seats[:size])
    yield f"step again, {precision}", lambda _: stepper.extend(pages, again)
    yield f"query, {precision}", lambda some: (stepper.ask(pages, seats[some], last, asked), None)[1]


def arena(model: Transformer, stepper: Stepper, users: int) -> Iterator[Way]:
    """Yield what is timed of the arena; each call brings one more event of each of its users."""
    shape, random = stepper.shape, np.random.default_rng(3)
    items = np.random.default_rng(2).normal(size=(ITEMS + 1, shape.width)).astype(np.float32)
    vectors = ItemVectors.of(Placed(items, items, items[:, :0]), np.zeros(ITEMS + 1, np.int32), np.zeros(1, np.int32))
    tables = {"known": np.zeros(ITEMS + 1, np.float32)}
    network = Network(info_of(shape), Vocabulary([]), tables, encode_graph(model), query_graph(model))
    kept = Arena(network, stepper, vectors, limit=users * (stepper.slots // PAGE) * 20_000, precision="half")
    n = shape.reach + 200
    history = History(
        random.integers(1, ITEMS, n).astype(np.int32), np.zeros(n, np.int32), np.full(n, np.nan, np.float32),
        NOW + np.arange(n) * 60 * SECOND,
    )  # fmt: skip
    read = np.full(users, shape.reach)
    for first in range(0, users, 64):
        kept.users([Asked(key, history.part(0, shape.reach), NOW) for key in range(first, min(first + 64, users))])

    def go_on(some: Ints) -> None:
        read[some] += 1
        kept.users([Asked(key, history.part(0, read[key]), NOW) for key in some.tolist()])

    yield "arena", go_on
    whole = history.part(0, shape.reach)
    yield "arena, anew", lambda some: (kept.users([Asked(None, whole, NOW)] * len(some)), None)[1]


def info_of(shape: Shape) -> ModelInfo:
    """Return what a model says of itself."""
    learned = Learned(protocol="all", stage="refitted", first_cut=1, second_cut=2, until=3, events=4, fingerprint="")
    return ModelInfo(
        format=1, name="", version="", created="", learned=learned, shape=shape, steps=1, preset="small",
        blend=Blend(encoder=1, counts=0, popularity=0), seen="exclude",
    )  # fmt: skip


def onnx(folder: Path, shape: Shape, users: int, size: int) -> Iterator[Way]:
    """Yield what is timed of ONNX Runtime."""
    step, encode = OnnxGraph(folder / STEP_FILE), OnnxGraph(folder / ENCODE_FILE)
    random = np.random.default_rng(3)
    new = {
        "items": random.normal(size=(size, 1, shape.width)).astype(np.float32),
        "types": np.zeros((size, 1), np.int64),
        "values": np.full((size, 1), -1, np.float32),
        "times": np.full((size, 1), NOW),
    }
    if shape.mixer == "retention":
        kept, outputs, sizes = "kept", ["states", "matrices"], (shape.retention_heads, RETENTION_HEAD, RETENTION_HEAD)
        new["last"] = np.full(size, NOW - 10**12)
    else:
        kept, outputs, sizes = "slots", ["states", "caches"], (2, shape.window, shape.width)
        new["slot_ages"] = np.tile(np.arange(shape.window, 0, -1), (size, 1))
        new["slot_times"] = np.full((size, shape.window), NOW - 10**12)
    table = random.normal(size=(users, shape.layers, *sizes)).astype(np.float32)
    first = table[:size].copy()
    whole = {
        "items": random.normal(size=(size, shape.reach, shape.width)).astype(np.float32),
        "types": np.zeros((size, shape.reach), np.int64),
        "values": np.full((size, shape.reach), -1, np.float32),
        "times": np.tile(NOW + np.arange(shape.reach) * SECOND, (size, 1)),
    }
    yield "onnx step", lambda _: (step(outputs, **{kept: first}, **new), None)[1]
    yield "onnx gather", lambda some: (step(outputs, **{kept: table[some]}, **new), None)[1]
    yield "onnx anew", lambda _: (encode(["states"], **whole), None)[1]


def timed(function: Callable[[Ints], None], users: int, size: int, rounds: int) -> list[float]:
    """Return the microseconds a user of each round."""
    order = np.random.default_rng(4).permutation(users)
    function(order[:size])
    found = []
    for number in range(rounds):
        begun, calls = time.perf_counter(), 0
        while calls * size < CALLS and time.perf_counter() - begun < 2:
            first = (number * CALLS + calls * size) % (users - size)
            function(order[first : first + size])
            calls += 1
        found.append((time.perf_counter() - begun) / calls / size * 1e6)
    return found


def main() -> None:
    """Parse the command line, measure, print and keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, size in {"width": 64, "layers": 2, "heads": 2, "window": 200, "users": 4000, "rounds": 5}.items():
        parser.add_argument(f"--{name}", type=int, default=size)
    parser.add_argument("--mixer", choices=get_args(Mixer), default="attention")
    options = parser.parse_args()
    torch.set_num_threads(1)
    shape = Shape(
        width=options.width, layers=options.layers, heads=options.heads, window=options.window, content=0, types=["a"],
        mixer=options.mixer,
    )  # fmt: skip
    model = Transformer(shape).eval()
    weights = {f"model.{name}": tensor.numpy() for name, tensor in model.state_dict().items()}
    stepper = stepper_of(weights.__getitem__, shape)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        export_network(model, Path(folder))
        for size in BATCHES:
            ways = [w for p in ("half", "full") for w in kernels(stepper, options.users, p, size)]
            ways += [*arena(model, stepper, options.users), *onnx(Path(folder), shape, options.users, size)]
            for what, function in ways:
                found = timed(function, options.users, size, options.rounds)
                rows.append({"what": what, "batch": size, "us": round(median(found), 1)})
                rows[-1]["spread"] = [round(min(found), 1), round(max(found), 1)]
                print(f"{what:>20}  batch {size:>3}  {rows[-1]['us']:>8} us a user  {rows[-1]['spread']}", flush=True)
    sizes = {name: getattr(options, name) for name in ("width", "layers", "heads", "window", "users", "mixer")}
    kept = json.loads(RESULTS.read_text()) if RESULTS.exists() else []
    kept = [run for run in kept if {name: run[name] for name in sizes} != sizes]
    RESULTS.write_text(json.dumps([*kept, {**sizes, "rows": rows}], indent=1) + "\n")


if __name__ == "__main__":
    main()
