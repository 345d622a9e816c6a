"""Folders carry a format number, and a wrong one is refused with the command that helps."""

from __future__ import annotations

from pathlib import Path

import pytest

from headrace.core.errors import FormatError
from headrace.core.formats import DATASET_FORMAT, DatasetReport, Shape, read_document, write_document

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
    assert Shape(width=8, layers=2, heads=1, window=10, content=0, types=["view"]).reach == 28
