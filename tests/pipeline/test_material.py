"""A dataset as training reads it."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from small_models import info_of, write_info

from headrace.core.errors import LeakError, ModelError
from headrace.core.formats import Protocol
from headrace.core.settings import ContentSettings, Settings, TrainingSettings
from headrace.data.synthetic import ring
from headrace.pipeline.material import Material
from headrace.pipeline.preparation import prepare
from headrace.training.presets import PRESETS


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
