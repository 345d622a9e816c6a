"""Find the items nearest to users by inner product: our lists by users, FAISS' inverted lists by items, and exactly.

    python benchmarks/bench_topk.py [--items 100000,1000000 --users 100000]

The worlds are those of bench_serve.py; queries are the states of users at random places of their histories, other users
than the lists were made of. Recall is that of the 100 best among the 300 that are found (a list scores those exactly).
One thread; microseconds a query alone and in batches of 8, the median of three rounds. Writes
benchmarks/results/topk.json.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import faiss
import numpy as np
from load.world import trained_model, world

from headrace.data.dataset import Dataset
from headrace.data.log import EventLog, Floats, History, Ints
from headrace.ranking.item_index import ItemIndex
from headrace.ranking.network import Network

RESULTS = Path(__file__).resolve().parent / "results" / "topk.json"
FOUND, BEST, TESTED = 300, 100, 512
ROUND_S = 0.4


def user_states(network: Network, log: EventLog, n: int, *, held_out: bool) -> Floats:
    """Return (n, D) states of users of a log, each cut at a random place; every fifth user is held out."""
    chance, offsets, vectors = np.random.default_rng(0), log.offsets(), network.own_vectors
    users = np.unique(log.users)
    histories = []
    for user in chance.choice(users[(users % 5 == 0) == held_out], n):
        start, end = offsets[user], offsets[user + 1]
        cut = slice(start, chance.integers(start, end) + 1)
        histories.append(History(log.items[cut], log.types[cut], log.values[cut], log.times[cut]))
    return network.users(histories, [int(each.times[-1]) for each in histories], vectors)


def recall(found: Ints, truth: Ints) -> float:
    """Return the share of the best that are among the found."""
    return float(np.mean([len(np.intersect1d(one, best)) / BEST for one, best in zip(found, truth, strict=True)]))


def microseconds(search: Callable[[Floats], object], users: Floats, batch: int) -> float:
    """Return the time of a query in batches, the median of three rounds."""
    rounds = []
    for _ in range(3):
        begun, calls = time.perf_counter(), 0
        while time.perf_counter() - begun < ROUND_S:
            first = calls * batch % (len(users) - batch)
            search(users[first : first + batch])
            calls += 1
        rounds.append((time.perf_counter() - begun) / calls / batch * 1e6)
    return round(median(rounds), 1)


def main() -> None:
    """Parse the command line, go through the catalogues and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", default="100000,1000000")
    parser.add_argument("--users", type=int, default=100_000)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--minutes", type=float, default=6, help="of training, once")
    parser.add_argument("--dataset", type=Path, default=Path("bench-work/quality/datasets/groceries"))
    parser.add_argument("--work", type=Path, default=Path("bench-work/serve"))
    options = parser.parse_args()
    trained = trained_model(options.dataset, options.work.resolve(), width=options.width, minutes=options.minutes)
    rows: list[dict[str, object]] = []

    def note(items: int, way: str, share: float, search: Callable[[Floats], object], built: float) -> None:
        row = {"items": items, "way": way, "recall": round(share, 4), "build_s": round(built, 1)}
        row |= {f"us_{batch}": microseconds(search, test, batch) for batch in (1, 8)}
        rows.append(row)
        print(row, flush=True)

    for items in map(int, options.items.split(",")):
        made = world(options.dataset, trained, options.work.resolve(), items=items, users=options.users)
        network = Network.load(made.model)
        outputs = network.own_vectors.outputs
        log = Dataset.open(options.dataset).log()
        test, others = (user_states(network, log, n, held_out=held) for n, held in ((TESTED, True), (4352, False)))
        bare = outputs.wide()[1:]
        flat = faiss.IndexFlatIP(bare.shape[1])
        flat.add(bare)
        truth = flat.search(test, BEST)[1] + 1
        begun = time.perf_counter()
        index = ItemIndex.build(outputs, others)
        built = time.perf_counter() - begun
        faiss.omp_set_num_threads(1)
        note(items, "exact", 1.0, lambda some: flat.search(some, FOUND), 0)  # noqa: B023
        assert index is not None, "the world has more items than are looked at exactly"
        share = recall(index.near(test, outputs, FOUND), truth)
        note(items, f"by users, {index.length}", share, lambda some: index.near(some, outputs, FOUND), built)  # noqa: B023
        begun = time.perf_counter()
        centres = faiss.IndexFlatIP(bare.shape[1])
        count = 4 * int(len(bare) ** 0.5)
        lists = faiss.IndexIVFScalarQuantizer(
            centres, bare.shape[1], count, faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_INNER_PRODUCT
        )
        lists.cp.max_points_per_centroid = 64
        lists.train(bare)
        lists.add(bare)
        built = time.perf_counter() - begun
        for part in (100, 20, 4):
            lists.nprobe = max(1, count // part)
            share = recall(lists.search(test, FOUND)[1] + 1, truth)
            note(items, f"by items, 1 list in {part}", share, lambda some: lists.search(some, FOUND), built)  # noqa: B023
    RESULTS.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
