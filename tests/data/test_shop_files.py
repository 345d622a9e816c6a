"""The generated raw files hold the dirt that they promise, and cleaning finds all of it."""

from __future__ import annotations

from pathlib import Path

from headrace.data.shop_files import write_shop
from headrace.pipeline.preparation import prepare


def test_cleaning_finds_the_dirt(tmp_path: Path) -> None:
    lines, items = write_shop(tmp_path, n_users=200)
    dataset = prepare(tmp_path / "events.csv", items=tmp_path / "items.csv", out=tmp_path / "dataset")
    report = dataset.report
    assert report.read == lines == report.kept + report.dropped
    assert report.catalogue == items
    clean = lines - 1 - (lines - 1) // 501 - 1
    n = clean + 1
    expected = 1 + (lines - 1 - n) + n // 900 + n // 1100
    assert abs(report.dropped - expected) <= 2 + n // 10_000
