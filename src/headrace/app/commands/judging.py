"""`headrace evaluate`: score a model and the traditional methods on events it has not learned from."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from headrace.app.commands.options import ConfigOption, settings_of
from headrace.core.errors import NotReadyError, SettingsError

if TYPE_CHECKING:
    import polars as pl

_SHOWN_K = 10
_COLUMNS = ("ndcg", "recall", "mrr", "coverage", "rmse", "mae")


def evaluate_command(
    model: Annotated[Path, typer.Argument(metavar="MODEL")],
    dataset: Annotated[Path, typer.Argument(metavar="DATASET")],
    json: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write every figure.")] = None,
    report: Annotated[
        Path | None, typer.Option("--report", metavar="FILE.html", help="Write a page with plots.")
    ] = None,
    config: ConfigOption = None,
) -> None:
    """Score a model and the traditional methods on the events that it has not learned from."""
    # An evaluation may take an hour; what would stop its last step stops it here.
    if report is not None and find_spec("matplotlib") is None:
        raise NotReadyError("--report draws with matplotlib, which is not installed: `pip install 'headrace[report]'`")
    for path in (json, report):
        if path is not None and path.is_dir():
            raise SettingsError(f"{path} must be a file to write, it is a folder; name another")
    from headrace.app.terminal import say
    from headrace.data.dataset import Dataset
    from headrace.pipeline.assessment import evaluate

    settings = settings_of(config)
    result = evaluate(model, Dataset.open(dataset), settings=settings, tell=say)
    if json is not None:
        result.to_json(json)
    if report is not None:
        result.to_html(report)
    show_scores(result.table)
    for note in result.notes:
        say(note)
    for path in (json, report):
        if path is not None:
            say(f"wrote {path}")


def show_scores(table: pl.DataFrame) -> None:
    """Show the figures at 10 over all users, a table for each protocol, the best NDCG first.

    Args:
        table: the rows of `evaluate --json` (CONTRACT, "Protocols").
    """
    import polars as pl

    from headrace.app.terminal import show_table

    whole = table.filter(pl.col("slice") == "all", pl.col("k").is_null() | (pl.col("k") == _SHOWN_K))
    for protocol in whole["protocol"].unique(maintain_order=True):
        rows = whole.filter(pl.col("protocol") == protocol)
        metrics = [name for name in _COLUMNS if name in rows["metric"].to_list()]
        cells = {
            (method, metric): _cell(value, low, high)
            for method, metric, value, low, high in rows.select("method", "metric", "value", "low", "high").iter_rows()
        }
        best = rows.filter(pl.col("metric") == metrics[0]).sort("value", descending=True)["method"].to_list()
        methods = [*best, *(m for m in rows["method"].unique(maintain_order=True) if m not in best)]
        heads = [name if name in ("rmse", "mae") else f"{name}@{_SHOWN_K}" for name in metrics]
        shown = [[method, *(cells.get((method, metric), "") for metric in metrics)] for method in methods]
        show_table(f"{protocol} (95 % interval)", ["method", *heads], shown, numbers=range(1, len(heads) + 1))


def _cell(value: float | None, low: float | None, high: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.4f}" if low is None or high is None else f"{value:.4f} ({low:.4f}-{high:.4f})"
