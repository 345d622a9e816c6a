"""`headrace swap`: ask a running service to check, warm and take a model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from headrace.app.commands.options import ConfigOption, api_key, settings_of


def swap_command(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="A model folder below the service's models folder.")],
    url: Annotated[str | None, typer.Option(metavar="URL", help="The service.")] = None,
    config: ConfigOption = None,
) -> None:
    """Ask a running service to check, warm and take a model; it goes on answering meanwhile."""
    from headrace.app.calling import request_swap
    from headrace.app.listening import address_at
    from headrace.app.terminal import say

    address = url
    if address is None:
        serving = settings_of(config).serving
        address = address_at(serving.host, serving.port)
    say(request_swap(address, model, api_key()))
