"""The sizes and rates that go together."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from headrace.core.formats import Mixer

PresetName: TypeAlias = Literal["tiny", "small", "base", "large"]


class Preset(msgspec.Struct, frozen=True, kw_only=True):
    """One row of the table.

    Args:
        width: D.
        layers: L.
        heads: of D / heads numbers each.
        window: in events.
        batch_events: events in a step.
        learning_rate: the peak.
        negatives: shared by a step; a catalogue of up to 4,000 items is taken whole.
        dropout: share of 0..1.
        epochs: the most that `minutes` may become, since more of them overfit.
        mixer: how events read each other.
    """

    width: int
    layers: int
    heads: int
    window: int
    batch_events: int
    learning_rate: float
    negatives: int
    dropout: float
    epochs: int
    mixer: Mixer = "attention"


PRESETS: dict[PresetName, Preset] = {
    "tiny": Preset(
        width=32,
        layers=1,
        heads=2,
        window=50,
        batch_events=2048,
        learning_rate=4e-3,
        negatives=512,
        dropout=0.1,
        epochs=80,
    ),
    "small": Preset(
        width=64,
        layers=2,
        heads=2,
        window=100,
        batch_events=4096,
        learning_rate=4e-3,
        negatives=1024,
        dropout=0.2,
        epochs=20,
    ),
    "base": Preset(
        width=128,
        layers=2,
        heads=4,
        window=100,
        batch_events=4096,
        learning_rate=4e-3,
        negatives=2048,
        dropout=0.2,
        epochs=20,
    ),
    "large": Preset(
        width=256,
        layers=4,
        heads=8,
        window=200,
        batch_events=4096,
        learning_rate=1e-3,
        negatives=4096,
        dropout=0.2,
        epochs=20,
    ),
}

_TINY_EVENTS = 20_000
_BASE_EVENTS = 500_000
_BASE_SPEED = 16_000
"""Events a second of `base` on two cores."""
_BASE_EPOCHS = 10
"""With fewer than this in the time given, `small` gets further."""


def choose_preset(name: PresetName | Literal["auto"], events: int, minutes: float) -> PresetName:
    """Return the preset; `auto` takes `tiny` for very little data, `base` for much data and the time for it.

    It never takes `large`, which wants hours.
    """
    if name != "auto":
        return name
    if events < _TINY_EVENTS:
        return "tiny"
    if events >= _BASE_EVENTS and minutes * 60 * _BASE_SPEED >= _BASE_EPOCHS * events:
        return "base"
    return "small"
