"""`headrace train`: learn a model from a dataset, with a progress line; Ctrl-C and kill leave a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from headrace.app.commands.options import ConfigOption, settings_of
from headrace.core.errors import SettingsError
from headrace.core.formats import CARD_FILE, ModelInfo, Protocol


def train_command(
    dataset: Annotated[Path, typer.Argument(metavar="DATASET")],
    out: Annotated[Path, typer.Option("--out", metavar="MODEL", help="The folder to write.")],
    protocol: Annotated[
        Protocol | None,
        typer.Option(help="What to learn from: all before the last tenth (time), all but each user's last, or all."),
    ] = None,
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
    config: ConfigOption = None,
) -> None:
    """Train the Transformer on a dataset and write a model folder, under the protocol `time` unless told otherwise."""
    if minutes is not None and steps is not None:
        raise SettingsError("a training is as long as --minutes or --steps says, both came; give one")
    if resume:
        check_alone({"protocol": protocol, "minutes": minutes, "steps": steps, "preset": preset, "from": start})
    if not out.name:
        raise SettingsError(f"--out must name a folder of its own, such as models/first, got {str(out)!r}")
    from headrace.app.training_choices import require_torch, training_choices

    require_torch()
    flags = {"training.minutes": minutes, "training.steps": steps, "training.preset": preset}
    settings = settings_of(config, flags)

    from headrace.app.terminal import ProgressLine
    from headrace.app.watching import Watch, stopping_on_signals
    from headrace.data.dataset import Dataset
    from headrace.pipeline import fitting

    settings = training_choices(settings, minutes_asked=minutes is not None, from_model=start)
    data, chosen = Dataset.open(dataset), protocol or "time"
    with ProgressLine("training") as line:
        watch = Watch(line, progress)
        with stopping_on_signals(watch):
            if resume or (go_on and fitting.can_resume(out)):
                info = fitting.resume(data, out=out, watcher=watch)
            else:
                info = fitting.train(data, out=out, settings=settings, protocol=chosen, from_model=start, watcher=watch)
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
