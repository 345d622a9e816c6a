"""The page of a run: a Markdown table and a plot for each table of each set.

Ours is compared with the best peer and, where that is better, with the best of Headrace's own traditional methods; its
parts (`encoder`, `counts`) are neither.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from quality.environments import PROGRAMS
from quality.figures import OURS, Figure

_PARTS = ("headrace", "headrace-no-time", "encoder", "encoder-no-time", "counts", "counts-no-time")
_SHOWN = (("ndcg", 10), ("recall", 10), ("recall", 20), ("mrr", 20))


def headline(table: str) -> tuple[str, int]:
    """Return the metric that a table is ordered by."""
    return ("mrr", 20) if table == "sessions" else ("ndcg", 10)


def page(title: str, notes: Sequence[str], figures: Sequence[Figure]) -> str:
    """Return the whole page; plots are named as `plot` names them."""
    lines = [f"# {title}", "", *notes, "", *verdicts(figures)]
    for name, table in _tables(figures):
        lines += ["", f"## {name}, {table}", "", *_table([f for f in figures if (f.set, f.table) == (name, table)])]
    return "\n".join(lines) + "\n"


def verdicts(figures: Sequence[Figure]) -> list[str]:
    """Return one row a table: ours against the best peer and the best other method, on the same users."""
    lines = [
        "| set | table | metric | headrace | against | theirs | ahead (95 %) | ahead in % |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, table in _tables(figures):
        rows = [f for f in figures if (f.set, f.table) == (name, table)]
        for metric, k in (headline(table), ("basket-ndcg", 10)):
            rivals = [f for f in rows if (f.metric, f.k) == (metric, k) and f.method not in _PARTS]
            peers = [f for f in rivals if f.method in PROGRAMS]
            best = {max(group, key=lambda f: f.value) for group in (peers, rivals) if group}
            for rival in sorted(best, key=lambda f: f.method not in PROGRAMS):
                ours = next(f for f in rows if (f.metric, f.k, f.method) == (metric, k, OURS))
                percent = f"{100 * rival.ahead / rival.value:+.1f} %" if rival.value else ""
                lines.append(
                    f"| {name} | {table} | {_label(metric, k)} | {ours.value:.4f} | {_name(rival)} | {rival.value:.4f} "
                    f"| {rival.ahead:+.4f} ({rival.ahead_low:+.4f} to {rival.ahead_high:+.4f}) | {percent} |"
                )
    return lines


def plot(name: str, figures: Sequence[Figure], folder: Path, prefix: str) -> None:
    """Draw the headline metric of every method of a set, a panel a table, into `folder`."""
    tables = [table for each, table in _tables(figures) if each == name]
    drawing, panels = plt.subplots(1, len(tables), figsize=(6 * len(tables), 5), squeeze=False, layout="constrained")
    for panel, table in zip(panels[0], tables, strict=True):
        metric, k = headline(table)
        rows = [f for f in figures if (f.set, f.table, f.metric, f.k) == (name, table, metric, k)]
        rows.sort(key=lambda f: f.value)
        values = [f.value for f in rows]
        reach = [[f.value - f.low for f in rows], [f.high - f.value for f in rows]]
        colours = [
            "tab:orange" if f.method in _PARTS else "tab:blue" if f.method in PROGRAMS else "silver" for f in rows
        ]
        panel.barh([_name(f) for f in rows], values, xerr=reach, color=colours)
        panel.set_title(f"{name}, {table}")
        panel.set_xlabel(f"{_label(metric, k)}, 95 % interval")
    folder.mkdir(parents=True, exist_ok=True)
    drawing.savefig(folder / f"{prefix}-{name}.svg", metadata={"Date": None})
    plt.close(drawing)


def _table(rows: Sequence[Figure]) -> list[str]:
    metric, k = headline(rows[0].table)
    shown = [(metric, k), *(each for each in _SHOWN if each != (metric, k))]
    if any(f.metric == "basket-ndcg" for f in rows):
        shown += [("basket-ndcg", 10), ("basket-recall", 10)]
    names = " | ".join(_label(*each) for each in shown)
    lines = [
        f"| method | {names} | headrace ahead, {_label(metric, k)} (95 %) | seconds | peak MB |",
        "| --- |" + " --- |" * (len(shown) + 3),
    ]
    heads = sorted((f for f in rows if (f.metric, f.k) == (metric, k)), key=lambda f: -f.value)
    for head in heads:
        cells = []
        for each in shown:
            figure = next(f for f in rows if f.method == head.method and (f.metric, f.k) == each)
            interval = f" ({figure.low:.4f}-{figure.high:.4f})" if each == (metric, k) else ""
            cells.append(f"{figure.value:.4f}{interval}")
        ahead = f"{head.ahead:+.4f} ({head.ahead_low:+.4f} to {head.ahead_high:+.4f})" if head.method != OURS else ""
        peak = "" if head.peak_mb is None else f"{head.peak_mb:,}"
        lines.append(f"| {_name(head)} | {' | '.join(cells)} | {ahead} | {head.seconds:,.0f} | {peak} |")
    asked = f"n = {heads[0].n:,} targets."
    if any(f.frozen for f in heads):
        asked += " Methods marked * learn nothing after the cut; they read each user's whole history."
    return [*lines, "", asked]


def _name(figure: Figure) -> str:
    return figure.method + (" *" if figure.frozen else "")


def _label(metric: str, k: int) -> str:
    kind, _, rest = metric.rpartition("-")
    name = {"ndcg": "NDCG", "recall": "recall", "mrr": "MRR"}[rest]
    return f"{kind} {name}@{k}".strip()


def _tables(figures: Sequence[Figure]) -> list[tuple[str, str]]:
    return list(dict.fromkeys((f.set, f.table) for f in figures))
