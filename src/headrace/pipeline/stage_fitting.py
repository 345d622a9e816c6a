"""The two stages of a training: one that chooses between the cuts, one that learns again with those choices.

Shapes: N events, V items (row 0 is padding).
"""

from __future__ import annotations

import datetime
import importlib.metadata
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path
from time import perf_counter

import msgspec
import numpy as np
import torch
from torch import Tensor

from headrace.core.errors import StoppedError
from headrace.core.formats import MODEL_FORMAT, TEXT_FOLDER, Blend, Learned, ModelInfo, Protocol, RatingFit, Stage, Ties
from headrace.core.settings import Settings
from headrace.core.types import Seen
from headrace.data.damped_means import ItemSums
from headrace.data.dataset import Dataset
from headrace.data.log import Bools
from headrace.model.rating_head import RatingHead
from headrace.pipeline.choosing import DEFAULT_BLEND, Counted, about_new, choose_blend, encoder_ndcg
from headrace.pipeline.following import Follower, Phase
from headrace.pipeline.material import Material
from headrace.pipeline.memory import blaming
from headrace.pipeline.model_folder import Metrics, Trained, vector_tables
from headrace.pipeline.recipes import adjusted
from headrace.pipeline.stages import Question, questions
from headrace.ranking.behaviour import Behaviour, window_for
from headrace.ranking.catalogue import Catalogue
from headrace.ranking.network import Network
from headrace.ranking.scorer import seen_habit
from headrace.training.asking import encode_graph, query_graph
from headrace.training.checkpoint import read_checkpoint, write_checkpoint
from headrace.training.learner import Learner
from headrace.training.loop import CurvePoint, LoopState, Training
from headrace.training.negatives import NegativeSampler
from headrace.training.optimizer import Schedule
from headrace.training.presets import PRESETS, PresetName, choose_preset
from headrace.training.progress import Progress, Watcher
from headrace.training.rating_fit import RatingChoice, fit_ratings, refit_ratings

DEFAULT_MINUTES = 10.0
_TIMED_STEPS = 20
_RESERVE_S = 45.0
"""For what is not training: exporting the graphs, fitting the blend, writing."""
_CHECK_SHARE = 0.1
"""Of the training time, for checks of the metric."""
_CHECKS = 8
_CHECK_QUESTIONS = 500
# With 2,000, whether a search finds clearly better weights than the most likely ones is chance on serenade-sessions: it
# wins there by 1.4 to 2.7 %, and with 3,000 by 2.4 to 2.6 %.
_BLEND_QUESTIONS = 4000
_LEAST_QUESTIONS = 300
_BLEND_SCORES = 500_000_000
"""Scores, of all items for each question, that the blend is fitted on; a million items take 0.2 s a question."""
_WARMUP = 100
_READ = Phase("reading texts", 0.0, 0.05)
_FIRST = Phase("fitted", 0.05, 0.5)
_REFITTED = Phase("refitted", 0.5, 0.95)
_EVERYTHING = Phase("everything", 0.5, 0.95)
_WRITING = 0.97
_STATE, _CHOSEN = "stage.safetensors", "fitted.safetensors"


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What a training was asked for, and how long it became; enough to go on with it.

    Args:
        settings: all of them.
        protocol: what to learn from.
        fingerprint: of the dataset.
        from_model: a model folder to begin with.
        preset: empty until chosen.
        steps: of the fitted stage; 0 until decided.
        threads: that compute; 0 until decided.
        created: when it began, ISO 8601.
    """

    settings: Settings
    protocol: Protocol
    fingerprint: str
    from_model: str | None = None
    preset: PresetName | None = None
    steps: int = 0
    threads: int = 0
    created: str = ""


class Choices(msgspec.Struct, frozen=True, kw_only=True):
    """What the fitted stage found: `best` of its steps, the blend, the habit, and its curve and metrics."""

    best: int
    blend: Blend
    seen: Seen
    curve: list[CurvePoint]
    validation: dict[str, float]
    rating: RatingFit | None = None
    rating_epochs: int = 0


class Fitting:
    """One training: a dataset, a plan, and the folder where it keeps what a resumption needs."""

    def __init__(
        self,
        dataset: Dataset,
        plan: Plan,
        workspace: Path,
        watcher: Watcher,
        *,
        material: Material | None = None,
        fitted_s: float | None = None,
    ) -> None:
        """Read the dataset, encode its texts, decide the preset and the steps.

        Args:
            dataset: what to learn from.
            plan: what was asked for; `self.plan` is what became of it.
            workspace: a folder for checkpoints and the text encoder.
            watcher: hears of the progress.
            material: the dataset, where it was read before.
            fitted_s: seconds of training for the fitted stage alone, in place of the minutes for everything.

        Raises:
            SettingsError: sizes that do not go together.
        """
        begun = perf_counter()
        self._workspace = workspace
        self._watcher = watcher
        settings = plan.settings
        self._material = material or Material.read(
            dataset, settings, plan.protocol, workspace / TEXT_FOLDER, self._read_texts
        )
        self._items = Catalogue.of_items(dataset.items())
        stages = self._material.stages
        self._ratio = float(stages.last.sum()) / max(1, int(stages.fitted.sum()))
        minutes = settings.training.minutes or DEFAULT_MINUTES
        name = plan.preset or choose_preset(settings.training.preset, int(stages.last.sum()), minutes)
        self.preset = adjusted(PRESETS[name], settings.training)
        self.plan = msgspec.structs.replace(
            plan, preset=name, created=plan.created or datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        )
        self._seen = seen_habit(self._material.log.where(stages.fitted))
        threads = plan.threads or settings.training.threads or torch.get_num_threads()
        steps = plan.steps or settings.training.steps or 0
        torch.set_num_threads(threads)
        if not steps:
            tried = [threads] if settings.training.threads else sorted({threads, 1}, reverse=True)
            seconds, threads = min((self._seconds_per_step(count), count) for count in tried)
            torch.set_num_threads(threads)
            whole = minutes * 60 - _RESERVE_S - (perf_counter() - begun)
            steps = self._steps_in(whole if fitted_s is None else fitted_s * (1 + self._ratio), seconds)
        self.plan = msgspec.structs.replace(self.plan, steps=steps, threads=threads)

    def fit_first(self) -> Choices:
        """Learn before the first cut, keep the best step between the cuts, fit blend and ratings there."""
        path = self._workspace / _CHOSEN
        if path.is_file():
            return read_checkpoint(path, Choices)[1]
        stages = self._material.stages
        training = self._training(stages.fitted, self.plan.steps)
        learner = training.learner
        log = self._material.log
        # Under `leave-one-out` the last event is asked for with all before it, ties too, as in the test.
        ties: Ties = "file" if stages.first_cut is None else self._material.ties
        most = max(_LEAST_QUESTIONS, min(_BLEND_QUESTIONS, _BLEND_SCORES // (log.n_items + 1)))
        asked = questions(log, stages.validation, ties, most=most, seed=learner.seed)
        few, seen = asked[:: max(1, len(asked) // _CHECK_QUESTIONS)], self._seen
        if self._material.targets is not None:
            few, seen = about_new(few), "exclude"

        def measure() -> float | None:
            network = self._network(learner, stages.fitted)
            return encoder_ndcg(network, network.own_vectors, few, seen)

        self._run(training, self.plan.steps, _FIRST, measure)
        training.take_best()
        state = training.state
        del training  # its batches hold what they learn from, which the counts now have to share the memory with
        self._watcher.report(Progress(stage="fitting the blend", share=_FIRST.end))
        with blaming("ranking.count_pairs", self._pairs):
            choices = self._choose(learner, state, asked)
        tensors = learner.weights()
        data = self._material.rating_data(stages.fitted, stages.validation, learner, self.preset)
        if data is not None:
            head, rating, sums = fit_ratings(data, learner.seed)
            choices = msgspec.structs.replace(choices, rating=rating.fit, rating_epochs=rating.epochs)
            tensors |= _rating_tensors(head, sums)
        write_checkpoint(path, tensors, choices)
        (self._workspace / _STATE).unlink(missing_ok=True)
        return choices

    def fit_last(self, choices: Choices) -> Trained:
        """Learn from all that the protocol allows, for as many epochs as the best step of the fitted stage was."""
        stages = self._material.stages
        steps = max(1, round(choices.best * self._ratio))
        training = self._training(stages.last, max(1, round(self.plan.steps * self._ratio)))
        phase = _EVERYTHING if self.plan.protocol == "all" else _REFITTED
        self._run(training, steps, phase, lambda: None)
        rating, learner = None, training.learner
        choices = msgspec.structs.replace(choices, curve=training.state.curve)
        del training  # as in `fit_first`
        data = self._material.rating_data(stages.last, stages.last, learner, self.preset)
        if data is not None and choices.rating is not None:
            choice = RatingChoice(choices.rating, choices.rating_epochs)
            head, fit, sums = refit_ratings(data, choice, learner.seed)
            choices = msgspec.structs.replace(choices, rating=fit)
            rating = (head, sums)
        self._watcher.report(Progress(stage="writing", share=_WRITING))
        return self._trained(learner, stages.last, choices, rating)

    def trained(self) -> Trained:
        """Return the fitted stage as a model."""
        tensors, choices = read_checkpoint(self._workspace / _CHOSEN, Choices)
        learner = self._material.learner(self.preset, self.plan.settings, None)
        learner.load_weights({n: t for n, t in tensors.items() if not n.startswith("rating.")})
        learner.content = self._material.says(learner.model)
        rating = None if choices.rating is None else _rating_of(tensors, choices.rating, self.preset.width)
        del tensors
        return self._trained(learner, self._material.stages.fitted, choices, rating)

    def _choose(self, learner: Learner, state: LoopState, asked: list[Question]) -> Choices:
        stages, ranking = self._material.stages, self.plan.settings.ranking
        network = self._network(learner, stages.fitted)
        counted = Counted(
            self._material.log,
            stages.fitted,
            live=stages.first_cut is not None,
            window=window_for(len(self._material.log), ranking),
            seen=self._seen,
        )
        found = choose_blend(
            network, network.own_vectors, asked, counted=counted, catalogue=self._items, settings=ranking
        )
        return Choices(
            best=state.best_step or self.plan.steps,
            blend=found.blend if found else DEFAULT_BLEND,
            seen=self._seen,
            curve=state.curve,
            validation={"headrace": found.blended, "encoder": found.encoder, "counts": found.counts} if found else {},
        )

    def _run(self, training: Training, steps: int, phase: Phase, measure: Callable[[], float | None]) -> None:
        path = self._workspace / _STATE
        if path.is_file():
            tensors, state = read_checkpoint(path, LoopState)
            training.load(tensors, state)
        follower = Follower(
            phase,
            self._watcher,
            path,
            steps=(steps, max(1, steps // _CHECKS)),
            measure=measure,
            checkpoint_minutes=self.plan.settings.training.checkpoint_minutes,
        )
        with blaming("training.batch_events", self.preset.batch_events):
            training.run(steps, follower)

    def _training(self, learned: Bools, steps: int) -> Training:
        """Return a training at its start; `steps` is the length of the schedule."""
        settings = self.plan.settings
        from_model = None if self.plan.from_model is None else Path(self.plan.from_model)
        with blaming("training.width", self.preset.width):
            learner = self._material.learner(self.preset, settings, from_model, self._stage(learned))
        sequences = self._material.sequences(learned, self.preset)
        sampler = NegativeSampler(sequences.log, self.preset.negatives)
        schedule = Schedule(self.preset.learning_rate, steps, min(_WARMUP, max(1, steps // 5)))
        return Training(learner, sequences, sampler, schedule)

    def _seconds_per_step(self, threads: int) -> float:
        """Time a few steps, which are thrown away: the training begins anew with a schedule of the right length."""
        torch.set_num_threads(threads)
        training = self._training(self._material.stages.fitted, _TIMED_STEPS)
        training.run(_TIMED_STEPS // 4, lambda _: None)
        begun = perf_counter()
        training.run(_TIMED_STEPS, lambda _: None)
        return (perf_counter() - begun) / (_TIMED_STEPS - _TIMED_STEPS // 4)

    def _steps_in(self, seconds: float, per_step: float) -> int:
        """Return how many steps of the fitted stage fit, with those of the stage behind it, into the time left."""
        fitting = int(seconds * (1 - _CHECK_SHARE) / per_step / (1 + self._ratio))
        sequences = self._material.sequences(self._material.stages.fitted, self.preset)
        return max(_TIMED_STEPS, min(fitting, self.preset.epochs * sequences.steps_per_epoch))

    @property
    def _pairs(self) -> int:
        """Return how many pairs of events are counted at most."""
        ranking, events = self.plan.settings.ranking, len(self._material.log)
        return min(ranking.count_pairs, window_for(events, ranking) * events)

    def _known(self, learned: Bools) -> Bools:
        """Return (V + 1,) the items with an event among those that are learned from."""
        log = self._material.log
        return np.bincount(log.items[learned], minlength=log.n_items + 1) > 0

    def _network(self, learner: Learner, learned: Bools) -> Network:
        """Return the network of the moment, as serving would load it."""
        info = self._info(learned, Choices(best=1, blend=DEFAULT_BLEND, seen=self._seen, curve=[], validation={}))
        tables = vector_tables(learner, self._known(learned), None)
        vocabulary = self._material.dataset.item_vocabulary()
        return Network(info, vocabulary, tables, encode_graph(learner.model), query_graph(learner.model))

    def _trained(
        self, learner: Learner, learned: Bools, choices: Choices, rating: tuple[RatingHead, ItemSums] | None
    ) -> Trained:
        behaviour = Behaviour(window_for(len(self._material.log), self.plan.settings.ranking))
        with blaming("ranking.count_pairs", self._pairs):
            behaviour.add_marked(self._material.log, learned)
        metrics = Metrics(curve=choices.curve, validation=choices.validation)
        return Trained(self._info(learned, choices), learner, self._known(learned), behaviour, metrics, rating)

    def _info(self, learned: Bools, choices: Choices) -> ModelInfo:
        stages, report = self._material.stages, self._material.dataset.report
        times = self._material.log.times[learned]
        stage = self._stage(learned)
        settings = self.plan.settings
        sections: dict[str, dict[str, str | int | float | bool | list[str] | None]] = {
            name: msgspec.to_builtins(getattr(settings, name)) for name in ("content", "training", "ranking")
        }
        sections["training"] |= {"steps": self.plan.steps, "threads": self.plan.threads}
        seed = msgspec.json.encode([self.plan, stage])
        return ModelInfo(
            format=MODEL_FORMAT,
            name=self._material.dataset.path.name or "model",
            version=self.plan.created.replace(":", "").replace("+0000", "Z")
            + "-"
            + blake2b(seed, digest_size=3).hexdigest(),
            created=self.plan.created,
            learned=Learned(
                protocol=self.plan.protocol,
                stage=stage,
                first_cut=stages.first_cut,
                second_cut=stages.second_cut,
                until=int(times.max()) if len(times) else 0,
                events=len(times),
                fingerprint=report.fingerprint,
            ),
            shape=self._material.shape(self.preset),
            blend=choices.blend,
            steps=self.plan.steps,
            preset=self.plan.preset or "",
            seen=choices.seen,
            scale=report.scale,
            has_rating_head=choices.rating is not None,
            rating=choices.rating,
            features=self._material.content.statistics,
            settings=sections,
            versions={name: importlib.metadata.version(name) for name in ("headrace", "torch", "onnx", "numpy")},
        )

    def _stage(self, learned: Bools) -> Stage:
        return "refitted" if learned is self._material.stages.last else "fitted"

    def _read_texts(self, done: int, total: int) -> None:
        if self._watcher.stopped():
            raise StoppedError(
                "the training was stopped while it read texts; the same command begins again, what was read is kept"
            )
        share = _READ.begin + (_READ.end - _READ.begin) * done / max(1, total)
        self._watcher.report(Progress(stage=_READ.name, share=share, step=done, steps=total))


def _rating_tensors(head: RatingHead, sums: ItemSums) -> dict[str, Tensor]:
    tensors = {f"rating.head.{name}": tensor for name, tensor in head.state_dict().items()}
    return {**tensors, "rating.sums": torch.from_numpy(sums.sums), "rating.counts": torch.from_numpy(sums.counts)}


def _rating_of(tensors: dict[str, Tensor], fit: RatingFit, width: int) -> tuple[RatingHead, ItemSums]:
    head = RatingHead(width)
    prefix = "rating.head."
    head.load_state_dict({n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)})
    return head, ItemSums(fit.mean, tensors["rating.sums"].numpy(), tensors["rating.counts"].numpy())
