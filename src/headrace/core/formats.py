"""The names inside dataset and model folders, their format numbers, and the small JSON documents they hold.

A newer Headrace reads the format before its own; anything older is refused with the command that converts.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, TypeAlias, TypeVar

import msgspec

from headrace.core.errors import FormatError
from headrace.core.types import Scale

DATASET_FORMAT = 1
MODEL_FORMAT = 1

Protocol: TypeAlias = Literal["time", "leave-one-out", "all"]
Stage: TypeAlias = Literal["fitted", "refitted"]
Ties: TypeAlias = Literal["hash", "file"]
Mixer: TypeAlias = Literal["attention", "retention"]
"""How the network lets events read each other."""

RETENTION_HEAD = 16
"""Numbers of a head of retention, in keys and in values."""

# Dataset folder
EVENTS_FILE = "events.parquet"
ITEMS_FILE = "items.parquet"
REPORT_FILE = "report.json"
QUARANTINE_FILE = "quarantine.parquet"

# Model folder; the folder `fitted` inside holds the same files (but the text encoder) for the stage before.
MODEL_FILE = "model.json"
WEIGHTS_FILE = "weights.safetensors"
ENCODE_FILE = "encode.onnx"
STEP_FILE = "step.onnx"
QUERY_FILE = "query.onnx"
RATING_FILE = "rating.onnx"
VECTORS_FILE = "vectors.safetensors"
VOCABULARY_FILE = "items.parquet"
COUNTS_FILE = "counts.safetensors"
METRICS_FILE = "metrics.json"
CARD_FILE = "README.md"
TUNING_FILE = "tuning.json"
RECIPE_FILE = "recipe.toml"
PLOT_FILE = "tuning.png"
TEXT_FOLDER = "text"
FITTED_FOLDER = "fitted"


class CleaningStep(msgspec.Struct, frozen=True):
    """What one cleaning step did: `rows` dropped (or marked, where `reason` says so)."""

    step: str
    reason: str
    rows: int


class DatasetReport(msgspec.Struct, frozen=True, kw_only=True):
    """`report.json`: kept + dropped = read, always. Counts are of event rows; item steps stand in `items`."""

    format: int
    read: int
    kept: int
    dropped: int
    steps: list[CleaningStep]
    items: list[CleaningStep] = []
    notes: list[str] = []
    users: int = 0
    catalogue: int = 0
    ties: Ties = "hash"
    has_times: bool = True
    scale: Scale | None = None
    types: list[str] = []
    fingerprint: str = ""


class Learned(msgspec.Struct, frozen=True, kw_only=True):
    """What a model has learned from; decides which events may score it.

    Args:
        first_cut: time in microseconds at which 80 % of the events were over; None under `leave-one-out`.
        second_cut: likewise for 90 %.
        until: the time of the last event learned from, in microseconds.
        fingerprint: of the dataset.
    """

    protocol: Protocol
    stage: Stage
    first_cut: int | None
    second_cut: int | None
    until: int
    events: int
    fingerprint: str


class Shape(msgspec.Struct, frozen=True, kw_only=True):
    """The sizes of the network. `window` is in events; `content` is the width of the content vectors, 0 without.

    `features` is the number of numeric item features (`ModelInfo.features`). `times` is False where the dataset has no
    times: the network then reads the order only. `mixer` is how events read each other; `heads` are those of attention,
    a head of retention has `RETENTION_HEAD` numbers.
    """

    width: int
    layers: int
    heads: int
    window: int
    content: int
    types: list[str]
    features: int = 0
    times: bool = True
    mixer: Mixer = "attention"

    @property
    def reach(self) -> int:
        """Events that one answer can depend on.

        With attention (L + 1)(W - 1) + 1, as each layer and the query look back a window. Of what retention keeps,
        W / (W + 2) is left after an event at most: what lies further back than (L + 5)(W + 2) changes an answer by less
        than 1e-4 even where no head wants to forget, which a test holds for random weights.
        """
        if self.mixer == "retention":
            return (self.layers + 5) * (self.window + 2)
        return (self.layers + 1) * (self.window - 1) + 1

    @property
    def retention_heads(self) -> int:
        """Heads of retention, enough for the width; the last may reach beyond it."""
        return -(-self.width // RETENTION_HEAD)


class RatingFit(msgspec.Struct, frozen=True, kw_only=True):
    """The numbers of the rating formula, on the unit scale; see `ranking/ratings.py`.

    Args:
        mean: of all ratings learned from.
        item_damping: ratings of average that every item is given for its offset.
        user_damping: likewise for users.
        weight: 0..1, of the learned residual.
        low: 5 % quantile of (true - predicted) at validation time.
        high: 95 % quantile.
    """

    mean: float
    item_damping: float
    user_damping: float
    weight: float
    low: float
    high: float


SHORT_HISTORY = 5
"""Events up to which a history is short."""


class FirstBlend(msgspec.Struct, frozen=True, kw_only=True):
    """Weights of the parts that know something of a user without a history; see `Blend`."""

    encoder: float = 0.0
    popularity: float = 1.0
    recent: float = 0.8


class Weights(msgspec.Struct, frozen=True, kw_only=True):
    """Weights of the parts of a score; see `Blend`."""

    encoder: float = 0.0
    counts: float = 0.0
    popularity: float = 0.0
    content: float = 0.0
    repeat: float = 0.0
    recent: float = 0.0
    last: float = 0.0
    association: float = 0.0
    trending: float = 0.0
    other: float = 0.0


class Blend(Weights, frozen=True, kw_only=True):
    """Weights of the parts of a score, each standardised over a request's candidates.

    `popularity` mixes all windows up to all time, `recent` is of a week, `trending` the share of an item's events that
    this week had. `counts` reads the transitions from a long history, `last` those from its last few events,
    `association` sets them in proportion to how often items are met. `other` is of every item but those just met:
    people come back to what they looked at, but not at once.

    `first` is for users without a history, `short` for those of up to `SHORT_HISTORY` events; None where these are many
    and the common weights fit them. `unmet` is for lists of what the user has not met yet, where people come back to
    items and lists usually hold those; None elsewhere. `still` is for counts that have heard nothing for longer
    than `still_after_us`, where other weights are better then; None elsewhere.
    """

    encoder: float
    counts: float
    popularity: float
    first: FirstBlend = FirstBlend()
    short: Weights | None = None
    unmet: Weights | None = None
    still: Blend | None = None
    still_after_us: int = 0


class ModelInfo(msgspec.Struct, frozen=True, kw_only=True):
    """`model.json`: all about a model that is not an array. It holds no user's id and no event.

    `features` are the numeric features of items that it reads, in order, each with mean and standard deviation.
    """

    format: int
    name: str
    version: str
    created: str
    learned: Learned
    shape: Shape
    blend: Blend
    steps: int
    preset: str
    seen: Literal["include", "exclude"]
    scale: Scale | None = None
    has_rating_head: bool = False
    rating: RatingFit | None = None
    features: dict[str, tuple[float, float]] = {}
    settings: dict[str, dict[str, str | int | float | bool | list[str] | None]] = {}
    versions: dict[str, str] = {}


Document = TypeVar("Document", DatasetReport, ModelInfo)


def write_document(path: Path, document: DatasetReport | ModelInfo) -> None:
    """Write a document as indented JSON."""
    path.write_bytes(msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n")


def read_document(path: Path, kind: type[Document], newest: int, convert: str) -> Document:
    """Read a document and check its format number.

    Args:
        path: the JSON file.
        kind: the type it holds.
        newest: the format that this version writes; it and the one before are read.
        convert: the command that makes a new one.

    Raises:
        FormatError: no such file, not such a document, or of a format that this version does not read.
    """
    if not path.is_file():
        raise FormatError(f"{path.parent} must hold {path.name} and does not; write one with `{convert}`")
    try:
        probe = msgspec.json.decode(path.read_bytes(), type=dict)
        number = probe.get("format")
        if number not in (newest, newest - 1):
            raise FormatError(
                f"{path} must be of format {newest}, it is of {number!r}; convert it with `{convert}`, or use the "
                "Headrace version that wrote it"
            )
        return msgspec.convert(probe, kind)
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise FormatError(f"{path} cannot be read: {error}; write it anew with `{convert}`") from None
