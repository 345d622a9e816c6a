"""`headrace swap`: ask a running service to check, warm and take a model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from headrace.app.commands.options import ConfigOption, api_key, service_url


def swap_command(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="A model folder below the service's models folder.")],
    url: Annotated[str | None, typer.Option(metavar="URL", help="The service.")] = None,
    config: ConfigOption = None,
) -> None:
    """Ask a running service to check, warm and take a model; it goes on answering meanwhile."""
    from headrace.app.calling import request_swap
    from headrace.app.terminal import say

    say(request_swap(service_url(url, config), model, api_key()))
