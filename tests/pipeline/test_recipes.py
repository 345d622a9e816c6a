"""Recipes: what the settings change of a preset, the space around it, and the file that repeats a training."""

from __future__ import annotations

from pathlib import Path

import msgspec
import optuna
import pytest

from headrace.core.errors import SettingsError
from headrace.core.settings import TrainingSettings, load_settings
from headrace.pipeline.recipes import Recipe, adjusted, space_around, with_recipe, write_recipe
from headrace.training.presets import PRESETS, Preset

RETAINING = TrainingSettings(mixer="retention", width=51)
ODD = TrainingSettings(width=18, heads=6, layers=5, window=7, batch_events=100, dropout=0.7, learning_rate=0.5)


def settings_of_trials(preset: Preset, training: TrainingSettings, trials: int) -> list[Recipe]:
    """Return what a search proposes."""
    space = space_around(preset, training, sampled=True, times=True)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    study.enqueue_trial(space.start)
    return [space.propose(study.ask()) for _ in range(trials)]


def test_the_settings_change_every_size_of_a_preset() -> None:
    training = TrainingSettings(
        width=48, layers=3, heads=6, window=9, batch_events=10, learning_rate=0.1, negatives=11, dropout=0.3,
        mixer="retention",
    )  # fmt: skip
    found = msgspec.structs.asdict(adjusted(PRESETS["small"], training))
    epochs = found.pop("epochs")
    assert found == {name: getattr(training, name) for name in found}
    assert epochs == PRESETS["small"].epochs
    assert adjusted(PRESETS["small"], TrainingSettings()) == PRESETS["small"]


def test_heads_that_do_not_divide_the_width_are_refused_with_one_that_would() -> None:
    with pytest.raises(SettingsError, match=r"width 64 and 3 heads; choose width 66"):
        adjusted(PRESETS["small"], TrainingSettings(heads=3))


@pytest.mark.parametrize("training", [TrainingSettings(), ODD, RETAINING], ids=["usual", "odd", "retention"])
@pytest.mark.parametrize("name", PRESETS)
def test_every_proposal_can_be_trained_and_the_first_is_the_preset(name: str, training: TrainingSettings) -> None:
    preset = adjusted(dict(PRESETS)[name], training)  # type: ignore[index]  # the name of a preset
    proposals = settings_of_trials(preset, training, 60)
    assert len({proposal["width"] for proposal in proposals}) > 1
    assert adjusted(preset, with_recipe(TrainingSettings(mixer=training.mixer), proposals[0])) == preset
    for proposal in proposals:
        chosen = with_recipe(training, proposal)
        adjusted(preset, chosen)
        msgspec.convert(msgspec.to_builtins(chosen), TrainingSettings)


def test_what_a_dataset_cannot_tell_is_not_searched() -> None:
    space = space_around(PRESETS["small"], TrainingSettings(), sampled=False, times=False)
    assert not {"negatives", "unknown_time"} & space.start.keys()
    assert {"width", "learning_rate", "id_dropout"} <= space.start.keys()


def test_a_recipe_is_a_settings_file_that_says_the_same(tmp_path: Path) -> None:
    training = TrainingSettings(
        preset="small", steps=9, threads=1, minutes=3.0, learning_rate=1e-5, width=32, dropout=0.25
    )
    (tmp_path / "recipe.toml").write_text(write_recipe(training, command="headrace train"))
    assert load_settings(tmp_path / "recipe.toml").training == msgspec.structs.replace(training, minutes=None)
