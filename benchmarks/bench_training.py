"""Time training steps of the network, ids only; print events/s, milliseconds of each part, and the share of the peak.

    headrace prepare events.csv --ties file --out DATASET
    python benchmarks/bench_training.py DATASET [--width 128 --layers 2 --window 50 --negatives 1024 --seconds 20]

Learns from the events before the cut of `leave-one-out`, as the fitted stage does. The peak is that of a large matrix
product, measured between the steps of the same run. The parts of a batch are computed side by side, and the
milliseconds are those of all of them together. Where other work shares the cores, read `events_per_core_second`: it
leaves out the waiting. Writes benchmarks/results/training.json, a row for each size.
"""

from __future__ import annotations

import argparse
import json
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import headrace.model  # noqa: F401 (before PyTorch: its idle threads then sleep)

# isort: split
import numpy as np
import torch

from headrace.core.formats import Shape
from headrace.data.dataset import Dataset
from headrace.data.log import in_file_order
from headrace.model.bfloat16 import learn_in_bfloat16
from headrace.model.items import ItemContent
from headrace.model.transformer import Transformer
from headrace.pipeline.stages import stages_of
from headrace.training import learner as steps
from headrace.training.batches import Batch, Sequences
from headrace.training.learner import Learner, Noise
from headrace.training.negatives import NegativeSampler
from headrace.training.optimizer import Schedule

RESULTS = Path(__file__).resolve().parent / "results" / "training.json"
SIZES = ("width", "layers", "window", "negatives", "batch", "halves")
WARM_STEPS = 5
PEAK_SIZE = 1024
STEPS_PER_PEAK = 5


class Clock:
    """Adds up the seconds of functions, each without the time of those that it calls, over all threads."""

    def __init__(self) -> None:
        self.seconds: dict[str, list[float]] = defaultdict(list)
        self._own = threading.local()

    def around(self, owner: object, name: str, part: str) -> None:
        """Time each call of `owner.name` as `part`."""
        function: Callable[..., object] = getattr(owner, name)

        def timed(*arguments: object, **named: object) -> object:
            outer, self._own.inner = getattr(self._own, "inner", 0.0), 0.0
            begun = time.perf_counter()
            found = function(*arguments, **named)
            spent = time.perf_counter() - begun
            self.seconds[part].append(spent - self._own.inner)
            self._own.inner = outer + spent
            return found

        setattr(owner, name, timed)


def prepared(options: argparse.Namespace) -> tuple[Learner, Sequences, NegativeSampler]:
    """Return a network at its start and what it learns from."""
    dataset = Dataset.open(options.dataset)
    log = dataset.log()
    stages = stages_of(log, "leave-one-out")
    log = (in_file_order(log) if dataset.report.ties == "file" else log).where(stages.fitted)
    shape = Shape(
        width=options.width,
        layers=options.layers,
        heads=max(1, options.width // 32),
        window=options.window,
        content=0,
        types=dataset.report.types,
    )
    torch.manual_seed(1)
    model = Transformer(shape, 0.2)
    if options.halves:
        learn_in_bfloat16(model.encoder, model.query)
    rows = log.n_items + 1
    says = ItemContent(torch.zeros(rows, 0), torch.zeros(rows, dtype=torch.bool), torch.zeros(rows, 0))
    values = np.full(len(log), -1, np.float32)
    sequences = Sequences(log, values, shape=shape, batch_events=options.batch, ties=dataset.report.ties)
    learner = Learner(model, says, noise=Noise(), seed=1)
    return learner, sequences, NegativeSampler(log, options.negatives)


def batches(sequences: Sequences) -> Iterator[Batch]:
    """Yield batches of one epoch after the other."""
    epoch = 0
    while True:
        yield from sequences.epoch(epoch, 1)
        epoch += 1


def gflop(batch: Batch, shape: Shape, negatives: int) -> float:
    """Return the floating-point operations of the step's matrix products and attention, gradients included, in 1e9."""
    places, queries = len(batch.items), len(np.unique(batch.pair_places))
    _, lengths = np.unique(batch.segments, return_counts=True)
    short = np.minimum(lengths, shape.window)
    pairs = float((short * (short + 1) // 2 + (lengths - short) * shape.window).sum())
    # Each of the layers, and the query, has ten (D, D) matrices; two flops a product, and twice as many backwards.
    mixers = shape.layers + 1
    dense = 6.0 * 10 * places * mixers * shape.width**2
    return (dense + 12.0 * pairs * mixers * shape.width + 6.0 * queries * negatives * shape.width) / 1e9


def peak() -> float:
    """Return the GFLOP/s of a large matrix product."""
    a, b = torch.randn(2, PEAK_SIZE, PEAK_SIZE)
    begun = time.perf_counter()
    torch.mm(a, b)
    return 2 * PEAK_SIZE**3 / 1e9 / (time.perf_counter() - begun)


@dataclass
class Steps:
    """What was seen, a number a step: seconds, seconds of the cores, events, GFLOP; and the peaks between them."""

    takes: list[float] = field(default_factory=list)
    busy: list[float] = field(default_factory=list)
    events: list[int] = field(default_factory=list)
    arithmetic: list[float] = field(default_factory=list)
    peaks: list[float] = field(default_factory=list)


def train(options: argparse.Namespace, clock: Clock) -> tuple[Steps, Sequences]:
    """Train for some seconds; the clock and what is returned leave the first steps out."""
    learner, sequences, sampler = prepared(options)
    parts = [(learner, "_loss", "forward"), (steps, "softmax_loss", "loss"), (torch.autograd, "grad", "backward")]
    parts += [(steps, "_distinct", "placing items"), (learner.row_adam, "step", "Adam of rows")]
    parts += [(steps, "clip", "AdamW"), (learner.adam, "step", "AdamW")]
    seen, coming, schedule = Steps(), batches(sequences), Schedule(1e-3, 10_000, 100)
    negatives = len(sampler.draw(np.random.default_rng(0))[0])
    number = 0
    while sum(seen.takes) < options.seconds:
        number += 1
        begun, busy = time.perf_counter(), time.process_time()
        batch = next(coming)
        ready = time.perf_counter()
        learner.step(batch, sampler, schedule, number, sequences.pairs_per_batch)
        ended = time.perf_counter()
        if number == WARM_STEPS:
            for owner, name, part in parts:
                clock.around(owner, name, part)
        if number <= WARM_STEPS:
            continue
        seen.takes.append(ended - begun)
        seen.busy.append(time.process_time() - busy)
        seen.events.append(batch.events)
        seen.arithmetic.append(gflop(batch, learner.model.shape, negatives))
        clock.seconds["batch"].append(ready - begun)
        if number % STEPS_PER_PEAK == 0:
            seen.peaks.append(peak())
    return seen, sequences


def measure(options: argparse.Namespace) -> dict[str, object]:
    """Return the sizes and what came of them."""
    clock = Clock()
    seen, sequences = train(options, clock)
    total, count = sum(seen.takes), len(seen.takes)
    ms = {part: 1000 * sum(seconds) / count for part, seconds in clock.seconds.items()}
    per_event = median(take / events for take, events in zip(seen.takes, seen.events, strict=True))
    rate = median(work / take for work, take in zip(seen.arithmetic, seen.takes, strict=True))
    highest = max(seen.peaks, default=peak())
    return {
        **{name: getattr(options, name) for name in SIZES},
        "threads": torch.get_num_threads(),
        "steps": count,
        "events_per_second": round(sum(seen.events) / total),
        "events_per_second_median_step": round(1 / per_event),
        "events_per_core_second": round(sum(seen.events) / sum(seen.busy)),
        "epoch_s": round(len(sequences.log) * total / sum(seen.events), 2),
        "epoch_s_median_step": round(len(sequences.log) * per_event, 2),
        "gflop_per_step": round(sum(seen.arithmetic) / count, 2),
        "gflop_per_second_median_step": round(rate, 1),
        "peak_gflop_per_second": round(highest, 1),
        "share_of_peak": round(rate / highest, 2),
        "step_ms": round(1000 * total / count, 1),
        "ms": {part: round(value, 2) for part, value in ms.items()},
    }


def main() -> None:
    """Parse the command line, measure, print and keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path, help="a folder that `headrace prepare` wrote")
    for name, size in {"width": 64, "layers": 2, "window": 50, "negatives": 1024, "batch": 4096}.items():
        parser.add_argument(f"--{name}", type=int, default=size)
    parser.add_argument("--halves", action="store_true", help="multiply in bfloat16")
    parser.add_argument("--seconds", type=float, default=20, help="of training")
    row = measure(parser.parse_args())
    for name, value in row.items():
        print(f"{name:>30}  {value}")
    kept = json.loads(RESULTS.read_text()) if RESULTS.exists() else []
    kept = [other for other in kept if any(other[name] != row[name] for name in (*SIZES, "threads"))]
    RESULTS.write_text(json.dumps([*kept, row], indent=1) + "\n")


if __name__ == "__main__":
    main()
