"""What a peer reads and writes: the split of a set, and the lists that it answers with. Needs NumPy alone.

A split is a folder: `events.npz` (every event, a user's together, oldest first), `choose.npz` and `test.npz` (the
questions) and `split.json`. A peer writes one array of lists a table and `facts.json` into a folder of its own.
Shapes: N events, Q questions, T targets, K places of a list. Items and users count from 1; 0 is no item.
"""

from __future__ import annotations

import argparse
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from time import perf_counter
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

LIST = 20
"""Places of a list."""
_CHOOSE_AT = 10
_MOST_CHOOSING = 2000

Ints = NDArray[np.int32]
Longs = NDArray[np.int64]
Seen = Literal["include", "exclude"]
Choice = TypeVar("Choice")


@dataclass(frozen=True)
class Asked:
    """Questions: q is asked by `users[q]` at `times[q]`, with the history `starts[q]:ends[q]` of the events.

    Its targets are the events `ends[q]:untils[q]`, which a peer may not look at before it has answered.
    """

    users: Ints
    starts: Longs
    ends: Longs
    untils: Longs
    times: Longs

    def __len__(self) -> int:
        return len(self.users)

    def sample(self, most: int) -> Asked:
        """Return at most `most` of them, spread evenly."""
        kept = np.unique(np.linspace(0, len(self) - 1, min(most, len(self))).astype(np.int64))
        return Asked(*(getattr(self, name)[kept] for name in ("users", "starts", "ends", "untils", "times")))

    def targets(self) -> tuple[Longs, Longs]:
        """Return (T,) the places of the targets among the events, and (T,) their questions."""
        sizes = self.untils - self.ends
        questions = np.repeat(np.arange(len(self)), sizes)
        first = np.cumsum(sizes) - sizes
        return np.arange(len(questions)) - first[questions] + self.ends[questions], questions

    def histories(self) -> tuple[Longs, Longs]:
        """Return the places of the events of all histories, and the question of each."""
        return Asked(self.users, self.starts, self.starts, self.ends, self.times).targets()


@dataclass(frozen=True)
class Split:
    """A set, cut: events (N,) and what each stage may learn from; see `bench_quality.py` for the protocols.

    Args:
        users: ascending.
        items: of each event.
        times: microseconds, ascending within a user.
        learned: by stage (`fitted`, `refitted`) the events that it may learn from.
        choose: questions to choose settings by, with a model of the stage `fitted`.
        test: the questions that count.
        stages: the stages that are tested.
        seen: the rules that are tested, `include` or `exclude` what the user has met; choices are made by the first.
        live: whether test events may be learned from once they are over.
        n_users: how many there are.
        n_items: likewise, those without an event among them.
    """

    users: Ints
    items: Ints
    times: Longs
    learned: dict[str, NDArray[np.bool_]]
    choose: Asked
    test: Asked
    stages: tuple[str, ...]
    seen: tuple[Seen, ...]
    live: bool
    n_users: int
    n_items: int


class Peer(ABC):
    """A method under test, as `run` drives it: choose settings, learn, answer."""

    @abstractmethod
    def choose(self, split: Split) -> dict[str, float | int | str]:
        """Return the settings that answer `split.choose` best after learning from the stage `fitted`."""

    @abstractmethod
    def learn(self, split: Split, stage: str) -> None:
        """Learn from the events of a stage with the chosen settings."""

    @abstractmethod
    def answer(self, split: Split, asked: Asked, seen: Seen) -> Ints:
        """Return (Q, LIST) items, best first, 0 behind the end of a shorter list."""

    def follow(self, split: Split, seen: Seen) -> Ints | None:
        """Return the lists of `split.test` when each event is learned from once it is over; None if it cannot."""
        return None


def run(make: Callable[[str, float], Peer], packages: tuple[str, ...]) -> None:
    """Read the command line, drive the peer, and write its lists and facts.

    Args:
        make: makes the peer of a method, to choose within a number of minutes.
        packages: the distributions whose versions are facts.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("split", type=Path, help="the folder of the split")
    parser.add_argument("out", type=Path, help="the folder to write")
    parser.add_argument("method")
    parser.add_argument("--minutes", type=float, default=60, help="time to choose settings in")
    options = parser.parse_args()
    split = read(options.split)
    peer = make(options.method, options.minutes)
    options.out.mkdir(parents=True, exist_ok=True)
    started = perf_counter()
    chosen = peer.choose(split)
    seconds = {"choose": perf_counter() - started, "learn": 0.0, "answer": 0.0}
    for stage in split.stages:
        started = perf_counter()
        peer.learn(split, stage)
        learned = perf_counter()
        for seen in split.seen:
            np.save(options.out / f"{stage}-{seen}.npy", peer.answer(split, split.test, seen))
            if split.live and (lists := peer.follow(split, seen)) is not None:
                np.save(options.out / f"live-{seen}.npy", lists)
        seconds["learn"] += learned - started
        seconds["answer"] += perf_counter() - learned
    facts = {
        "chosen": chosen,
        "seconds": {name: round(value, 2) for name, value in seconds.items()},
        "peak_mb": peak_mb(),
        "versions": {name: version(name) for name in packages},
    }
    (options.out / "facts.json").write_text(json.dumps(facts, indent=1) + "\n")


def peak_mb() -> int:
    """Return the most memory that this process held at once, in megabytes.

    From Linux's VmHWM, since `getrusage` counts what the parent held when it forked.
    """
    lines = Path("/proc/self/status").read_text().splitlines()
    kilobytes = next(line.split()[1] for line in lines if line.startswith("VmHWM"))
    return round(int(kilobytes) * 1024 / 1e6)


def read(folder: Path) -> Split:
    """Return the split of a folder."""
    facts = json.loads((folder / "split.json").read_text())
    events = np.load(folder / "events.npz")
    return Split(
        users=events["users"],
        items=events["items"],
        times=events["times"],
        learned={stage: events[stage] for stage in ("fitted", "refitted")},
        choose=Asked(**np.load(folder / "choose.npz")),
        test=Asked(**np.load(folder / "test.npz")),
        stages=tuple(facts["stages"]),
        seen=tuple(facts["seen"]),
        live=facts["live"],
        n_users=facts["n_users"],
        n_items=facts["n_items"],
    )


def write(folder: Path, split: Split) -> None:
    """Write a split, the other way round."""
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(
        folder / "events.npz",
        users=split.users,
        items=split.items,
        times=split.times,
        fitted=split.learned["fitted"],
        refitted=split.learned["refitted"],
    )
    for name, asked in (("choose", split.choose), ("test", split.test)):
        np.savez(folder / f"{name}.npz", **vars(asked))
    facts = {name: getattr(split, name) for name in ("stages", "seen", "live", "n_users", "n_items")}
    (folder / "split.json").write_text(json.dumps(facts, indent=1) + "\n")


def within(minutes: float, settings: Iterable[Choice]) -> Iterator[Choice]:
    """Yield the first of the settings to try, and the next ones as long as they will end in time at the pace so far."""
    started = perf_counter()
    for tried, each in enumerate(settings):
        if tried and (perf_counter() - started) * (1 + 1 / tried) > 60 * minutes:
            return
        yield each


def choosing(split: Split) -> Asked:
    """Return the questions that choices are made by, a sample where there are many."""
    return split.choose.sample(_MOST_CHOOSING)


def choice_ndcg(split: Split, asked: Asked, lists: Ints) -> float:
    """Return NDCG@10, the mean over targets, by which every peer chooses."""
    places, questions = asked.targets()
    hits = lists[questions, :_CHOOSE_AT] == split.items[places][:, None]
    return float((hits / np.log2(np.arange(2, _CHOOSE_AT + 2))).sum() / len(places))
