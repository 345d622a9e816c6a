"""Recipes that were tried: the encoder's NDCG@10 between the cuts when one thing of a preset changes (docs/log.md).

    python benchmarks/experiments/recipe.py DATASET --protocol time --seeds 1,2,3 dropout=0.1
    python benchmarks/experiments/recipe.py DATASET --protocol leave-one-out --epochs 20 muon=1

DATASET is what `headrace prepare` wrote. A change is a field of `[training]`, or one of what has no place in the
package: `muon=1` (matrices of the blocks by Muon), `cosine=T` (vectors of unit length, temperature
T), `gbce=1` (binary cross-entropy, calibrated), `present=S` (a target counts half for each share S of the log's time
that it is older), `popular=P` (the share of negatives drawn by popularity), `plain=1` (no log-Q correction), and what
is not read: `ageless=1` (places), `timeless=1` (times), `valueless=1` (values), `wordless=1` (texts). One line a seed:
the best of six checks, with the time of the request known and unknown, the latter by the length of the history too, and
the seconds of the processor for the steps alone.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import msgspec
import numpy as np
import torch
from torch import Tensor, nn

from headrace.core.formats import Blend, Learned, ModelInfo, Protocol
from headrace.core.settings import Settings, TrainingSettings
from headrace.data.dataset import Dataset
from headrace.model.losses import Pairs, softmax_loss
from headrace.pipeline.choosing import encoder_ndcg
from headrace.pipeline.material import Material
from headrace.pipeline.model_folder import vector_tables
from headrace.pipeline.recipes import adjusted
from headrace.pipeline.stages import Question, questions
from headrace.ranking.network import Network
from headrace.ranking.scorer import seen_habit
from headrace.training import learner as learning
from headrace.training import negatives
from headrace.training.asking import encode_graph, query_graph
from headrace.training.batches import Batch, Sequences
from headrace.training.learner import Learner
from headrace.training.loop import Training
from headrace.training.negatives import NegativeSampler
from headrace.training.optimizer import BETAS, Schedule, network_optimizer
from headrace.training.presets import PRESETS, Preset

_CHECKS = (0.4, 0.6, 0.7, 0.8, 0.9, 1.0)
_QUESTIONS = 4000
_LENGTHS = (5, 20)
"""Events up to which a history is short, and up to which it is of middle length."""
_UNREAD = {
    "ageless": ("bias.age",),
    "timeless": ("bias.time", "query.time."),
    "valueless": ("value_vectors",),
}
"""Weights by parts of their names; they begin at 0, and where they stay there, nothing is read through them."""
_OWN = ("muon", "cosine", "gbce", "present", "popular", "plain", "wordless", *_UNREAD)
"""Changes that are made here."""


@dataclass(frozen=True)
class Best:
    """The best check: NDCG@10 with the request's time known and unknown, the latter by `_LENGTHS`, and its epoch."""

    known: float = 0.0
    unknown: float = 0.0
    by_length: Sequence[float] = ()
    epoch: float = 0.0


def main() -> None:
    """Parse the command line and train once for each seed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("changes", nargs="*", metavar="NAME=VALUE")
    parser.add_argument("--protocol", choices=("time", "leave-one-out"), default="time")
    parser.add_argument("--preset", choices=PRESETS, default="small")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--seeds", default="1")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--cache", type=Path, default=Path("bench-work/cache"), help="of text vectors")
    options = parser.parse_intermixed_args()
    torch.set_num_threads(options.threads)
    given = dict(change.split("=") for change in options.changes)
    changes = {name: float(value) for name, value in given.items() if name in _OWN}
    fields = {name: value for name, value in given.items() if name not in _OWN}
    if unknown := {*fields} - {*TrainingSettings.__struct_fields__}:
        parser.error(f"no such change: {', '.join(sorted(unknown))}")
    for seed in map(int, options.seeds.split(",")):
        best, seconds = train(options, changes, fields, seed)
        print(
            f"{options.dataset.name} {options.preset} {' '.join(options.changes)} seed {seed}: known {best.known:.4f}, "
            f"unknown {best.unknown:.4f} ({', '.join(f'{part:.4f}' for part in best.by_length)}) at epoch "
            f"{best.epoch:.0f}; steps {seconds:.0f} s",
            flush=True,
        )


def train(
    options: argparse.Namespace, changes: dict[str, float], fields: dict[str, str], seed: int
) -> tuple[Best, float]:
    """Return the best check of a training and the seconds that its steps took."""
    training = msgspec.convert({**fields, "seed": seed}, TrainingSettings, strict=False)
    preset = adjusted(PRESETS[options.preset], training)
    settings = Settings(training=training)
    text_model = "none" if "wordless" in changes else settings.content.text_model
    content = msgspec.structs.replace(settings.content, cache=str(options.cache), text_model=text_model)
    settings = msgspec.structs.replace(settings, content=content)
    protocol: Protocol = options.protocol
    with tempfile.TemporaryDirectory() as folder:
        material = Material.read(
            Dataset.open(options.dataset), settings, protocol, Path(folder) / "text", lambda *_: None
        )
    learner = material.learner(preset, settings, None)
    sequences = _sequences(material, preset, changes)
    sampler = _sampler(sequences, preset, changes)
    learning.softmax_loss = _loss(changes, sampler)
    if "muon" in changes:
        learner.adam = Muon(learner)
    if unread := [part for name, parts in _UNREAD.items() if name in changes for part in parts]:
        read = [p for n, p in learner.model.named_parameters() if not any(part in n for part in unread)]
        learner.adam = network_optimizer(read, weight_decay=0.01)
    steps = options.epochs * sequences.steps_per_epoch
    run = Training(learner, sequences, sampler, Schedule(preset.learning_rate, steps, min(100, steps // 5)))
    check = _check(material, preset, protocol, unit="cosine" in changes)
    at = {round(steps * share) for share in _CHECKS}
    best, spent, since = Best(), 0.0, time.process_time()

    def after(training: Training) -> None:
        nonlocal best, spent, since
        if training.state.step in at:
            spent += time.process_time() - since
            found = check(learner)
            if found.unknown > best.unknown:
                best = replace(found, epoch=training.state.step / sequences.steps_per_epoch)
            since = time.process_time()

    run.run(steps, after)
    return best, spent


def _check(material: Material, preset: Preset, protocol: Protocol, *, unit: bool) -> Callable[[Learner], Best]:
    """Return what measures a learner between the cuts; `unit`: items are compared at unit length."""
    stages, log = material.stages, material.log
    ties = "file" if stages.first_cut is None else material.ties
    asked = questions(log, stages.validation, ties, most=_QUESTIONS, seed=0)
    untimed = [replace(question, time=None) for question in asked]
    by_length = [
        [question for question in untimed if low < len(question.history) <= high]
        for low, high in pairwise((-1, *_LENGTHS, sys.maxsize))
    ]
    targets = [sum(len(question.targets) for question in group) for group in by_length]
    seen = seen_habit(log.where(stages.fitted))
    known = np.bincount(log.items[stages.fitted], minlength=log.n_items + 1) > 0
    learned = Learned(
        protocol=protocol, stage="fitted", first_cut=None, second_cut=None, until=0, events=1, fingerprint=""
    )
    info = ModelInfo(
        format=1,
        name="",
        version="",
        created="",
        learned=learned,
        shape=material.shape(preset),
        blend=Blend(encoder=1, counts=0, popularity=0),
        steps=1,
        preset="small",
        seen=seen,
        scale=material.dataset.report.scale,
    )

    def measure(learner: Learner) -> Best:
        tables = vector_tables(learner, known, None)
        ids = material.dataset.item_vocabulary().ids
        network = Network(info, ids, tables, encode_graph(learner.model), query_graph(learner.model))
        vectors = network.own_vectors
        if unit:
            lengths = np.linalg.norm(vectors.outputs.wide(), axis=1)
            vectors.outputs.scales[:] /= np.maximum(lengths, 1e-9)

        def ndcg(group: Sequence[Question]) -> float:
            return encoder_ndcg(network, vectors, group, seen) or 0.0

        parts = [ndcg(group) for group in by_length]
        unknown = sum(part * count for part, count in zip(parts, targets, strict=True)) / sum(targets)
        return Best(ndcg(asked), unknown, parts)

    return measure


def _sequences(material: Material, preset: Preset, changes: dict[str, float]) -> Sequences:
    made = material.sequences(material.stages.fitted, preset)
    if "present" in changes:
        made.__class__ = Present
        assert isinstance(made, Present)
        first, last = int(made.log.times.min()), int(made.log.times.max())
        made.half_life = changes["present"] * (last - first)
        made.last = last
    return made


class Present(Sequences):
    """Batches in which a pair counts half for each half-life between its question and the end of the log."""

    half_life: float
    last: int

    def epoch(self, number: int, seed: int, first: int = 0) -> Iterator[Batch]:
        """Yield weighted batches; the mean weight stays about 1."""
        mean = np.exp2((self.log.times - self.last) / self.half_life).mean()
        for batch in super().epoch(number, seed, first):
            asked = batch.requests[np.maximum(batch.pair_places, 0)]
            ages = np.where((batch.pair_places >= 0) & (asked >= 0), self.last - asked, self.half_life)
            weights = batch.pair_weights * np.exp2(-ages / self.half_life) / mean
            yield replace(batch, pair_weights=weights.astype(np.float32))


def _sampler(sequences: Sequences, preset: Preset, changes: dict[str, float]) -> NegativeSampler:
    negatives._POPULAR = changes.get("popular", 0.5)
    sampler = NegativeSampler(sequences.log, preset.negatives)
    if "plain" in changes:
        sampler._shift = np.zeros_like(sampler._shift)
    return sampler


Loss = Callable[[Tensor, Tensor, Tensor, Tensor, Pairs], Tensor]


def _loss(changes: dict[str, float], sampler: NegativeSampler) -> Loss:
    if "cosine" in changes:
        sharpness = changes["cosine"] ** -0.5

        def cosine(users: Tensor, targets: Tensor, others: Tensor, shift: Tensor, pairs: Pairs) -> Tensor:
            at_length = (nn.functional.normalize(vectors, dim=1) * sharpness for vectors in (users, targets, others))
            users, targets, others = at_length
            return softmax_loss(users, targets, others, shift, pairs)

        return cosine
    if "gbce" in changes:
        return _calibrated(changes["gbce"], len(sampler.known))
    return softmax_loss


def _calibrated(calibration: float, items: int) -> Loss:
    """gBCE of gSASRec (Petrov and Macdonald, RecSys 2023) with negatives that a batch shares."""

    def loss(users: Tensor, targets: Tensor, others: Tensor, _: Tensor, pairs: Pairs) -> Tensor:
        share = min(1.0, len(others) / max(1, items - 1))
        power = share * (calibration * (1 - 1 / share) + 1 / share)
        logits = users @ others.T
        logits[pairs.hit_queries, pairs.hit_negatives] = -torch.inf
        wrong = nn.functional.softplus(logits).sum(1)
        right = nn.functional.softplus(-(users[pairs.queries] * targets).sum(1))
        return (pairs.weights * (power * right + wrong[pairs.queries])).sum() / (len(others) + 1)

    return loss


class Muon:
    """Muon on the matrices of the blocks, AdamW on the rest, as one optimizer."""

    def __init__(self, learner: Learner) -> None:
        matrices = [p for n, p in learner.model.named_parameters() if p.dim() == 2 and n.endswith("weight")]
        chosen = {id(parameter) for parameter in matrices}
        rest = [parameter for parameter in learner.parameters if id(parameter) not in chosen]
        self._muon = torch.optim.Muon(matrices, weight_decay=0.01, adjust_lr_fn="match_rms_adamw")
        self._adam = torch.optim.AdamW(rest, betas=BETAS, weight_decay=0.0, fused=True)
        self.param_groups = [*self._muon.param_groups, *self._adam.param_groups]

    def step(self) -> None:
        """Change the weights."""
        self._muon.step()
        self._adam.step()

    def zero_grad(self, *, set_to_none: bool) -> None:
        """Forget the gradients."""
        self._muon.zero_grad(set_to_none=set_to_none)
        self._adam.zero_grad(set_to_none=set_to_none)


if __name__ == "__main__":
    main()
