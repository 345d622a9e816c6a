"""What a list costs where the whole history is encoded for it, and where the new event alone is: milliseconds per user.

    python benchmarks/bench_peers.py --dataset bench-work/quality/datasets/groceries

RecTools' SASRec and Headrace at one size (width 64, 2 layers, 2 heads, 200 events) on the same catalogue and the same
users, k 20, each in its own environment and with the threads that it takes by default; OMP_NUM_THREADS=1 gives each
one. In process, without HTTP. RecTools is asked by `recommend` with the histories of just those users; ours by the
service's own `recommend`, with the blend, counts and rules on. Writes results/peers.json, peers-1-thread.json with one.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from load.world import trained_model
from peers.exchange import LIST, Asked, Ints, Split, write
from peers.timing import Row, timed
from quality.environments import PEERS, python_of

from headrace.app.listening import settle_process
from headrace.core.settings import ServingSettings, Settings
from headrace.core.types import Event
from headrace.data.dataset import Dataset
from headrace.serving.questions import DEGRADED, Given, Question
from headrace.serving.service import Service

RESULTS = Path(__file__).resolve().parent / "results"
WIDTH, WINDOW = 64, 200
PAUSE_S = 0.01
"""Between a call and the next, so that none waits for the commit of the one before."""

MAKING_S = 12.0
"""What the lists of near items may take, where there are users enough for any."""


def split_of(dataset: Dataset) -> Split:
    """Return every event as what is learned from, and a question of each user of several events after the last."""
    log = dataset.log()
    bounds = log.offsets()
    users = np.flatnonzero(np.diff(bounds) > 1).astype(np.int32)  # RecTools learns from no others and knows none
    starts, ends = bounds[users], bounds[users + 1]
    asked = Asked(users, starts, ends, ends, log.times[ends - 1])
    learned = np.ones(len(log), np.bool_)
    return Split(
        users=log.users,
        items=log.items,
        times=log.times,
        learned={"fitted": learned, "refitted": learned},
        choose=asked.sample(1),
        test=asked,
        stages=("fitted",),
        seen=("include",),
        live=False,
        n_users=log.n_users,
        n_items=log.n_items,
    )


def theirs(split: Split, work: Path) -> dict[str, object]:
    """Time RecTools in its environment."""
    python = str(python_of("rectools-sasrec", work))
    surroundings = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), split)
        out = Path(folder) / "speed.json"
        command = [python, str(PEERS / "rectools_speed.py"), folder, str(out)]
        command += ["--width", str(WIDTH), "--window", str(WINDOW)]
        subprocess.run(command, check=True, env=surroundings)
        found: dict[str, object] = json.loads(out.read_text())
    return found


class Ours:
    """A service of the dataset's users and events."""

    def __init__(self, service: Service, dataset: Dataset, users: Ints) -> None:
        """Ask for each of these users once, so that their states are kept."""
        self._service = service
        self._random = np.random.default_rng(1)
        ids = dataset.user_vocabulary().ids
        self._users = [ids[user - 1] for user in users.tolist()]
        self._items = dataset.item_vocabulary().ids
        self._met = dataset.log().items
        for start in range(0, len(self._users), 64):
            self._ask(self._users[start : start + 64])

    def rows(self) -> list[Row]:
        """Return what was timed."""
        rows = []
        for users, calls in ((1, 100), (64, 10), (1024, 1)):
            rows += [
                timed("list after one new event", users, self._after_an_event, self._ask, calls),
                timed("event stored, and list", users, self._events, self._tell_and_ask, calls),
            ]
        rows += [timed("list of a user read anew", users, self._anew, self._ask, n) for users, n in ((1, 20), (64, 2))]
        return rows

    def _events(self, users: int) -> list[Event]:
        """Return a new event of each of so many users."""
        time.sleep(PAUSE_S)  # commits are 4 ms apart, which is not what is timed
        some = self._random.choice(self._users, users, replace=False).tolist()
        items = self._random.choice(self._met, users)
        return [Event(user_id=user, item_id=self._items[item - 1]) for user, item in zip(some, items, strict=True)]

    def _after_an_event(self, users: int) -> list[str]:
        events = self._events(users)
        self._service.add_events(events).result()
        self._service.engine.run(lambda: None).result()  # done behind the counting
        return [event.user_id for event in events]

    def _anew(self, users: int) -> list[str]:
        """Drop what is kept of everybody."""
        self._service.engine.run(self._service.engine.answering.distrust).result()
        return [event.user_id for event in self._events(users)]

    def _tell_and_ask(self, events: list[Event]) -> list[Given]:
        self._service.add_events(events).result()
        return self._ask([event.user_id for event in events])

    def _ask(self, users: list[str]) -> list[Given]:
        given = [future.result() for future in [self._service.recommend(Question(user, k=LIST)) for user in users]]
        assert all(len(one.items) == LIST and one.model != DEGRADED for one in given)
        return given


@contextmanager
def serving(dataset: Path, model: Path) -> Iterator[Service]:
    """Serve a dataset's users without HTTP, ready."""
    with tempfile.TemporaryDirectory() as folder:
        # Nothing is refused or left out for lateness: 64 users read anew take longer than a service lets wait.
        serving = ServingSettings(store=f"sqlite:///{folder}/store.db", deadline_ms=600_000)
        service = Service.open(Settings(serving=serving), model=model, history=dataset)
        try:
            service.engine.warm().result()
            time.sleep(MAKING_S)  # the service does not say when the lists are there
            settle_process()
            yield service
        finally:
            service.close()


def show(method: str, rows: list[Row]) -> None:
    """Print rows."""
    for row in rows:
        print(
            f"{method:<9} {row['what']:<38} {row['users']:>5} users  {row['ms']:>9} ms a user "
            f"({row['least']}-{row['most']}), {row['cpu_ms']} ms of CPU",
            flush=True,
        )


def main() -> None:
    """Parse the command line, time both, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", type=Path, default=Path("bench-work/quality/datasets/groceries"))
    parser.add_argument("--work", type=Path, default=Path("bench-work"), help="where environments and models are kept")
    parser.add_argument("--minutes-of-training", type=float, default=10, help="of ours, once")
    options = parser.parse_args()
    dataset = Dataset.open(options.dataset)
    model = trained_model(
        options.dataset, options.work.resolve() / "serve", width=WIDTH, minutes=options.minutes_of_training
    )
    split = split_of(dataset)
    peer = theirs(split, options.work / "quality")
    show("RecTools", peer["rows"])  # type: ignore[arg-type]  # read from JSON
    with serving(options.dataset, model) as service:
        rows = Ours(service, dataset, split.test.users).rows()
    show("Headrace", rows)
    threads = os.environ.get("OMP_NUM_THREADS")
    ours = {"rows": rows, "threads": f"one for users, one for lists, one that stores; {threads or 'all'} of NumPy's"}
    found = {"items": dataset.report.catalogue, "cores": os.cpu_count(), "rectools": peer, "headrace": ours}
    result = RESULTS / ("peers.json" if threads is None else f"peers-{threads}-thread.json")
    result.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
