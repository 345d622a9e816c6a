"""What is said where memory is wanting."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from headrace.core.errors import ModelError
from headrace.core.settings import ContentSettings, Settings, TrainingSettings
from headrace.data.synthetic import ring
from headrace.pipeline.fitting import train
from headrace.pipeline.memory import blaming
from headrace.pipeline.preparation import prepare
from headrace.ranking.behaviour import Behaviour
from headrace.training.learner import Learner
from headrace.training.loop import Training

TOO_MUCH = 1 << 55


def test_numpy_and_pytorch_name_the_setting_and_half_of_it() -> None:
    said = pytest.raises(ModelError, match=r"training.width must fit in memory.*set width = 32 in \[training\]")
    with said, blaming("training.width", 64):
        np.zeros(TOO_MUCH)
    with pytest.raises(ModelError, match=r"set batch_events = 1 in"), blaming("training.batch_events", 1):
        torch.zeros(TOO_MUCH)


def test_other_errors_stay_what_they_are() -> None:
    with pytest.raises(RuntimeError, match="tensor size"), blaming("training.width", 64):
        torch.zeros(3) @ torch.zeros(4)


@pytest.mark.parametrize(
    ("owner", "name", "setting"),
    [
        (Learner, "__init__", "width = 16 in [training]"),
        (Training, "run", "batch_events = 64 in [training]"),
        (Behaviour, "add_log", "count_pairs = 4000 in [ranking]"),
    ],
)
def test_a_training_says_which_of_its_parts_does_not_fit(
    owner: type, name: str, setting: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events, _ = ring(12, 40, 10)  # 400 events, 20 pairs of each
    knobs = TrainingSettings(preset="tiny", steps=4, batch_events=128)

    def full(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr(owner, name, full)
    with pytest.raises(ModelError) as caught:
        train(
            prepare(events, out=tmp_path / "data"),
            out=tmp_path / "model",
            settings=Settings(training=knobs, content=ContentSettings(text_model="none")),
        )
    assert setting in str(caught.value)
