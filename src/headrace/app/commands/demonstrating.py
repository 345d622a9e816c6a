"""`headrace demo`: a shop to look at, from the installed package's groceries or from one's own data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from headrace.app.commands.options import ConfigOption, settings_of


def demo_command(
    data: Annotated[
        str | None, typer.Option(metavar="SOURCE", help="Your own events; anything that `headrace prepare` takes.")
    ] = None,
    items: Annotated[str | None, typer.Option(metavar="FILE", help="Your own catalogue.")] = None,
    port: Annotated[int | None, typer.Option(help="The port; 0 takes a free one.")] = None,
    folder: Annotated[Path, typer.Option(metavar="FOLDER", help="Where the demo keeps its things.")] = Path(
        "headrace-demo"
    ),
    minutes: Annotated[float, typer.Option(min=0.1, help="How long to train.")] = 7.0,
    config: ConfigOption = None,
) -> None:
    """Open a small shop on this machine, and train its Transformer while it serves."""
    from headrace.app.demo import DemoFolder, Source, run_demo
    from headrace.app.listening import listen
    from headrace.data.groceries import GROCERIES

    settings = settings_of(config, {"serving.port": port})
    source = Source(data or GROCERIES, items)
    with listen("127.0.0.1", settings.serving.port) as bound:
        options = ["--minutes", f"{minutes:g}", *(["--config", str(config)] if config is not None else [])]
        run_demo(DemoFolder(folder, source), settings, bound, options)
