"""`headrace prepare`: clean a source into a dataset and show what was kept and dropped."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from headrace.app.commands.options import ConfigOption, settings_of

if TYPE_CHECKING:
    from headrace.data.dataset import Dataset


def prepare_command(
    events: Annotated[str, typer.Argument(metavar="EVENTS|STORE", help="A file, a folder, or the URL of a store.")],
    out: Annotated[Path, typer.Option("--out", metavar="DATASET", help="The folder to write.")],
    items: Annotated[Path | None, typer.Option("--items", metavar="FILE", help="The catalogue.")] = None,
    user: Annotated[str | None, typer.Option("--user", metavar="COLUMN", help="The column of the user's id.")] = None,
    item: Annotated[str | None, typer.Option("--item", metavar="COLUMN", help="The column of the item's id.")] = None,
    time: Annotated[str | None, typer.Option("--time", metavar="COLUMN", help="The column of the time.")] = None,
    kind: Annotated[
        str | None, typer.Option("--type", metavar="COLUMN", help="The column of the event's type.")
    ] = None,
    value: Annotated[str | None, typer.Option("--value", metavar="COLUMN", help="The column of the value.")] = None,
    timezone: Annotated[str | None, typer.Option(metavar="ZONE", help="Zone of times without an offset.")] = None,
    ties: Annotated[str | None, typer.Option(metavar="hash|file", help="Order of a user's events at one time.")] = None,
    config: ConfigOption = None,
) -> None:
    """Clean events and items into a dataset; the table says what each step dropped and why."""
    from headrace.pipeline.preparation import prepare

    settings = settings_of(config, {"data.timezone": timezone, "data.ties": ties})
    named = {"user": user, "item": item, "time": time, "type": kind, "value": value}
    columns = {field: column for field, column in named.items() if column is not None}
    dataset = prepare(events, items=items, out=out, settings=settings.data, columns=columns)
    show_report(dataset)


def show_report(dataset: Dataset) -> None:
    """Show the report of a dataset as tables."""
    from headrace.app.terminal import say, show_table

    report = dataset.report
    rows = [("read", "", f"{report.read:,}")]
    rows += [(step.step, step.reason, f"{step.rows:,}") for step in report.steps]
    rows += [("dropped", "stand in quarantine.parquet", f"{report.dropped:,}"), ("kept", "", f"{report.kept:,}")]
    show_table("Events", ("step", "reason", "rows"), rows, numbers=(2,))
    if report.items:
        steps = [(step.step, step.reason, f"{step.rows:,}") for step in report.items]
        show_table("Items", ("step", "reason", "rows"), steps, numbers=(2,))
    for note in report.notes:
        say(note)
    say(
        f"{dataset.path}: {report.users:,} users, {report.catalogue:,} items; "
        f"event types: {', '.join(report.types) or 'none'}"
    )
