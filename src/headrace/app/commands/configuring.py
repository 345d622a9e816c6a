"""`headrace config`: the settings in force, and where each came from."""

from __future__ import annotations

import os

from headrace.app.commands.options import ConfigOption
from headrace.core.settings import explain_settings


def config_command(config: ConfigOption = None) -> None:
    """Show the settings in force and where each came from."""
    from headrace.app.terminal import show_table

    rows = [(row.name, row.value, row.where) for row in explain_settings(config, environment=os.environ)]
    show_table("Settings", ("name", "value", "from"), rows)
