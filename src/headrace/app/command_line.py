"""The command `headrace`: one verb a command. Each loads what it needs when it runs, so that `--help` is quick."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib.metadata import version
from typing import Annotated, NoReturn

import typer

from headrace.app.commands.answering import predict_command, recommend_command
from headrace.app.commands.configuring import config_command
from headrace.app.commands.demonstrating import demo_command
from headrace.app.commands.judging import evaluate_command
from headrace.app.commands.preparing import prepare_command
from headrace.app.commands.serving_command import serve_command
from headrace.app.commands.swapping import swap_command
from headrace.app.commands.training_command import train_command
from headrace.app.commands.tuning_command import tune_command
from headrace.app.machine_faults import foreseen_fault

app = typer.Typer(
    name="headrace",
    help="A self-hosted recommender in which the event sent a millisecond ago already counts.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("prepare")(prepare_command)
app.command("train")(train_command)
app.command("tune")(tune_command)
app.command("evaluate")(evaluate_command)
app.command("predict")(predict_command)
app.command("recommend")(recommend_command)
app.command("serve")(serve_command)
app.command("swap")(swap_command)
app.command("demo")(demo_command)
app.command("config")(config_command)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run one command and leave the process with its exit code; a foreseen error is one message, without a traceback.

    Args:
        arguments: those after the name of the command; None takes the process's own.
    """
    if {"serve", "demo"} & set(sys.argv[1:2] if arguments is None else arguments[:1]):
        # Products of one request are small: two threads of OpenBLAS wait for each other for 7 ms where one takes 0.05.
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    try:
        app(args=arguments)
    except Exception as error:  # each library that writes has a class of its own for a full disk; the rest is raised on
        told = foreseen_fault(error)
        if told is None:
            raise
        typer.echo(f"headrace: {told}", err=True)
        sys.exit(told.exit_code)
    sys.exit(0)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"headrace {version('headrace')}")
        raise typer.Exit


@app.callback()
def _options(
    shown: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and leave.")
    ] = False,
) -> None:
    """A self-hosted recommender in which the event sent a millisecond ago already counts."""


if __name__ == "__main__":
    main()
