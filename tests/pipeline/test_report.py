"""The report as a frame, as JSON and as a page."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from xml.etree import ElementTree

import msgspec
import pytest

from headrace.core.errors import NotReadyError
from headrace.pipeline.report import CurvePoint, Report, render_page
from headrace.ranking.evaluation import MetricName, Row


def row(method: str, metric: MetricName, value: float, *, protocol: str = "time-frozen", part: str = "all") -> Row:
    k = None if metric in ("rmse", "mae") else 10
    low, high = (None, None) if metric == "coverage" else (value - 0.01, value + 0.01)
    return Row(
        method=method, protocol=protocol, slice=part, metric=metric, k=k, value=value, low=low, high=high, n=1234
    )


ROWS = [
    row("popular", "ndcg", 0.0312),
    row("popular", "recall", 0.05),
    row("popular", "coverage", 0.2),
    row("headrace", "ndcg", 0.0712),
    row("headrace", "recall", 0.1),
    row("headrace", "ndcg", 0.04, part="new-items"),
    row("popular", "ndcg", 0.0, part="new-items"),
    row("user-item-means", "rmse", 0.9),
    row("headrace", "ndcg", 0.0698, protocol="time-frozen-no-time"),
]
REPORT = Report(
    "shop <2025>",
    ROWS,
    ["7 of 1,234 targets are new"],
    [CurvePoint(10, 4.0, 0.01), CurvePoint(20, 3.5)],
    {"time-frozen": {"popular": 0.25}},
)


def test_the_json_is_one_array_of_the_contracts_rows(tmp_path: Path) -> None:
    REPORT.to_json(tmp_path / "report.json")
    rows = msgspec.json.decode((tmp_path / "report.json").read_bytes())
    assert [list(each) for each in rows] == [
        ["method", "protocol", "slice", "metric", "k", "value", "low", "high", "n"]
    ] * len(ROWS)
    assert msgspec.convert(rows, list[Row]) == ROWS


def test_the_table_holds_every_row() -> None:
    table = REPORT.table
    assert table.height == len(ROWS)
    assert table.row(0) == ("popular", "time-frozen", "all", "ndcg", 10, 0.0312, 0.0312 - 0.01, 0.0312 + 0.01, 1234)
    assert Report("nothing", []).table.columns == table.columns


def test_the_page_shows_tables_plots_and_the_training_curve(tmp_path: Path) -> None:
    REPORT.to_html(tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "shop &lt;2025&gt;" in page
    assert "7 of 1,234 targets are new" in page
    assert "0.0712<br><small>0.0612–0.0812</small>" in page
    assert "0.0698" in page
    plots = re.findall(r"<svg.*?</svg>", page, re.DOTALL)
    assert len(plots) == 3
    for plot in plots:
        ElementTree.fromstring(plot)
    # The best method stands first.
    assert page.index("<td>headrace</td>") < page.index("<td>popular</td>")


def test_the_page_needs_no_other_host_and_no_script() -> None:
    page = render_page(REPORT)
    loads = re.findall(r"""(?:src|href|url\()\s*=?\s*["']?(https?:[^"')\s]+)""", page)
    assert loads == []
    assert "<script" not in page


def test_the_same_report_gives_the_same_page() -> None:
    assert render_page(REPORT) == render_page(REPORT)


def test_a_missing_matplotlib_is_named_with_the_extra_that_brings_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(NotReadyError, match=r"headrace\[report\]"):
        render_page(REPORT)
