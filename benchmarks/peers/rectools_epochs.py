"""RecTools' eSASRec at a given size for a few epochs: seconds of each, and NDCG@10 of the fitted questions.

python rectools_epochs.py SPLIT OUT --epochs 5 --seed 1 --width 128 --window 50
"""

from __future__ import annotations

import argparse
import json
import logging
import warnings
from pathlib import Path
from time import perf_counter

from exchange import choice_ndcg, read
from pytorch_lightning import LightningModule, Trainer
from rectools_peer import Size, Transformer, Uncopied


class Epochs(Uncopied):
    """Notes the seconds of each epoch."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self._begun = 0.0

    def on_train_epoch_start(self, trainer: Trainer, module: LightningModule) -> None:
        """Start the watch."""
        self._begun = perf_counter()

    def on_train_epoch_end(self, trainer: Trainer, module: LightningModule) -> None:
        """Stop it."""
        self.seconds.append(round(perf_counter() - self._begun, 2))
        print(len(self.seconds), self.seconds[-1], flush=True)


def main() -> None:
    """Read the command line, train, answer and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("split", type=Path)
    parser.add_argument("out", type=Path, help="the file to write")
    for name, size in {"epochs": 5, "seed": 1, "width": 128, "window": 50}.items():
        parser.add_argument(f"--{name}", type=int, default=size)
    options = parser.parse_args()
    split, watch = read(options.split), Epochs()
    peer = Transformer("esasrec", 0.0, Size(options.width, options.window, options.seed))
    peer.train(split, "fitted", watch, epochs=options.epochs)
    lists = peer.answer(split, split.test, "include")
    facts = {"seconds": watch.seconds, "ndcg": choice_ndcg(split, split.test, lists)}
    options.out.write_text(json.dumps(facts) + "\n")


if __name__ == "__main__":
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore")
    main()
