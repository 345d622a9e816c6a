"""Five epochs of ours and of RecTools' eSASRec at one size, ids only: seconds of an epoch, and NDCG@10 after the last.

    python benchmarks/bench_epochs.py --data ../shared/data [--epochs 5 --seeds 1,2,3 --methods headrace,rectools]

amazon-beauty in file order, the fitted questions of `leave-one-out`, what was met may be listed, no time known; both
learn at width 128 with 2 layers and read 50 events. Ours shares its negatives within a batch, eSASRec draws 256 for
each event. A row for each run stands in benchmarks/results/epochs.json, in place of an earlier one of that seed.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import headrace.model

# isort: split
import numpy as np
import torch
from quality.environments import PEERS, python_of
from quality.splits import SETS, keep, prepare, split_of

from headrace.core.formats import Blend, Learned, ModelInfo
from headrace.core.settings import Settings, TrainingSettings
from headrace.data.dataset import Dataset
from headrace.pipeline.choosing import encoder_ndcg
from headrace.pipeline.material import Material
from headrace.pipeline.model_folder import vector_tables
from headrace.pipeline.stages import questions
from headrace.ranking.network import Network
from headrace.training.asking import encode_graph, query_graph
from headrace.training.loop import Training
from headrace.training.negatives import NegativeSampler
from headrace.training.optimizer import Schedule
from headrace.training.presets import Preset

RESULTS = Path(__file__).resolve().parent / "results" / "epochs.json"
WIDTH, LAYERS, WINDOW = 128, 2, 50


def ours(dataset: Dataset, options: argparse.Namespace, seed: int) -> dict[str, object]:
    """Train ours; return the seconds of its epochs and its NDCG@10."""
    preset = Preset(
        width=WIDTH,
        layers=LAYERS,
        heads=4,
        window=WINDOW,
        batch_events=options.batch,
        learning_rate=options.rate,
        negatives=options.negatives,
        dropout=options.dropout,
        epochs=options.epochs,
    )
    settings = Settings(training=TrainingSettings(seed=seed, unknown_time=1.0))
    material = Material.read(dataset, settings, "leave-one-out", options.work / "text", lambda *_: None)
    assert material.shape(preset).content == 0
    learned = material.stages.fitted
    learner, sequences = material.learner(preset, settings, None), material.sequences(learned, preset)
    per_epoch = sequences.steps_per_epoch
    steps = options.epochs * per_epoch
    training = Training(
        learner, sequences, NegativeSampler(sequences.log, preset.negatives), Schedule(options.rate, steps, per_epoch)
    )
    seconds = []
    for epoch in range(1, options.epochs + 1):
        begun = time.perf_counter()
        training.run(epoch * per_epoch, lambda _: None)
        seconds.append(round(time.perf_counter() - begun, 2))
    info = ModelInfo(
        format=1,
        name="bench",
        version="0",
        created="",
        learned=Learned(
            protocol="leave-one-out",
            stage="fitted",
            first_cut=None,
            second_cut=None,
            until=0,
            events=int(learned.sum()),
            fingerprint=dataset.report.fingerprint,
        ),
        shape=material.shape(preset),
        blend=Blend(encoder=1.0, counts=0.0, popularity=0.0),
        steps=steps,
        preset="base",
        seen="include",
        scale=None,
    )
    known = np.bincount(material.log.items[learned], minlength=material.log.n_items + 1) > 0
    tables = vector_tables(learner, known, None)
    graphs = (encode_graph(learner.model), query_graph(learner.model))
    network = Network(info, dataset.item_vocabulary().ids, tables, *graphs)
    asked = questions(material.log, ~material.stages.last, "file", most=len(material.log), seed=0)
    untimed = [replace(each, time=None) for each in asked]
    return {"seconds": seconds, "ndcg": encoder_ndcg(network, network.own_vectors, untimed, "include")}


def theirs(split: Path, options: argparse.Namespace, seed: int) -> dict[str, object]:
    """Train theirs in its environment; return the same."""
    out = options.work / f"epochs-{seed}.json"
    command = [
        str(python_of("rectools-esasrec", options.work)),
        str(PEERS / "rectools_epochs.py"),
        str(split),
        str(out),
    ]
    command += ["--epochs", str(options.epochs), "--seed", str(seed), "--width", str(WIDTH), "--window", str(WINDOW)]
    subprocess.run(command, check=True)
    found: dict[str, object] = json.loads(out.read_text())
    return found


def main() -> None:
    """Parse the command line, train each, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the folder of the public sets")
    parser.add_argument("--work", type=Path, default=Path("bench-work/quality"), help="that of bench_quality.py")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--seeds", default="1,2,3")
    parser.add_argument("--methods", default="headrace,rectools")
    parser.add_argument("--batch", type=int, default=4096, help="events in a step of ours")
    parser.add_argument("--rate", type=float, default=4e-3, help="the highest learning rate of ours")
    parser.add_argument("--negatives", type=int, default=1024, help="that a batch of ours shares")
    parser.add_argument("--dropout", type=float, default=0.2, help="of ours")
    options = parser.parse_args()
    chosen = SETS["beauty-file"]
    full = prepare(chosen, options.data, options.work)
    split, ids = split_of(chosen, full, options.data)
    keep(split, ids, options.work / "splits" / chosen.name)
    dataset = ids_only(options.work)
    rows = json.loads(RESULTS.read_text()) if RESULTS.exists() else []
    for seed in map(int, options.seeds.split(",")):
        for method in options.methods.split(","):
            made = theirs(options.work / "splits" / chosen.name, options, seed) if method == "rectools" else None
            row = {"method": method, "seed": seed, "threads": torch.get_num_threads()}
            row |= made or ours(dataset, options, seed)
            print(json.dumps(row), flush=True)
            rows = [each for each in rows if (each["method"], each["seed"]) != (method, seed)] + [row]
            RESULTS.write_text(json.dumps(rows, indent=1) + "\n")


def ids_only(work: Path) -> Dataset:
    """Return Beauty without what its items say, prepared once."""
    folder = work / "datasets" / "beauty-file-ids"
    if not (folder / "report.json").is_file():
        headrace.prepare(work / "beauty" / "events.csv", out=folder, ties="file")
    return Dataset.open(folder)


if __name__ == "__main__":
    main()
