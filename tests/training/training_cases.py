"""Small logs and learners that the training tests share."""

from __future__ import annotations

import numpy as np
import torch

from headrace.core.formats import Shape, Ties
from headrace.data.log import EventLog
from headrace.model.items import ItemContent
from headrace.model.transformer import Transformer
from headrace.training.batches import Sequences
from headrace.training.learner import Learner, Noise
from headrace.training.loop import Training
from headrace.training.negatives import NegativeSampler
from headrace.training.optimizer import Schedule

HOUR = 3_600_000_000
SHAPE = Shape(width=32, layers=1, heads=2, window=50, content=0, types=["interaction"])


def log_of(histories: list[list[int]], times: list[list[int]] | None = None) -> EventLog:
    """Return a log of users 1, 2, ... with these items, an hour apart unless `times` (in hours) says otherwise."""
    hours = times or [list(range(len(items))) for items in histories]
    items = np.array([item for items in histories for item in items], np.int32)
    users = np.repeat(np.arange(1, len(histories) + 1), [len(h) for h in histories]).astype(np.int32)
    moments = np.array([hour for own in hours for hour in own], np.int64) * HOUR + 10**15
    nothing = np.full(len(items), np.nan, np.float32)
    n_items = int(items.max()) if len(items) else 0
    return EventLog(users, items, np.zeros(len(items), np.int32), nothing, moments, len(histories), n_items)


def ring_log(items: int, users: int, length: int) -> EventLog:
    return log_of([[(start + step) % items + 1 for step in range(length)] for start in range(users)])


def sequences_of(log: EventLog, *, shape: Shape = SHAPE, batch_events: int = 512, ties: Ties = "hash") -> Sequences:
    return Sequences(log, np.full(len(log), -1, np.float32), shape=shape, batch_events=batch_events, ties=ties)


def training_of(log: EventLog, *, steps: int, shape: Shape = SHAPE, seed: int = 1, dropout: float = 0.1) -> Training:
    torch.manual_seed(seed)
    says = ItemContent(
        torch.zeros(log.n_items + 1, 0), torch.zeros(log.n_items + 1, dtype=torch.bool), torch.zeros(log.n_items + 1, 0)
    )
    learner = Learner(Transformer(shape, dropout), says, noise=Noise(), seed=seed)
    sequences = sequences_of(log, shape=shape)
    return Training(learner, sequences, NegativeSampler(log, 64), Schedule(5e-3, steps, max(1, steps // 5)))
