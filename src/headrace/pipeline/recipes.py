"""Recipes: the numbers that shape a model and its training, and the space of them around a preset."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import msgspec

from headrace.core.errors import SettingsError
from headrace.core.settings import TrainingSettings
from headrace.training.presets import Preset

if TYPE_CHECKING:
    from optuna.trial import Trial

Recipe: TypeAlias = dict[str, int | float]
"""Fields of `[training]` by name."""

_OF_PRESET = ("width", "mixer", "layers", "heads", "window", "batch_events", "learning_rate", "negatives", "dropout")
"""The fields of a preset that the settings may change; both have them under the same name."""
_MULTIPLES = (0.5, 1.0, 2.0)
_HEADS = (1, 2, 4, 8)
_LAYERS = (1, 2, 3)
_RATE_SPAN = 4.0
_MOST_HIDDEN = 0.5
_LEAST_WIDTH, _LEAST_WINDOW = 8, 2


def adjusted(preset: Preset, training: TrainingSettings) -> Preset:
    """Return the preset with what the settings say otherwise.

    Raises:
        SettingsError: the heads do not divide the width.
    """
    given = {name: getattr(training, name) for name in _OF_PRESET}
    chosen = msgspec.structs.replace(preset, **{name: value for name, value in given.items() if value is not None})
    if chosen.mixer == "attention" and chosen.width % chosen.heads:
        raise SettingsError(
            f"training.width must be a multiple of training.heads, got width {chosen.width} and {chosen.heads} heads; "
            f"choose width {chosen.width + -chosen.width % chosen.heads}, or another number of heads"
        )
    return chosen


def with_recipe(training: TrainingSettings, recipe: Recipe) -> TrainingSettings:
    """Return the settings with the numbers of the recipe."""
    return msgspec.structs.replace(training, **recipe)


def write_recipe(training: TrainingSettings, *, command: str) -> str:
    """Return a settings file that repeats a training.

    Args:
        training: with its steps and threads.
        command: that reads the file; a comment says so.
    """
    given = msgspec.to_builtins(training)
    lines = [
        f"{name} = {msgspec.json.encode(value).decode()}"
        for name, value in given.items()
        if value is not None and name not in ("minutes", "checkpoint_minutes")
    ]
    return "\n".join([f"# {command}", "[training]", *lines, ""])


@dataclass(frozen=True)
class Space:
    """The recipes that a search may propose.

    Args:
        start: the recipe that is tried first.
        choices: of whole numbers.
        ranges: lowest and highest, and whether to draw on a logarithmic scale.
    """

    start: Recipe
    choices: dict[str, list[int]]
    ranges: dict[str, tuple[float, float, bool]]

    def propose(self, trial: Trial) -> Recipe:
        """Return the recipe of a trial; what it had proposed before stays."""
        recipe: Recipe = {name: trial.suggest_categorical(name, values) for name, values in self.choices.items()}
        for name, (low, high, log) in self.ranges.items():
            recipe[name] = trial.suggest_float(name, low, high, log=log)
        return recipe


def space_around(preset: Preset, training: TrainingSettings, *, sampled: bool, times: bool) -> Space:
    """Return the space around a preset, which lies in it.

    Args:
        preset: where the settings have been taken into account.
        training: the settings.
        sampled: whether negatives are drawn, and not the whole catalogue taken.
        times: whether the events have times.
    """
    heads = preset.heads if preset.mixer == "attention" else 1  # those of retention are of one size
    widths = [width for width in _multiples(preset.width) if width % heads == 0 and width >= _LEAST_WIDTH]
    choices = {
        "width": widths,
        "layers": _with(_LAYERS, preset.layers),
        "heads": [h for h in _with(_HEADS, preset.heads) if all(width % h == 0 for width in widths)],
        "window": [window for window in _multiples(preset.window) if window >= _LEAST_WINDOW],
        "batch_events": _multiples(preset.batch_events),
    }
    if preset.mixer == "retention":
        del choices["heads"]
    if sampled:
        choices["negatives"] = _multiples(preset.negatives)
    rate = preset.learning_rate
    ranges = {
        "learning_rate": (rate / _RATE_SPAN, rate * _RATE_SPAN, True),
        "dropout": _hidden(preset.dropout),
        "id_dropout": _hidden(training.id_dropout),
    }
    if times:
        ranges["unknown_time"] = _hidden(training.unknown_time)
    known = msgspec.structs.asdict(training) | msgspec.structs.asdict(preset)
    return Space({name: known[name] for name in (*choices, *ranges)}, choices, ranges)


def _multiples(value: int) -> list[int]:
    return sorted({max(1, int(value * factor)) for factor in _MULTIPLES})


def _with(usual: tuple[int, ...], value: int) -> list[int]:
    return sorted({*usual, value})


def _hidden(share: float) -> tuple[float, float, bool]:
    return 0.0, max(_MOST_HIDDEN, share), False
