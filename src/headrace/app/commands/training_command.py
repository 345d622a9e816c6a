"""`headrace train`: learn a model from a dataset, with a progress line; Ctrl-C and kill leave a checkpoint.

With `--follow` it goes on learning from a store; see `following_command`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from headrace.app.commands.following_command import Following, follow_source
from headrace.app.commands.options import ConfigOption, ProtocolOption, service_url, settings_of
from headrace.core.errors import SettingsError
from headrace.core.formats import CARD_FILE, ModelInfo, Protocol
from headrace.core.settings import Settings


def train_command(
    dataset: Annotated[
        str, typer.Argument(metavar="DATASET|STORE", help="A dataset; with --follow also a store, by URL or file.")
    ],
    out: Annotated[
        Path, typer.Option("--out", metavar="MODEL", help="The folder to write; with --follow, of versions.")
    ],
    protocol: ProtocolOption = None,
    minutes: Annotated[
        float | None, typer.Option(metavar="N", help="About how long; becomes a number of steps.")
    ] = None,
    steps: Annotated[
        int | None, typer.Option(metavar="N", help="Steps of the stage that chooses, to repeat a run.")
    ] = None,
    preset: Annotated[str | None, typer.Option(help="auto, tiny, small, base or large.")] = None,
    start: Annotated[
        Path | None, typer.Option("--from", metavar="MODEL", help="Begin with the weights of this model.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the checkpoint of a stopped training.")] = False,
    progress: Annotated[Path | None, typer.Option("--progress", metavar="FILE", hidden=True)] = None,
    go_on: Annotated[bool, typer.Option("--go-on", hidden=True, help="Resume if there is a checkpoint.")] = False,
    follow: Annotated[
        float | None,
        typer.Option("--follow", metavar="N", help="Fine-tune on what came since, each N minutes, and offer it."),
    ] = None,
    url: Annotated[str | None, typer.Option(metavar="URL", help="The service that --follow offers to.")] = None,
    config: ConfigOption = None,
) -> None:
    """Train the Transformer on a dataset and write a model folder, under the protocol `time` unless told otherwise.

    With --follow, under the protocol `all`, each round trains a version `MODEL/00001`, `MODEL/00002` ... for half of
    the N minutes, 10 at most, unless --minutes or --steps say how long. The first begins with --from, each other with
    the one that the service took last. `MODEL/current` leads to that one.
    """
    if minutes is not None and steps is not None:
        raise SettingsError("a training is as long as --minutes or --steps says, both came; give one")
    if resume:
        given = {"protocol": protocol, "minutes": minutes, "steps": steps, "preset": preset, "from": start}
        check_alone({**given, "follow": follow})
    if url is not None and follow is None:
        raise SettingsError(
            f"--url says who is offered the versions of --follow, {url} came without; see headrace swap"
        )
    if not out.name:
        raise SettingsError(f"--out must name a folder of its own, such as models/first, got {str(out)!r}")
    from headrace.app.training_choices import require_torch, training_choices

    require_torch()
    flags = {"training.minutes": minutes, "training.steps": steps, "training.preset": preset}
    settings = training_choices(settings_of(config, flags), minutes_asked=minutes is not None, from_model=start)
    if follow is not None:
        follow_source(Following(dataset, out, start, protocol or "all", settings, service_url(url, config)), follow)
    else:
        train_once(dataset, out, start, protocol or "time", settings, resume=resume, go_on=go_on, progress=progress)


def train_once(
    dataset: str,
    out: Path,
    start: Path | None,
    protocol: Protocol,
    settings: Settings,
    *,
    resume: bool,
    go_on: bool,
    progress: Path | None,
) -> None:
    """Train one model, or go on with a stopped training, and say what came of it."""
    from headrace.app.terminal import ProgressLine
    from headrace.app.watching import Watch, stopping_on_signals
    from headrace.data.dataset import Dataset
    from headrace.pipeline import fitting

    data = Dataset.open(dataset)
    with ProgressLine("training") as line:
        watch = Watch(line, progress)
        with stopping_on_signals(watch.stop):
            if resume or (go_on and fitting.can_resume(out)):
                info = fitting.resume(data, out=out, watcher=watch)
            else:
                info = fitting.train(
                    data, out=out, settings=settings, protocol=protocol, from_model=start, watcher=watch
                )
    show_model(out, info)


def check_alone(choices: Mapping[str, object]) -> None:
    """Refuse choices beside --resume, which would not count."""
    given = [f"--{name}" for name, value in choices.items() if value is not None]
    if given:
        raise SettingsError(
            f"--resume goes on with what the training began with, and {', '.join(given)} came too; give it with "
            "DATASET and --out alone"
        )


def show_model(folder: Path, info: ModelInfo) -> None:
    """Say what was trained."""
    from headrace.app.terminal import say

    learned = info.learned
    say(f"wrote {folder}: version {info.version}, preset {info.preset}, {info.steps:,} steps")
    say(
        f"learned from {learned.events:,} events under the protocol {learned.protocol}; {folder / CARD_FILE} tells more"
    )
