"""`headrace serve`: run the service."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from headrace.app.commands.options import API_KEY, ConfigOption, api_key, settings_of
from headrace.core.errors import SettingsError


def serve_command(
    model: Annotated[
        Path | None, typer.Argument(metavar="[MODEL]", help="Without one, transition counts answer.")
    ] = None,
    history: Annotated[
        Path | None, typer.Option(metavar="DATASET", help="Import this dataset into the store, once.")
    ] = None,
    store: Annotated[str | None, typer.Option(metavar="URL", help="The store, an SQLAlchemy URL.")] = None,
    host: Annotated[str | None, typer.Option(help="The address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="The port; 0 takes a free one.")] = None,
    page: Annotated[bool, typer.Option("--page", help="Serve the page at / too.")] = False,
    insecure: Annotated[bool, typer.Option("--insecure", help="Allow other hosts to reach it without a key.")] = False,
    config: ConfigOption = None,
) -> None:
    """Serve recommendations over HTTP until stopped."""
    settings = settings_of(config, {"serving.store": store, "serving.host": host, "serving.port": port})
    key = api_key()
    check_reach(settings.serving.host, key, insecure=insecure)

    from headrace.app.listening import BACKLOG, address_of, listen
    from headrace.app.terminal import say

    bound = listen(settings.serving.host, settings.serving.port)
    from headrace.app.http.application import create_app
    from headrace.app.http.front_link import serve
    from headrace.serving.service import Service

    service = Service.open(settings, model=model, history=history)
    try:
        app = create_app(service, page=page, api_key=key, settings=settings)
        bound.listen(BACKLOG)  # who reads the address below and connects at once waits, and is not refused
        say(f"store: {service.store.path}")
        say(f"model: {model.resolve() if model is not None else 'none, transition counts answer'}")
        say(f"listening on {address_of(bound)}; {'the page is at /, ' if page else ''}the API is described at /docs")
        serve(app, service, bound, key)
    finally:
        service.close()


def check_reach(host: str, key: str | None, *, insecure: bool) -> None:
    """Refuse to let other machines in without a key.

    Raises:
        SettingsError: `host` is not loopback, there is no key, and `insecure` does not allow it.
    """
    from headrace.app.listening import is_loopback

    if key is None and not insecure and not is_loopback(host):
        raise SettingsError(
            f"without a key only this machine may reach the service, and --host {host} lets others in; "
            f"set {API_KEY}, or say --insecure"
        )
