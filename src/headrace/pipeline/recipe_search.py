"""The search behind `tune`: trials of recipes in a study of Optuna, and the last training of the best.

Each trial trains the fitted stage with a recipe around the preset, in a share of the time, fits its blend, and is
scored by NDCG@10 of the blend between the cuts; the test is never asked. Bad trials are given up early. This file and
`tuning.py` alone need Optuna, the extra `headrace[tune]`.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from time import perf_counter

import msgspec
import numpy as np
import optuna
from optuna.pruners import MedianPruner
from optuna.samplers import TPESampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, Trial, TrialState

from headrace.core.errors import DataError, ModelError, StoppedError
from headrace.core.files import replacing
from headrace.core.formats import TEXT_FOLDER, Protocol
from headrace.core.settings import Settings
from headrace.data.dataset import Dataset
from headrace.pipeline.material import Material
from headrace.pipeline.recipes import adjusted, space_around, with_recipe
from headrace.pipeline.stage_fitting import DEFAULT_MINUTES, Choices, Fitting, Plan
from headrace.pipeline.tuning_record import Outcome, Tried, TuningRecord
from headrace.ranking.blending import LEAST_SAMPLES
from headrace.training.negatives import NegativeSampler
from headrace.training.presets import PRESETS, choose_preset
from headrace.training.progress import Progress, Watcher

_SEARCH = 0.6
"""Of the time, for trials; the rest trains the winner."""
_WHOLE_TRIALS = 12
"""For so many the search should have time, were none given up early."""
_LEAST_TRIAL_S = 60.0
"""Shorter ones say little; half of the time goes into their start, their checks and their blend."""
_FITTED = 0.7
"""Of a trial's time, for training."""
_STARTUP_RECIPES, _STARTUP_CURVES, _UNJUDGED_CHECKS = 5, 3, 2
"""Recipes drawn by chance, whole curves to compare with, and checks before which none is given up."""
_STUDY = "recipes"
_STUDY_FILE, _PLAN_FILE, _WINNER = "study.jsonl", "plan.json", "winner"
_OUTCOMES: dict[TrialState, Outcome] = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
}


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What a search was asked for; enough to go on with it."""

    settings: Settings
    protocol: Protocol
    fingerprint: str
    trials: int


class Search:
    """One search: its trials stand in a file of Optuna, what each needs to go on in a folder of its own."""

    def __init__(self, dataset: Dataset, asked: Asked, workspace: Path, watcher: Watcher) -> None:
        self._dataset = dataset
        self._asked = asked
        self._workspace = workspace
        self._watcher = watcher
        self._begun = perf_counter()
        training = asked.settings.training
        self._minutes = training.minutes or DEFAULT_MINUTES
        self._study = _study_of(workspace / _STUDY_FILE)
        self._earlier_s = float(self._study.user_attrs.get("seconds", 0.0))
        self._so_far = ""

    def read(self) -> None:
        """Read the dataset, encode its texts, decide the preset."""
        asked, training = self._asked, self._asked.settings.training
        texts = self._workspace / TEXT_FOLDER
        self._material = Material.read(self._dataset, asked.settings, asked.protocol, texts, self._read_texts)
        stages = self._material.stages
        self._name = choose_preset(training.preset, int(stages.last.sum()), self._minutes)
        preset = adjusted(PRESETS[self._name], training)
        sampler = NegativeSampler(self._material.log.where(stages.fitted), preset.negatives)
        times = self._dataset.report.has_times
        self._space = space_around(preset, training, sampled=not sampler.full, times=times)
        left = _SEARCH * self._minutes * 60 - self._spent()
        trial_s = max(left / _WHOLE_TRIALS, min(_LEAST_TRIAL_S, left / _STARTUP_CURVES), 1.0)
        # A search that goes on keeps the length of its trials: they are compared.
        self._trial_s = float(self._study.user_attrs.get("trial_s", trial_s))
        self._study.set_user_attr("trial_s", self._trial_s)

    def try_recipes(self) -> None:
        """Try recipes while there is time; first the one that was under way when the search was stopped.

        Raises:
            StoppedError: the watcher said so.
            ModelError: no recipe trains.
        """
        self._keep_best()
        if not self._study.trials:
            self._study.enqueue_trial(self._space.start)
        for begun in self._study.get_trials(states=(TrialState.RUNNING,)):
            self._seed(begun.number)
            self._try(Trial(self._study, begun._trial_id))  # the one way to a trial that another process began
        while self._has_time():
            self._seed(len(self.done()))
            self._try(self._study.ask())
        if self._best() is None:
            raise ModelError(str(self.done()[-1].user_attrs["error"]))

    def train_winner(self) -> tuple[Fitting, Choices]:
        """Train the best recipe for as long as there is time, and return that or its trial, whichever is better."""
        best = self._best()
        assert best is not None
        watcher = _AfterSearch(self._watcher)
        tried = self._fitting(best, self._folder(best), watcher)
        folder = self._workspace / _WINNER
        plan = _plan_in(folder)
        if plan is None:
            minutes = max(0.01, self._minutes - self._spent() / 60)
            training = msgspec.structs.replace(tried.plan.settings.training, minutes=minutes)
            settings = msgspec.structs.replace(tried.plan.settings, training=training)
            plan = msgspec.structs.replace(tried.plan, settings=settings, steps=0, created="")
        longer = Fitting(self._dataset, plan, folder, watcher, material=self._material)
        _write_plan(longer.plan, folder)
        first = tried.fit_first()
        if longer.plan.steps <= tried.plan.steps:
            return tried, first
        try:
            second = longer.fit_first()
        except ModelError:  # its rate stays high for longer; the trial shows that the recipe trains
            return tried, first
        return (longer, second) if _score(second) >= _score(first) else (tried, first)

    def done(self) -> list[FrozenTrial]:
        """Return the trials that ended, in order."""
        return self._study.get_trials(states=tuple(_OUTCOMES))

    def note_time(self) -> None:
        """Keep how long the search has taken."""
        self._study.set_user_attr("seconds", self._spent())

    def record(self, choices: Choices) -> TuningRecord:
        """Return what was found; `choices` are those of the model's own fitted stage."""
        best = self._best()
        assert best is not None
        return TuningRecord(
            protocol=self._asked.protocol,
            minutes=self._minutes,
            seconds=round(self._spent(), 1),
            best=best.number,
            trials=[_tried(trial) for trial in self.done()],
            validation=choices.validation,
        )

    def _try(self, trial: Trial) -> None:
        folder, begun = self._folder(trial), perf_counter()
        before = float(trial.user_attrs.get("seconds", 0.0))
        score, state = None, TrialState.COMPLETE
        self._space.propose(trial)
        try:
            fitting = self._fitting(trial, folder, _TrialWatcher(self, trial))
            _write_plan(fitting.plan, folder)
            trial.set_user_attr("steps", fitting.plan.steps)
            choices = fitting.fit_first()
            score = _score(choices)
            trial.set_user_attr("parts", {n: v for n, v in choices.validation.items() if n != "headrace"})
        except optuna.TrialPruned:
            state = TrialState.PRUNED
        except ModelError as error:
            trial.set_user_attr("error", str(error))
            state = TrialState.FAIL
        finally:
            trial.set_user_attr("seconds", before + perf_counter() - begun)
            self.note_time()
        self._study.tell(trial, score, state=state)
        self._keep_best()

    def _fitting(self, trial: Trial | FrozenTrial, folder: Path, watcher: Watcher) -> Fitting:
        """Return the training of a trial, as it stands."""
        asked = self._asked
        training = msgspec.structs.replace(
            with_recipe(asked.settings.training, trial.params),
            preset=self._name,
            minutes=None,
            threads=asked.settings.training.threads or self._study.user_attrs.get("threads"),
        )
        plan = _plan_in(folder) or Plan(
            settings=msgspec.structs.replace(asked.settings, training=training),
            protocol=asked.protocol,
            fingerprint=asked.fingerprint,
            preset=self._name,
        )
        seconds = self._trial_s * _FITTED
        fitting = Fitting(self._dataset, plan, folder, watcher, material=self._material, fitted_s=seconds)
        self._study.set_user_attr("threads", fitting.plan.threads)
        return fitting

    def _has_time(self) -> bool:
        done = self.done()
        if not done:
            return True
        longest = max((float(t.user_attrs["seconds"]) for t in done if t.state == TrialState.COMPLETE), default=0.0)
        over = (self._workspace / _WINNER).exists() or len(done) >= self._asked.trials
        return not over and self._spent() + longest <= _SEARCH * self._minutes * 60

    def _best(self) -> FrozenTrial | None:
        whole = self._study.get_trials(states=(TrialState.COMPLETE,))
        return max(whole, key=lambda trial: (trial.value or 0.0, -trial.number), default=None)

    def _seed(self, number: int) -> None:
        """Let what trial `number` proposes follow from the seed and the trials before it, also after a resumption."""
        seed = int(np.random.default_rng([self._asked.settings.training.seed, number, 71]).integers(2**31))
        self._study.sampler = TPESampler(seed=seed, n_startup_trials=_STARTUP_RECIPES)

    def _folder(self, trial: Trial | FrozenTrial) -> Path:
        return self._workspace / f"trial-{trial.number}"

    def _keep_best(self) -> None:
        """Remove what the other trials would go on with."""
        best = self._best()
        self._so_far = "" if best is None else f" (best so far {best.value:.4f})"
        for trial in self.done():
            if best is None or trial.number != best.number:
                shutil.rmtree(self._folder(trial), ignore_errors=True)

    def _spent(self) -> float:
        return self._earlier_s + perf_counter() - self._begun

    def _read_texts(self, done: int, total: int) -> None:
        if self._watcher.stopped():
            raise StoppedError
        self._watcher.report(Progress(stage="reading texts", share=self.share(), step=done, steps=total))

    def share(self) -> float:
        """Return how much of the whole is done, up to the end of the search."""
        return min(_SEARCH, self._spent() / (self._minutes * 60))

    def follow(self, progress: Progress, number: int) -> None:
        """Tell of a trial's training as a part of the whole."""
        name = f"trial {number}{self._so_far}"
        left = max(0.0, self._minutes * 60 - self._spent())
        self._watcher.report(msgspec.structs.replace(progress, stage=name, share=self.share(), seconds_left=left))

    def stopped(self) -> bool:
        """Return whether the watcher wants to stop."""
        return self._watcher.stopped()


class _TrialWatcher:
    """Follows a trial's training, and gives it up where its checks are below the median of the others."""

    def __init__(self, search: Search, trial: Trial) -> None:
        self._search = search
        self._trial = trial
        self._checks = len(trial.study.trials[trial.number].intermediate_values)

    def report(self, progress: Progress) -> None:
        """Tell of it; judge it where there was a check.

        Raises:
            TrialPruned: it is bad.
        """
        self._search.follow(progress, self._trial.number)
        if progress.metric is not None and progress.checks > self._checks:
            self._checks = progress.checks
            self._trial.report(progress.metric, progress.checks)
            if self._trial.should_prune():
                raise optuna.TrialPruned

    def stopped(self) -> bool:
        """Return whether to stop the search."""
        return self._search.stopped()


class _AfterSearch:
    """Tells of the winner's training as what follows the search."""

    def __init__(self, watcher: Watcher) -> None:
        self._watcher = watcher

    def report(self, progress: Progress) -> None:
        """Tell of it."""
        share = _SEARCH + (1 - _SEARCH) * progress.share
        self._watcher.report(msgspec.structs.replace(progress, share=share))

    def stopped(self) -> bool:
        """Return whether to stop."""
        return self._watcher.stopped()


def _score(choices: Choices) -> float:
    """Return NDCG@10 of the blend between the cuts."""
    validation = choices.validation
    if "headrace" not in validation:
        raise DataError(
            f"a search chooses by what happens between the cuts, which must be at least {LEAST_SAMPLES} targets that "
            "a list can hold, and here are fewer; use `headrace train`, which takes a preset"
        )
    return validation["headrace"]


def _tried(trial: FrozenTrial) -> Tried:
    return Tried(
        number=trial.number,
        state=_OUTCOMES[trial.state],
        score=trial.value if trial.state == TrialState.COMPLETE else None,
        parts=trial.user_attrs.get("parts", {}),
        checks=[trial.intermediate_values[check] for check in sorted(trial.intermediate_values)],
        seconds=round(float(trial.user_attrs["seconds"]), 1),
        steps=int(trial.user_attrs.get("steps", 0)),
        parameters=trial.params,
    )


def _plan_in(folder: Path) -> Plan | None:
    path = folder / _PLAN_FILE
    return msgspec.json.decode(path.read_bytes(), type=Plan) if path.is_file() else None


def _write_plan(plan: Plan, folder: Path) -> None:
    with replacing(folder / _PLAN_FILE) as temporary:
        temporary.write_bytes(msgspec.json.encode(plan))


def _study_of(path: Path) -> optuna.Study:
    """Open the file of a study, or begin one."""
    if path.exists():
        # A line that a full disk cut off would spoil those behind it.
        os.truncate(path, path.read_bytes().rfind(b"\n") + 1)
    return optuna.create_study(
        storage=JournalStorage(JournalFileBackend(str(path))),
        study_name=_STUDY,
        direction="maximize",
        pruner=MedianPruner(n_startup_trials=_STARTUP_CURVES, n_warmup_steps=_UNJUDGED_CHECKS + 1),
        load_if_exists=True,
    )
