"""A dataset as training reads it."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import polars as pl
import pytest
from small_models import info_of, write_info

from headrace.core.errors import LeakError, ModelError
from headrace.core.formats import Protocol
from headrace.core.settings import ContentSettings, Precision, Settings, TrainingSettings
from headrace.data.synthetic import ring
from headrace.model.bfloat16 import Bfloat16Linear
from headrace.pipeline.material import Material
from headrace.pipeline.preparation import prepare
from headrace.training.presets import PRESETS, Preset


@pytest.mark.parametrize(
    ("protocol", "refusal"), [("time", LeakError), ("leave-one-out", LeakError), ("all", ModelError)]
)
def test_a_training_begins_with_no_model_that_knows_its_test(
    protocol: Protocol, refusal: type[Exception], tmp_path: Path
) -> None:
    dataset = prepare(ring(6, 20, 6)[0], out=tmp_path / "data")
    settings = Settings(content=ContentSettings(text_model="none"))
    material = Material.read(dataset, settings, protocol, tmp_path / "text", lambda *_: None)
    info = info_of(dataset, "all")
    learned = msgspec.structs.replace(info.learned, until=int(material.log.times.max()))
    known = write_info(msgspec.structs.replace(info, learned=learned), tmp_path / "model")
    with pytest.raises(refusal):  # under `all` only because it has other sizes
        material.learner(PRESETS["tiny"], settings, known)


def material_of(events: pl.DataFrame, folder: Path, training: TrainingSettings) -> Material:
    settings = Settings(training=training, content=ContentSettings(text_model="none"))
    return Material.read(prepare(events, out=folder / "data"), settings, "time", folder / "text", lambda *_: None)


def groceries(habit: float, *, basket: int = 4, days: int = 12) -> pl.DataFrame:
    """Each day a basket, of which this share are things that the household has bought before, in some order."""
    chance, rows = np.random.default_rng(5), []
    for user in range(30):
        for day in range(days):
            known = chance.permutation(basket * day)[: round(habit * basket) if day else 0]
            fresh = basket * day + np.arange(basket - len(known))
            time = f"2025-03-{day + 1:02d}T12:{user:02d}:00"
            rows += [(f"u{user}", f"i{item}", time) for item in [*known.tolist(), *fresh.tolist()]]
    return pl.DataFrame(rows, schema=["user_id", "item_id", "time"], orient="row")


def test_where_baskets_are_filled_by_habit_the_network_learns_what_is_new(tmp_path: Path) -> None:
    usual = TrainingSettings()
    habit = material_of(groceries(0.5), tmp_path / "habit", usual)
    assert habit.targets is not None
    assert 0.3 < habit.targets.mean() < 0.7
    (batch,) = habit.sequences(habit.stages.fitted, PRESETS["tiny"]).epoch(0, 1)
    for place, item in zip(batch.pair_places.tolist(), batch.pair_items.tolist(), strict=True):
        before = batch.items[: place + 1][batch.segments[: place + 1] == batch.segments[place]] if place >= 0 else []
        assert item not in before
    # Too little of it is habit, or it comes in no baskets, or the settings say otherwise.
    assert material_of(groceries(0.0), tmp_path / "new", usual).targets is None
    assert material_of(ring(6, 20, 12)[0], tmp_path / "ring", usual).targets is None
    assert material_of(groceries(0.5), tmp_path / "all", TrainingSettings(targets="all")).targets is None
    chosen = material_of(ring(6, 20, 12)[0], tmp_path / "chosen", TrainingSettings(targets="new")).targets
    assert chosen is not None
    assert chosen.sum() == 6 * 20  # each user walks round the ring: its items once each are new


def test_wide_networks_learn_in_bfloat16_where_the_processor_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    material = material_of(ring(6, 20, 6)[0], tmp_path, TrainingSettings())

    def rounds(precision: Precision, preset: Preset, able: bool) -> bool:
        monkeypatch.setattr("headrace.pipeline.material.has_bfloat16", lambda: able)
        settings = Settings(training=TrainingSettings(precision=precision))
        layers = list(material.learner(preset, settings, None).model.encoder.modules())
        return any(isinstance(layer, Bfloat16Linear) for layer in layers)

    assert rounds("auto", PRESETS["base"], able=True)
    assert not rounds("auto", PRESETS["base"], able=False)
    assert not rounds("auto", PRESETS["small"], able=True)
    assert rounds("bfloat16", PRESETS["small"], able=False)
    assert not rounds("float32", PRESETS["base"], able=True)


def test_the_objective_decides_whether_events_are_hidden(tmp_path: Path) -> None:
    dataset = prepare(ring(6, 20, 6)[0], out=tmp_path / "data")
    text = ContentSettings(text_model="none")
    material = Material.read(dataset, Settings(content=text), "all", tmp_path / "text", lambda *_: None)
    usual, masked = (
        material.learner(PRESETS["tiny"], Settings(content=text, training=training), None).noise.events
        for training in (TrainingSettings(), TrainingSettings(objective="masked"))
    )
    assert not usual
    assert masked
