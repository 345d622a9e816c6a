"""RecTools' transformers: `sasrec` (full softmax) and `esasrec` (LiGR layers, sampled softmax with 256 negatives).

eSASRec: Tikhonovich and others, Enhancing transformer-based recommendations in a modular fashion (RecSys 2025). The
length of the training is chosen by NDCG@10 on the questions to choose by, asked ten times within the time given, or
until, after half of it, three in a row bring no more; a later stage is trained anew for as many epochs. Neither learns
live: a question is answered from its whole history by frozen weights. What no history says is left to the caller.
Shapes: Q questions, K places.
"""

from __future__ import annotations

import copy
import itertools
import logging
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter
from typing import Self

import numpy as np
import pandas as pd
import torch
from exchange import LIST, Asked, Ints, Longs, Peer, Seen, Split, choice_ndcg, choosing, run
from pytorch_lightning import Callback, LightningModule, Trainer, seed_everything
from rectools import Columns
from rectools.dataset import Dataset
from rectools.models import SASRecModel
from rectools.models.nn.transformers.ligr import LiGRLayers

_FACTORS, _BLOCKS, _HEADS, _DROPOUT = 64, 2, 2, 0.2
_SHORTEST, _LONGEST = 10, 200
"""Of a history, as many of the last events are read as 98 % of the users have, within these bounds."""
_NEGATIVES = 256
_MOST_ITEMS = 20_000
"""With more, the full softmax of `sasrec` fits neither memory nor a night, and 256 negatives stand for it."""
_BATCH, _BATCH_EVENTS = 128, 6400
_RATE = 1e-3
_CHECKS, _PATIENCE = 10, 3
_ENDLESS = 10_000
_SEED = 1
_AT_ONCE = 2048


@dataclass(frozen=True)
class Size:
    """Of a model: its width, the events that it reads (None: as the data has them), and the seed of its start."""

    width: int = _FACTORS
    window: int | None = None
    seed: int = _SEED


class Transformer(Peer):
    """A model of the library."""

    def __init__(self, method: str, minutes: float, size: Size | None = None) -> None:
        self._method = method
        self._minutes = minutes
        self._size = size or Size()
        self._steps = 0
        self._best: dict[str, torch.Tensor] = {}
        self.model: SASRecModel

    def choose(self, split: Split) -> dict[str, float | int | str]:
        """Train on the stage `fitted` and keep the weights that answer best."""
        asked = choosing(split)

        def measure() -> float:
            self.model.is_fitted = True
            return choice_ndcg(split, asked, self.answer(split, asked, split.seen[0]))

        def keep(step: int) -> None:
            self._steps, self._best = step, copy.deepcopy(self.model.torch_model.state_dict())

        watch = _Watch(60 * self._minutes, measure, keep)
        self.train(split, "fitted", watch)
        return {"steps": self._steps, "tried": watch.step, "ndcg": watch.best}

    def learn(self, split: Split, stage: str) -> None:
        """Take the best of what was tried on the stage `fitted`; train anew on another for as many epochs."""
        if stage == "fitted":
            self.model.torch_model.load_state_dict(self._best)
            return
        share = split.learned[stage].sum() / split.learned["fitted"].sum()
        self.train(split, stage, StopAt(max(1, round(self._steps * share))))

    def train(self, split: Split, stage: str, callback: Callback, epochs: int = _ENDLESS) -> None:
        """Train anew on a stage until the callback ends it, or for a number of epochs."""
        self.model = self._fresh(split, callback)
        rows = np.flatnonzero(split.learned[stage])
        data = Dataset.construct(frame(split.users[rows], split.items[rows]))
        self.model.fit_partial(data, min_epochs=0, max_epochs=epochs)

    def answer(self, split: Split, asked: Asked, seen: Seen) -> Ints:
        """See `Peer.answer`."""
        out = np.zeros((len(asked), LIST), np.int32)
        places, questions = asked.histories()
        bounds = np.searchsorted(questions, np.arange(0, len(asked) + _AT_ONCE, _AT_ONCE))
        for first, last in itertools.pairwise(bounds.tolist()):
            histories = frame(questions[first:last], split.items[places[first:last]])
            if not len(histories):
                continue
            found = self.model.recommend(
                users=histories[Columns.User].unique(),
                dataset=Dataset.construct(histories),
                k=LIST,
                filter_viewed=seen == "exclude",
                on_unsupported_targets="ignore",
            )
            out[found[Columns.User], found[Columns.Rank] - 1] = found[Columns.Item]
        return out

    def _fresh(self, split: Split, callback: Callback) -> SASRecModel:
        seed_everything(self._size.seed)
        lengths = np.bincount(split.users[split.learned["fitted"]])
        usual = np.clip(np.quantile(lengths[lengths > 0], 0.98), _SHORTEST, _LONGEST)
        longest = self._size.window or int(usual)
        novel = self._method == "esasrec"
        sampled = novel or split.n_items > _MOST_ITEMS
        extra = {"transformer_layers_type": LiGRLayers} if novel else {}
        return SASRecModel(
            n_blocks=_BLOCKS,
            n_heads=_HEADS,
            n_factors=self._size.width,
            dropout_rate=_DROPOUT,
            session_max_len=longest,
            loss="sampled_softmax" if sampled else "softmax",
            n_negatives=_NEGATIVES,
            lr=_RATE,
            batch_size=min(_BATCH, _BATCH_EVENTS // longest),
            get_trainer_func=lambda: _trainer(callback),
            **extra,
        )


class Uncopied(Callback):
    """A callback that stays itself when the library copies its trainer."""

    def __deepcopy__(self, memory: dict[int, object]) -> Self:
        return self


class StopAt(Uncopied):
    """Ends a training after a number of steps."""

    def __init__(self, steps: int) -> None:
        self._steps = steps

    def on_train_batch_end(self, trainer: Trainer, *_: object) -> None:
        """Stop, or not yet."""
        trainer.should_stop = trainer.global_step >= self._steps


class _Watch(Uncopied):
    """Measures a training ten times within its time; ends it when that is over,
    or after half of it when three measures brought no more."""

    def __init__(self, seconds: float, measure: Callable[[], float], keep: Callable[[int], None]) -> None:
        self.best, self.step = -1.0, 0
        self._interval = seconds / _CHECKS
        self._measure, self._keep = measure, keep
        self._next = perf_counter() + self._interval
        self._end = perf_counter() + seconds
        self._behind = 0

    def on_train_batch_end(self, trainer: Trainer, module: LightningModule, *_: object) -> None:
        """Measure where it is time to, and keep what is best."""
        if perf_counter() < self._next:
            return
        self.step = trainer.global_step
        found = self._measure()
        module.train()
        self._behind += 1
        if found > self.best:
            self.best, self._behind = found, 0
            self._keep(self.step)
        now = perf_counter()
        self._next = now + self._interval
        # A training that has hardly begun goes up and down by chance.
        tired = self._behind >= _PATIENCE and now >= self._end - 5 * self._interval
        trainer.should_stop = now >= self._end or tired


def _trainer(callback: Callback) -> Trainer:
    return Trainer(
        accelerator="cpu",
        callbacks=[callback],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


def frame(users: Ints | Longs, items: Ints) -> pd.DataFrame:
    """Return interactions in the order given: its place is the time of each, so that ties stay as they are."""
    times = pd.to_datetime(np.arange(len(users)), unit="s")
    return pd.DataFrame({Columns.User: users, Columns.Item: items, Columns.Weight: 1.0, Columns.Datetime: times})


if __name__ == "__main__":
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore")
    run(Transformer, ("rectools", "torch", "pytorch-lightning", "numpy"))
