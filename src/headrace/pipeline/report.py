"""The report of an evaluation: a frame, a JSON array, and one page with tables and plots.

The page needs nothing from another host and no script. Plots are drawn by matplotlib, the extra `headrace[report]`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

import msgspec
import polars as pl

from headrace.core.files import replacing
from headrace.ranking.evaluation import NO_TIME, Row

_SCHEMA = {
    "method": pl.String,
    "protocol": pl.String,
    "slice": pl.String,
    "metric": pl.String,
    "k": pl.Int32,
    "value": pl.Float64,
    "low": pl.Float64,
    "high": pl.Float64,
    "n": pl.Int64,
}
_OVERVIEW = (("ndcg", 10), ("recall", 10), ("mrr", 10), ("coverage", 10), ("rmse", None), ("mae", None))
_HEAD = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 64rem; margin: 2rem auto; padding: 0 1rem; color: #1b2733; }}
table {{ border-collapse: collapse; width: 100%; margin: 1rem 0; font-variant-numeric: tabular-nums; }}
th, td {{ text-align: right; vertical-align: top; line-height: 1.25; padding: .35rem .6rem; white-space: nowrap; }}
tr {{ border-bottom: 1px solid #d8dfe6; }}
th:first-child, td:first-child {{ text-align: left; }}
tr.ours {{ font-weight: 600; background: #eef5fb; }}
small {{ color: #5b6b7a; font-weight: 400; }}
figure {{ margin: 1rem 0; overflow-x: auto; }}
svg {{ max-width: 100%; height: auto; }}
.wide {{ overflow-x: auto; }}
</style>
</head>
<body>
<h1>{title}</h1>
"""


class CurvePoint(msgspec.Struct, frozen=True):
    """One look at a training: mean loss of the steps before, NDCG@10 between the cuts where it was measured."""

    step: int
    loss: float
    metric: float | None = None


@dataclass(frozen=True)
class Report:
    """The figures of one evaluation, in the contract's form.

    Args:
        title: what was scored on what.
        rows: every figure.
        notes: what a reader must know beside them.
        curve: of the model's fitted stage; empty without a model.
        seconds: what each method took to learn and to answer, by protocol and method.
    """

    title: str
    rows: list[Row]
    notes: list[str] = field(default_factory=list)
    curve: list[CurvePoint] = field(default_factory=list)
    seconds: dict[str, dict[str, float]] = field(default_factory=dict)

    @property
    def table(self) -> pl.DataFrame:
        """All rows as a frame `method, protocol, slice, metric, k, value, low, high, n`."""
        return pl.DataFrame([msgspec.to_builtins(row) for row in self.rows], schema=_SCHEMA)

    def to_json(self, path: str | Path) -> None:
        """Write the rows as one JSON array."""
        with replacing(Path(path)) as temporary:
            temporary.write_bytes(msgspec.json.format(msgspec.json.encode(self.rows), indent=1) + b"\n")

    def to_html(self, path: str | Path) -> None:
        """Write one page with tables and plots.

        Raises:
            NotReadyError: matplotlib is not installed.
        """
        page = render_page(self)
        with replacing(Path(path)) as temporary:
            temporary.write_text(page, encoding="utf-8")


def render_page(report: Report) -> str:
    """Return the page: notes, then for each protocol an overview with plots, the training curve, all figures.

    Raises:
        NotReadyError: matplotlib is not installed.
    """
    from headrace.pipeline.plots import draw_curve, draw_metrics, draw_slices

    parts = [_HEAD.format(title=escape(report.title)), _notes(report.notes)]
    for protocol in _protocols(report.rows):
        if protocol.endswith(NO_TIME):
            continue
        rows = [row for row in report.rows if row.protocol == protocol]
        parts += [
            f"<h2>{escape(protocol)}</h2>",
            _overview(rows, report.seconds.get(protocol, {})),
            _figure(draw_metrics(rows), "NDCG and recall at 10 over all targets, with 95 % intervals over users"),
            _figure(draw_slices(rows), "NDCG at 10 by slice, with 95 % intervals over users"),
        ]
        twin = [row for row in report.rows if row.protocol == protocol + NO_TIME]
        if twin:
            parts.append(f"<h3>The time of the request hidden</h3>{_overview(twin, {})}")
    if report.curve:
        parts.append("<h2>Training</h2>" + _figure(draw_curve(report.curve), "Loss, and NDCG at 10 between the cuts"))
    parts.append(_everything(report.rows))
    return "\n".join([*parts, "</body>\n</html>\n"])


def _protocols(rows: Iterable[Row]) -> list[str]:
    return list(dict.fromkeys(row.protocol for row in rows))


def _notes(notes: Sequence[str]) -> str:
    return "<ul>" + "".join(f"<li>{escape(note)}</li>" for note in notes) + "</ul>" if notes else ""


def _overview(rows: Sequence[Row], seconds: dict[str, float]) -> str:
    """Return a table of methods, best NDCG first, for the slice `all`."""
    found: dict[tuple[str, str, int | None], Row] = {(r.method, r.metric, r.k): r for r in rows if r.slice == "all"}
    columns = [name for name in _OVERVIEW if any(key[1:] == name for key in found)]
    methods = list(dict.fromkeys(method for method, _, _ in found))
    methods.sort(key=lambda method: -row.value if (row := found.get((method, "ndcg", 10))) else 0.0)
    heads = [f"{metric}@{k}" if k else metric for metric, k in columns] + (["seconds"] if seconds else [])
    lines = [_line("th", ["method", *heads])]
    for method in methods:
        cells = [_cell(found.get((method, metric, k))) for metric, k in columns]
        if seconds:
            cells.append(f"{seconds[method]:.1f}" if method in seconds else "")
        lines.append(_line("td", [escape(method), *cells], ours=method == "headrace"))
    return f'<div class="wide"><table>{"".join(lines)}</table></div>'


def _cell(row: Row | None) -> str:
    if row is None:
        return ""
    bounds = f"<br><small>{row.low:.4f}–{row.high:.4f}</small>" if row.low is not None and row.high is not None else ""
    return f"{row.value:.4f}{bounds}"


def _line(tag: str, cells: Iterable[str], *, ours: bool = False) -> str:
    inner = "".join(f"<{tag}>{cell}</{tag}>" for cell in cells)
    return f'<tr class="ours">{inner}</tr>' if ours else f"<tr>{inner}</tr>"


def _figure(svg: str, caption: str) -> str:
    return f"<figure>{svg}<figcaption>{escape(caption)}</figcaption></figure>"


def _everything(rows: Sequence[Row]) -> str:
    heads = ["method", "protocol", "slice", "metric", "value", "n"]
    lines = [_line("th", heads)]
    for row in rows:
        metric = f"{row.metric}@{row.k}" if row.k else row.metric
        names = [escape(text) for text in (row.method, row.protocol, row.slice, metric)]
        lines.append(_line("td", [*names, _cell(row), f"{row.n:,}"]))
    return f'<details><summary>All figures</summary><div class="wide"><table>{"".join(lines)}</table></div></details>'
