"""All that a training reads, as arrays, and the objects that are made of it.

Shapes: N events, V items (row 0 is padding), C width of the text vectors, F features.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from headrace.core.formats import (
    FITTED_FOLDER,
    MODEL_FILE,
    MODEL_FORMAT,
    ModelInfo,
    Protocol,
    Shape,
    Stage,
    Ties,
    read_document,
)
from headrace.core.settings import Settings, Targets
from headrace.data.dataset import Dataset
from headrace.data.log import Bools, EventLog, Floats, in_file_order, repeated
from headrace.data.values import is_rating, unit_values
from headrace.model.bfloat16 import has_bfloat16, learn_in_bfloat16
from headrace.model.items import ItemContent
from headrace.model.transformer import Transformer
from headrace.pipeline.item_content import CatalogueContent, read_content
from headrace.pipeline.stages import Stages, refuse_known_test, stages_of, strictly_before
from headrace.training.asking import users_at_places
from headrace.training.batches import Sequences
from headrace.training.initial_weights import read_weights
from headrace.training.learner import Learner, Noise
from headrace.training.presets import Preset
from headrace.training.rating_fit import RatingData

_TRAIN = "headrace train DATASET --out MODEL"
_BFLOAT16_WIDTH = 128
"""Below it bfloat16 makes a step hardly shorter: 7 % at width 64, 45 % at 128 (benchmarks/README.md)."""
_IN_BASKETS = 0.5
"""From this share of events on that share their moment with another of the same user, a log is one of baskets."""
_OF_HABIT = (0.2, 0.8)
"""Between these shares of events whose item the user had met before, habit explains much of a log and not all of it."""
_MOST_RATED = 400_000
"""Events from which the rating head learns at most; of whole users."""


@dataclass(frozen=True)
class Material:
    """A dataset as training reads it.

    Args:
        dataset: where it came from.
        log: (N,) events without those of bots; with `--ties file` each at a moment of its own.
        unit: (N,) values on 0..1, -1 for none.
        rated: (N,) whether the event is a rating with a value.
        targets: (N,) which events are predicted; None for all.
        ties: whether events of one moment have an order.
        stages: who learns from what.
        content: what the items say.
    """

    dataset: Dataset
    log: EventLog
    unit: Floats
    rated: Bools
    targets: Bools | None
    ties: Ties
    stages: Stages
    content: CatalogueContent

    @classmethod
    def read(
        cls,
        dataset: Dataset,
        settings: Settings,
        protocol: Protocol,
        text_folder: Path,
        progress: Callable[[int, int], None],
    ) -> Material:
        """Read a dataset and encode its texts; see `read_content` for the last two.

        Raises:
            DataError: too little to learn from.
        """
        report = dataset.report
        log = dataset.log()
        stages = stages_of(log, protocol)
        if report.ties == "file":
            log = in_file_order(log)
        ratings = is_rating(log.types, report.types)
        rated = ratings & ~np.isnan(log.values) & (report.scale is not None)
        content = read_content(dataset.items(), settings.content, text_folder, progress)
        ties: Ties = report.ties if report.has_times else "file"
        unit = unit_values(log.values, ratings, report.scale)
        targets = _targets(log, stages.fitted, settings.training.targets)
        return cls(dataset, log, unit, rated, targets, ties, stages, content)

    def shape(self, preset: Preset) -> Shape:
        """Return the sizes of the network for this data."""
        return Shape(
            width=preset.width,
            layers=preset.layers,
            heads=preset.heads,
            window=preset.window,
            content=self.content.text.shape[1],
            types=self.dataset.report.types,
            features=self.content.features.shape[1],
            times=self.dataset.report.has_times,
            mixer=preset.mixer,
        )

    def sequences(self, learned: Bools, preset: Preset) -> Sequences:
        """Return the batches of the events that `learned` (N,) marks."""
        log = self.log.where(learned)
        if not self.dataset.report.has_times:
            log = replace(log, times=np.zeros_like(log.times))  # places in an order, which are no times
        return Sequences(
            log,
            self.unit[learned],
            shape=self.shape(preset),
            batch_events=preset.batch_events,
            ties=self.ties,
            targets=None if self.targets is None else self.targets[learned],
        )

    def learner(
        self, preset: Preset, settings: Settings, from_model: Path | None, stage: Stage = "refitted"
    ) -> Learner:
        """Return a network at its start, or with the weights of another model, of its same stage.

        A fitted stage that began with weights of a later one would choose its steps and its blend on events that it
        knows: NDCG@10 of the encoder 0.417 between the cuts where 0.305 is true (docs/log.md, 2026-11-28).
        """
        training = settings.training
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(training.seed)
            model = Transformer(self.shape(preset), preset.dropout)
        precision = training.precision
        if precision == "bfloat16" or (precision == "auto" and preset.width >= _BFLOAT16_WIDTH and has_bfloat16()):
            learn_in_bfloat16(model.encoder, model.query)
        if model.shape.content:
            model.items.reduction.fit(torch.from_numpy(self.content.text))
        says = self.says(model)
        times = training.unknown_time if model.shape.times else 1.0
        learner = Learner(
            model, says, noise=Noise(training.id_dropout, times, training.objective == "masked"), seed=training.seed
        )
        if from_model is not None:
            start = read_document(from_model / MODEL_FILE, ModelInfo, MODEL_FORMAT, _TRAIN)
            refuse_known_test(self.log, self.stages, start, self.dataset.report.fingerprint)
            ids = self.dataset.item_vocabulary().ids
            fitted = from_model / FITTED_FOLDER
            begin = fitted if stage == "fitted" and (fitted / MODEL_FILE).exists() else from_model
            read_weights(learner, ids, list(self.content.statistics), begin)
            learner.content = self.says(model)  # the reduction came with the weights
        return learner

    def says(self, model: Transformer) -> ItemContent:
        """Return what the V + 1 items say, reduced as the network has it now."""
        text = torch.from_numpy(self.content.text)
        has_text = text.abs().sum(1) > 0
        reduced = model.items.reduction(text) if model.shape.content else text
        return ItemContent(reduced, has_text, torch.from_numpy(self.content.features))

    def rating_data(self, learned: Bools, checked: Bools, learner: Learner, preset: Preset) -> RatingData | None:
        """Return the ratings to learn from and to check on, with their user vectors; None where there are none.

        Args:
            learned: (N,) events to learn from.
            checked: (N,) events to check on.
            learner: the trained encoder.
            preset: its sizes.
        """
        if not (self.rated & learned).any():
            return None
        chosen = (learned | checked) & self._some_users(learned | checked, learner.seed)
        log = self.log.where(chosen)
        known = np.bincount(self.log.items[learned], minlength=log.n_items + 1) > 0
        inputs, outputs = learner.vectors(torch.from_numpy(known))
        users = users_at_places(learner.model, inputs, self.sequences(chosen, preset))
        before, starts = strictly_before(log, self.ties)
        return RatingData(
            log=log,
            unit=self.unit[chosen],
            rated=self.rated[chosen],
            learned=learned[chosen],
            users=users[np.where(before > starts, before, 0)],
            outputs=outputs.numpy(),
            before=before,
            starts=starts,
        )

    def _some_users(self, wanted: Bools, seed: int) -> Bools:
        """Mark the events of all users, or of random ones while they have `_MOST_RATED` events together."""
        sizes = np.bincount(self.log.users[wanted], minlength=self.log.n_users + 1)
        if sizes.sum() <= _MOST_RATED:
            return np.ones(len(self.log), np.bool_)
        order = np.random.default_rng([seed, 61]).permutation(len(sizes))
        taken = np.zeros(len(sizes), np.bool_)
        taken[order[np.cumsum(sizes[order]) <= _MOST_RATED]] = True
        return taken[self.log.users]


def _targets(log: EventLog, fitted: Bools, chosen: Targets) -> Bools | None:
    """Return (N,) which events are predicted, None for all.

    Where people fill baskets with much that they have met before, repeating and exploring are two tasks (Li et al.
    2023, "A next basket recommendation reality check"), and the blend knows of habit without the network: on the
    groceries, NDCG@10 of what is new 0.0057 to 0.0069 where the counts rest (docs/log.md, 2026-11-28).
    """
    if chosen == "all" or not len(log):
        return None
    repeats = repeated(log)
    if chosen == "auto":
        known = log.where(fitted)
        alike = (np.diff(known.users) == 0) & (np.diff(known.times) == 0)
        in_baskets = (np.append(alike, False) | np.append(False, alike)).mean()
        if in_baskets < _IN_BASKETS or not _OF_HABIT[0] <= repeats[fitted].mean() <= _OF_HABIT[1]:
            return None
    return ~repeats
