"""Folders carry a format number, and a wrong one is refused with the command that helps."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from headrace.core.errors import FormatError
from headrace.core.formats import (
    DATASET_FORMAT,
    MODEL_FORMAT,
    Blend,
    DatasetReport,
    Learned,
    ModelInfo,
    Shape,
    read_document,
    write_document,
)

REPORT = DatasetReport(format=DATASET_FORMAT, read=3, kept=2, dropped=1, steps=[])


def test_a_document_comes_back_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    write_document(path, REPORT)
    assert read_document(path, DatasetReport, DATASET_FORMAT, "headrace prepare") == REPORT


@pytest.mark.parametrize("text", ['{"format": 99}', "{}", "[1]", '{"format": 1}', "\x00\x01", ""])
def test_another_format_is_refused_with_a_command(tmp_path: Path, text: str) -> None:
    path = tmp_path / "report.json"
    path.write_text(text)
    with pytest.raises(FormatError, match="headrace prepare EVENTS"):
        read_document(path, DatasetReport, DATASET_FORMAT, "headrace prepare EVENTS")


def test_the_reach_of_an_answer_counts_every_layer_and_the_query() -> None:
    # Two layers and the query each look back 9 events beyond their own: 3 * 9 + 1.
    shape = Shape(width=8, layers=2, heads=1, window=10, content=0, types=["view"])
    assert shape.reach == 28
    # Retention forgets a sixth at each event at least; for two layers seven times 12 events are enough.
    assert msgspec.structs.replace(shape, mixer="retention").reach == 84


def test_a_folder_of_before_there_were_two_mixers_has_attention_and_an_unknown_one_is_refused(tmp_path: Path) -> None:
    learned = Learned(protocol="all", stage="fitted", first_cut=1, second_cut=2, until=3, events=4, fingerprint="f")
    info = ModelInfo(
        format=MODEL_FORMAT, name="", version="", created="", learned=learned, steps=1, preset="tiny", seen="exclude",
        blend=Blend(encoder=1, counts=0, popularity=0),
        shape=Shape(width=8, layers=2, heads=1, window=10, content=0, types=["view"], mixer="retention"),
    )  # fmt: skip
    path = tmp_path / "model.json"
    write_document(path, info)
    assert read_document(path, ModelInfo, MODEL_FORMAT, "headrace train").shape.mixer == "retention"
    fields = msgspec.json.decode(path.read_bytes())
    fields["shape"]["mixer"] = "blender"
    path.write_bytes(msgspec.json.encode(fields))
    with pytest.raises(FormatError, match=r"blender.*shape\.mixer.*headrace train"):
        read_document(path, ModelInfo, MODEL_FORMAT, "headrace train")
    del fields["shape"]["mixer"]
    path.write_bytes(msgspec.json.encode(fields))
    assert read_document(path, ModelInfo, MODEL_FORMAT, "headrace train").shape.mixer == "attention"
