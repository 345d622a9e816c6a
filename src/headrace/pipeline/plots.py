"""The plots of a report as inline SVG, and of a search; the only file that needs matplotlib, `headrace[report]`."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO, StringIO
from itertools import accumulate
from typing import TYPE_CHECKING

from headrace.core.errors import NotReadyError
from headrace.ranking.evaluation import Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from headrace.pipeline.report import CurvePoint
    from headrace.pipeline.tuning_record import TuningRecord

_OURS, _OTHERS = "#1f6fb2", "#9fb3c5"
_SERIES = ("#1f6fb2", "#e08a1e", "#3f9d6b", "#b5476a", "#7a6bb8", "#6d7f8f", "#c2a83e", "#4bb3c4", "#8c5a3c")
_ROW_INCHES = 0.32
_IN_ROW = 5
"""Parameters side by side."""


def draw_metrics(rows: Sequence[Row]) -> str:
    """Return bars of NDCG@10 and recall@10 of every method over all targets, with their intervals, best on top.

    Args:
        rows: of one protocol.

    Raises:
        NotReadyError: matplotlib is not installed.
    """
    found: dict[tuple[str, str], Row] = {(r.method, r.metric): r for r in rows if r.slice == "all" and r.k == 10}
    methods = sorted((m for m, metric in found if metric == "ndcg"), key=lambda m: found[m, "ndcg"].value)
    figure = _figure(9, 1.2 + _ROW_INCHES * len(methods))
    for place, metric in enumerate(("ndcg", "recall"), start=1):
        axes = figure.add_subplot(1, 2, place)
        chosen = [found[method, metric] for method in methods]
        colours = [_OURS if method == "headrace" else _OTHERS for method in methods]
        axes.barh(methods, [row.value for row in chosen], xerr=_errors(chosen), color=colours, capsize=2)
        axes.set_title(f"{metric}@10", fontsize=10)
        _plain(axes)
    return _svg(figure, "metrics")


def draw_slices(rows: Sequence[Row]) -> str:
    """Return bars of NDCG@10 by slice, side by side for every method; see `draw_metrics`."""
    found = {(r.slice, r.method): r for r in rows if r.metric == "ndcg" and r.k == 10}
    names = list(dict.fromkeys(name for name, _ in found))
    methods = list(dict.fromkeys(method for _, method in found))
    figure = _figure(9, 3.6)
    axes = figure.add_subplot(1, 1, 1)
    width = 0.8 / max(1, len(methods))
    for place, method in enumerate(methods):
        chosen = [found[name, method] for name in names]
        left = [x - 0.4 + width * (place + 0.5) for x in range(len(names))]
        colour = _SERIES[place % len(_SERIES)]
        heights = [row.value for row in chosen]
        axes.bar(left, heights, width, yerr=_errors(chosen), color=colour, label=method, error_kw={"linewidth": 0.7})
    counts = [found[name, methods[0]].n for name in names]
    axes.set_xticks(range(len(names)), [f"{name}\n{n:,}" for name, n in zip(names, counts, strict=True)], fontsize=8)
    axes.set_ylabel("ndcg@10")
    axes.legend(fontsize=7, ncols=3, frameon=False)
    _plain(axes)
    return _svg(figure, "slices")


def draw_curve(curve: Sequence[CurvePoint]) -> str:
    """Return the loss and, where it was measured, NDCG@10 over the steps of a training; see `draw_metrics`."""
    figure = _figure(9, 3)
    axes = figure.add_subplot(1, 1, 1)
    axes.plot([point.step for point in curve], [point.loss for point in curve], color=_OTHERS, label="loss")
    axes.set_xlabel("step")
    axes.set_ylabel("loss")
    measured = [(point.step, point.metric) for point in curve if point.metric is not None]
    if measured:
        steps, metrics = zip(*measured, strict=True)
        other = axes.twinx()
        other.plot(steps, metrics, color=_OURS, marker="o", markersize=3)
        other.set_ylabel("ndcg@10", color=_OURS)
        other.spines["top"].set_visible(False)
    _plain(axes)
    return _svg(figure, "curve")


def draw_tuning(record: TuningRecord) -> bytes:
    """Return a PNG of a search: the scores in order, how the trials were checked, and each parameter beside the score.

    Raises:
        NotReadyError: matplotlib is not installed.
    """
    names = list(record.trials[0].parameters)
    rows = -(-len(names) // _IN_ROW)
    figure = _figure(11, 3.4 + 2.1 * rows)
    grid = figure.add_gridspec(1 + rows, 2 * _IN_ROW, height_ratios=[1.5, *[1] * rows])
    scores = {trial.number: trial.score for trial in record.trials if trial.score is not None}
    _draw_scores(figure.add_subplot(grid[0, :_IN_ROW]), record, scores)
    _draw_checks(figure.add_subplot(grid[0, _IN_ROW:]), record)
    for place, name in enumerate(names):
        row, column = divmod(place, _IN_ROW)
        axes = figure.add_subplot(grid[1 + row, 2 * column : 2 * column + 2])
        for number, score in scores.items():
            colour = _OURS if number == record.best else _OTHERS
            axes.plot(record.trials[number].parameters[name], score, "o", color=colour, markersize=4)
        axes.set_title(name, fontsize=9)
        axes.locator_params(axis="x", nbins=4)
        _plain(axes)
    out = BytesIO()
    figure.savefig(out, format="png", dpi=110, metadata={"Software": None})
    return out.getvalue()


def _draw_scores(axes: Axes, record: TuningRecord, scores: dict[int, float]) -> None:
    so_far = list(accumulate(scores.values(), max))
    axes.step(list(scores), so_far, where="post", color=_OURS, linewidth=1, label="best so far")
    axes.plot(list(scores), list(scores.values()), "o", color=_OURS, markersize=4, label="complete")
    for state, mark in (("pruned", "x"), ("failed", "v")):
        numbers = [trial.number for trial in record.trials if trial.state == state]
        if numbers:
            low, label = min(scores.values()), f"{state} (no score)"
            axes.plot(numbers, [low] * len(numbers), mark, color=_SERIES[3], markersize=4, label=label)
    axes.set_xlabel("trial")
    axes.set_ylabel("ndcg@10 of the blend")
    axes.legend(fontsize=7, frameon=False)
    _plain(axes)


def _draw_checks(axes: Axes, record: TuningRecord) -> None:
    for trial in record.trials:
        ours = trial.number == record.best
        colour = _OURS if ours else _SERIES[3] if trial.state == "pruned" else _OTHERS
        label = "best" if ours else None
        checks = range(1, len(trial.checks) + 1)
        axes.plot(checks, trial.checks, color=colour, marker=".", linewidth=1.0, zorder=2 + ours, label=label)
    axes.set_xlabel("check")
    axes.set_ylabel("ndcg@10 of the encoder")
    axes.legend(fontsize=7, frameon=False)
    _plain(axes)


def _figure(width: float, height: float) -> Figure:
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise NotReadyError(
            "the page of a report needs matplotlib, which is not installed: `pip install 'headrace[report]'`; "
            "--json needs nothing more"
        ) from None
    return Figure(figsize=(width, height), layout="constrained")


def _errors(rows: Sequence[Row]) -> list[list[float]]:
    """Return how far the intervals reach below and above the values."""
    below = [max(0.0, row.value - row.low) if row.low is not None else 0.0 for row in rows]
    above = [max(0.0, row.high - row.value) if row.high is not None else 0.0 for row in rows]
    return [below, above]


def _plain(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)


def _svg(figure: Figure, name: str) -> str:
    """Return the figure as an SVG element; the same figure gives the same text."""
    import matplotlib

    out = StringIO()
    # Without a salt the ids inside are random; text stays text, so that a page of ten plots is small.
    with matplotlib.rc_context({"svg.hashsalt": name, "svg.fonttype": "none"}):
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
    text = out.getvalue()
    return text[text.index("<svg") :]
