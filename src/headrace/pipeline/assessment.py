"""Score a model, and the traditional methods beside it, on events that it has not learned from.

dataset + model folder -> task (what may be learned, what is asked) -> lists of every method -> rows of the report
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import msgspec
import numpy as np

from headrace.content.item_reading import item_texts
from headrace.content.text_onnx import OnnxTextEncoder
from headrace.content.vectors import VectorCache
from headrace.core.errors import DataError, FormatError, LeakError
from headrace.core.formats import (
    FITTED_FOLDER,
    METRICS_FILE,
    MODEL_FILE,
    MODEL_FORMAT,
    TEXT_FOLDER,
    ModelInfo,
    Stage,
    read_document,
)
from headrace.core.settings import Settings
from headrace.core.types import Seen
from headrace.data.dataset import Dataset
from headrace.data.features import normalise
from headrace.data.log import EventLog, Floats, in_file_order
from headrace.data.splits import cuts, last_events
from headrace.pipeline.report import CurvePoint, Report
from headrace.ranking.baselines.asked_users import AskedUsers
from headrace.ranking.baselines.content import word_vectors
from headrace.ranking.baselines.served import EncoderAlone, Headrace
from headrace.ranking.baselines.table import traditional_methods
from headrace.ranking.evaluation import NO_TIME, Lists, MethodMaker, Row, ask_all, rest_rows, rows_of
from headrace.ranking.network import ItemVectors, Network
from headrace.ranking.questions import Task, TaskProtocol, last_event_task, rest_of_baskets, time_task
from headrace.ranking.rating_evaluation import Rater, rate_by_means, rate_by_model, rated_events, rating_rows
from headrace.ranking.ratings import RatingModel
from headrace.ranking.scorer import seen_habit
from headrace.ranking.sources import Encoder

__all__ = ["Report", "compare_baselines", "evaluate"]

Teller = Callable[[str], None]
Keeper = Callable[[str, Task, Mapping[str, Lists]], None]
MethodsOf = Callable[[Task], list[MethodMaker]]

_STAGES: tuple[Stage, ...] = ("fitted", "refitted")
_OTHER_DATASET_NOTE = (
    "this is not the dataset that the model was trained on; its events after the model's cut are asked"
)
_WORDS_NOTE = "content compares TF-IDF of words, since no text encoder was at hand"


def _ignore(message: str) -> None:
    """Tell nobody."""


def _drop(table: str, task: Task, lists: Mapping[str, Lists]) -> None:
    """Keep nothing."""


def evaluate(
    folder: Path,
    dataset: Dataset,
    *,
    settings: Settings = Settings(),
    tell: Teller = _ignore,
    keep: Keeper = _drop,
) -> Report:
    """Score a model and the traditional methods.

    Under `time` the refitted model is tested on the events from its own second cut on, frozen and live. Under
    `leave-one-out` both stages are, each on the last event of every user with three events or more.

    Args:
        folder: what `headrace train` wrote.
        dataset: the one that it was trained on; under `time` also a later one that goes on from it.
        settings: `ranking` holds the knobs of the counts, `content` the folder of text vectors.
        tell: hears what is done, a line at a time.
        keep: is given each table's name, its task and the lists of every method, for what the report does not say.

    Raises:
        LeakError: the model has learned from the events that it would be scored on.
        DataError: no event is left to test on.
    """
    info = read_document(folder / MODEL_FILE, ModelInfo, MODEL_FORMAT, "headrace train DATASET --out MODEL")
    protocol = _refuse_leak(info, dataset)
    known = "" if info.learned.fingerprint == dataset.report.fingerprint else _OTHER_DATASET_NOTE
    tell("reading what the items say")
    text = _text_vectors(folder, dataset, settings)
    content, note = (_word_content(dataset), _WORDS_NOTE) if text is None else (text, "")
    bench = _Bench(dataset, settings, content, tell, keep)
    seen = info.seen if settings.ranking.seen == "learned" else settings.ranking.seen
    for stage in ("refitted",) if protocol == "time" else _STAGES:
        network = Network.load(folder, stage, threads=2)
        vectors = _adapt(network, dataset, text)
        rater = None
        if network.info.has_rating_head:
            rater = Rater(network, vectors, RatingModel.load(folder, stage))
        task = _task(bench.log, protocol, stage, seen, cut=info.learned.second_cut)
        own = _own_methods(Encoder(network, vectors), settings)
        bench.run(task, stage, own, rater)
    bench.note(note)
    bench.note(known)
    return bench.report(f"{info.name} {info.version} ({info.preset}) on {dataset.path.name}", _curve(folder))


def compare_baselines(
    dataset: Dataset, protocol: TaskProtocol = "time", *, settings: Settings = Settings(), tell: Teller = _ignore
) -> Report:
    """Score the traditional methods alone, with the cuts and stages that a model of `protocol` would have.

    Args:
        dataset: what to learn from and to ask about.
        protocol: see CONTRACT, "Protocols".
        settings: `ranking` holds the knobs of the counts and the rule for seen items.
        tell: hears what is done, a line at a time.

    Raises:
        DataError: no event is left to test on, or no times where the protocol needs them.
    """
    bench = _Bench(dataset, settings, _word_content(dataset), tell)
    log, chosen = dataset.log(), settings.ranking.seen
    if protocol == "time":
        first, second = cuts(log)
        fitted = log.times < first
    else:
        test, validation = last_events(log)
        fitted, second = ~(test | validation), None
    seen = seen_habit(log.where(fitted)) if chosen == "learned" else chosen
    for stage in ("refitted",) if protocol == "time" else _STAGES:
        bench.run(_task(bench.log, protocol, stage, seen, cut=second), stage, lambda _: [], None)
    bench.note(_WORDS_NOTE)
    return bench.report(f"traditional methods on {dataset.path.name}", [])


class _Bench:
    """Runs the methods on one task after the other and collects the rows of the report."""

    def __init__(
        self, dataset: Dataset, settings: Settings, content: Floats, tell: Teller, keep: Keeper = _drop
    ) -> None:
        log = dataset.log()
        self.log = in_file_order(log) if dataset.report.ties == "file" else log
        self._dataset = dataset
        self._settings = settings
        self._content = content if content.any() else None
        self._tell = tell
        self._keep = keep
        self._rows: list[Row] = []
        self._notes: list[str] = []
        self._seconds: dict[str, dict[str, float]] = {}
        if self._content is None:
            self.note("content is left out: no item has a text")
        if not log.has_times:
            self.note("popular-7d is left out: the events have no times")

    def run(self, task: Task, stage: Stage, own: MethodsOf, rater: Rater | None) -> None:
        """Ask the traditional methods and those of `own`, and add the rows of every table of the task."""
        traditional = traditional_methods(task.log, self._content, self._settings.ranking)
        methods = [*traditional, *own(task)]
        clocks = {"time-frozen": False, "time-live": True}
        tables = clocks if task.protocol == "time" else {f"leave-one-out-{stage}": False}
        for name, live in tables.items():
            self._tell(f"{name}: {len(task.questions):,} questions to {len(methods)} methods")
            lists = ask_all(task, methods, live=live, tell=self._tell)
            self._keep(name, task, lists)
            self._rows += rows_of(task, {method: found.with_time for method, found in lists.items()}, name)
            twin = {method: found.without_time for method, found in lists.items()}
            self._rows += rows_of(task, twin, name + NO_TIME)
            self._seconds[name] = {method: found.seconds for method, found in lists.items()}
            if not live:
                self._rate(task, name, rater)
        rest = rest_of_baskets(task)
        if task.protocol == "time" and len(rest.questions):
            self._tell(f"the rest of {len(rest.questions):,} baskets")
            lists = ask_all(rest, [*traditional, *own(rest)], live=False, tell=self._tell)
            self._rows += rest_rows(rest, {method: found.with_time for method, found in lists.items()}, "time-frozen")
            twin = {method: found.without_time for method, found in lists.items()}
            self._rows += rest_rows(rest, twin, "time-frozen" + NO_TIME)
        strange, targets = task.strange_targets(), len(task.questions.targets()[0])
        self.note(
            f"{strange:,} of {targets:,} targets are of items that nobody met before; they count for every method, and "
            "only what an item says can place them"
        )
        self.note(f"lists {task.seen} what the user has met, for every method alike")

    def note(self, text: str) -> None:
        """Add a note, once."""
        if text and text not in self._notes:
            self._notes.append(text)

    def report(self, title: str, curve: list[CurvePoint]) -> Report:
        """Return all that was collected."""
        return Report(title, self._rows, self._notes, curve, self._seconds)

    def _rate(self, task: Task, name: str, rater: Rater | None) -> None:
        """Add RMSE and MAE; the request time plays no part in them, so the twin has the same rows."""
        scale = self._dataset.report.scale
        rated = rated_events(task, self._dataset.report.types)
        if scale is None or not rated[task.questions.targets()[0]].any():
            return
        predictions = {"user-item-means": rate_by_means(task, rated, scale)}
        if rater is not None:
            predictions["headrace"] = rate_by_model(task, rated, rater)
        for table in (name, name + NO_TIME):
            self._rows += rating_rows(task, rated, predictions, table)


def _own_methods(encoder: Encoder, settings: Settings) -> MethodsOf:
    """Return what makes `headrace` and `encoder` for a task; both share what the encoder says to its questions."""
    blend = encoder.network.info.blend

    def make(task: Task) -> list[MethodMaker]:
        asked = AskedUsers(task.questions, encoder)
        served = partial(Headrace, settings=settings.ranking, asked=asked, blend=blend)
        return [served, partial(EncoderAlone, asked=asked)]

    return make


def _refuse_leak(info: ModelInfo, dataset: Dataset) -> TaskProtocol:
    """Return the protocol to test by.

    Raises:
        LeakError: the events of the dataset, or some of them, were learned from, or may have been.
        DataError: the model was cut by time and the dataset has no times.
    """
    learned, path = info.learned, shlex.quote(str(dataset.path))
    fitting: TaskProtocol = "time" if dataset.report.has_times else "leave-one-out"
    command = f"`headrace train {path} --out MODEL --protocol {fitting}`"
    if learned.protocol == "all":
        raise LeakError(
            "a model is scored on events that it has not learned from, this one was trained with --protocol all and "
            f"has learned from everything; train one to be scored: {command}"
        )
    if learned.protocol == "leave-one-out":
        if learned.fingerprint != dataset.report.fingerprint:
            raise LeakError(
                "a model of --protocol leave-one-out is scored on the dataset that it was trained on, since another "
                f"may show it what it has learned; this one is of {learned.fingerprint}, {path} is "
                f"{dataset.report.fingerprint}: `headrace train {path} --out MODEL --protocol leave-one-out`"
            )
        return "leave-one-out"
    if not dataset.report.has_times:
        raise DataError(f"the model was cut by time and {path} has no times; train one: {command}")
    if learned.fingerprint != dataset.report.fingerprint:
        # With all of what was learned from before the cut, none of it can stand behind; with times moved, it may.
        before = int(np.count_nonzero(dataset.log().times < (learned.second_cut or 0)))
        if before < learned.events:
            raise LeakError(
                f"a model is scored on the dataset that it was trained on, or on one that goes on from it; {path} has "
                f"{before:,} events before the model's cut where the model learned from {learned.events:,}, so some "
                f"may stand behind it: {command}"
            )
    return "time"


def _task(log: EventLog, protocol: TaskProtocol, stage: Stage, seen: Seen, *, cut: int | None) -> Task:
    if protocol == "time":
        assert cut is not None, "a model cut by time knows its cuts"
        return time_task(log, cut, seen)
    test, validation = last_events(log)
    return last_event_task(log, test, validation if stage == "fitted" else None, seen)


def _word_content(dataset: Dataset) -> Floats:
    return word_vectors(item_texts(dataset.items()))


def _text_vectors(folder: Path, dataset: Dataset, settings: Settings) -> Floats | None:
    """Return (V + 1, C) of the model's own text encoder, None where it has none; training has cached most of them."""
    if not (folder / TEXT_FOLDER).is_dir():
        return None
    encoder = OnnxTextEncoder(folder / TEXT_FOLDER, threads=2)
    vectors = VectorCache(Path(settings.content.cache), encoder).vectors(item_texts(dataset.items()))
    return np.concatenate((np.zeros((1, vectors.shape[1]), np.float32), vectors))


def _adapt(network: Network, dataset: Dataset, text: Floats | None) -> ItemVectors:
    items = dataset.items()
    features = np.zeros((items.height + 1, len(network.info.features)), np.float32)
    features[1:] = normalise(items, network.info.features)
    content = text if network.content_width else None
    ids = dataset.item_vocabulary().series
    return network.adapt(ids, content, features=features, types=dataset.report.types)


def _curve(folder: Path) -> list[CurvePoint]:
    """Return how the stage that chooses was trained; empty where the folder does not tell."""
    path = folder / FITTED_FOLDER / METRICS_FILE
    try:
        return msgspec.json.decode(path.read_bytes(), type=_Metrics).curve if path.is_file() else []
    except msgspec.DecodeError as error:
        raise FormatError(f"{path} cannot be read: {error}; train again") from None


class _Metrics(msgspec.Struct, frozen=True):
    """What the report reads of `metrics.json`."""

    curve: list[CurvePoint] = []
