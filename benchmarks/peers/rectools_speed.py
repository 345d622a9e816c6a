"""How long RecTools' SASRec takes for lists of users with a history: milliseconds per user.

python rectools_speed.py SPLIT OUT --width 64 --window 200

The model is trained for three steps, as the time does not depend on its weights. The users are those of the test
questions, each with the history up to their question.
"""

from __future__ import annotations

import argparse
import json
import logging
import warnings
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from exchange import LIST, Ints, Split, read
from rectools import Columns
from rectools.dataset import Dataset
from rectools_peer import Size, StopAt, Transformer, frame
from timing import Row, timed

STEPS = 3


class Speed:
    """A trained model and the histories that it is asked with."""

    def __init__(self, split: Split, size: Size) -> None:
        self._peer = Transformer("sasrec", 0.0, size)
        self._peer.train(split, "fitted", StopAt(STEPS))
        places, questions = split.test.histories()
        self._all = frame(split.test.users[questions], split.items[places])
        self._of_user = dict(list(self._all.groupby(Columns.User)))
        self._users = split.test.users
        self._random = np.random.default_rng(1)

    def rows(self) -> list[Row]:
        """Return what was timed."""
        everybody = Dataset.construct(self._all)
        rows = [timed("recommend, from the data of all users", 1, self._some, lambda u: self._ask(u, everybody), 3)]
        for users, calls in ((1, 20), (64, 3), (min(1024, len(self._users)), 1)):
            rows += [
                timed("recommend", users, self._data, lambda given: self._ask(*given), calls),
                timed("data and recommend", users, self._histories, lambda given: self._ask(*_made(given)), calls),
            ]
        return rows

    def _some(self, users: int) -> Ints:
        return self._random.choice(self._users, users, replace=False)

    def _histories(self, users: int) -> pd.DataFrame:
        return pd.concat([self._of_user[user] for user in self._some(users).tolist()])

    def _data(self, users: int) -> tuple[Ints, Dataset]:
        return _made(self._histories(users))

    def _ask(self, users: Ints, data: Dataset) -> pd.DataFrame:
        lists = self._peer.model.recommend(users=users, dataset=data, k=LIST, filter_viewed=False)
        assert len(lists) == LIST * len(users)
        return lists


def _made(histories: pd.DataFrame) -> tuple[Ints, Dataset]:
    return histories[Columns.User].unique(), Dataset.construct(histories)


def main() -> None:
    """Read the command line, train, ask and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("split", type=Path)
    parser.add_argument("out", type=Path, help="the file to write")
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--window", type=int, default=200)
    options = parser.parse_args()
    speed = Speed(read(options.split), Size(options.width, options.window))
    facts = {
        "rows": speed.rows(),
        "threads": f"{torch.get_num_threads()} of PyTorch's",
        "versions": {name: version(name) for name in ("rectools", "torch")},
    }
    options.out.write_text(json.dumps(facts) + "\n")


if __name__ == "__main__":
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore")
    main()
