"""The folder of a demo: whose it is, and when another source may have it."""

from __future__ import annotations

from pathlib import Path

import pytest

from headrace.app.demo import DemoFolder, Source
from headrace.core.errors import FormatError
from headrace.core.formats import REPORT_FILE


def test_a_source_that_could_not_be_cleaned_leaves_the_folder_to_the_next(tmp_path: Path) -> None:
    DemoFolder(tmp_path / "demo", Source("evnts.csv")).take()
    DemoFolder(tmp_path / "demo", Source("events.csv")).take()


@pytest.mark.parametrize("source", [Source(), Source("events.csv")])
def test_a_demo_of_another_source_is_refused(source: Source, tmp_path: Path) -> None:
    first = DemoFolder(tmp_path / "demo", source)
    first.take()
    first.dataset.mkdir()
    (first.dataset / REPORT_FILE).touch()
    first.take()
    with pytest.raises(FormatError, match="--folder"):
        DemoFolder(tmp_path / "demo", Source("other.csv")).take()


def test_a_folder_that_holds_other_things_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").touch()
    with pytest.raises(FormatError, match="--folder"):
        DemoFolder(tmp_path, Source()).take()
