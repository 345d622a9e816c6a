"""`headrace tune`: search for the recipe that a dataset wants; Ctrl-C and kill leave the trials done."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from headrace.app.commands.options import ConfigOption, ProtocolOption, settings_of
from headrace.app.commands.training_command import check_alone, show_model
from headrace.core.errors import SettingsError
from headrace.core.formats import PLOT_FILE, RECIPE_FILE, TUNING_FILE

if TYPE_CHECKING:
    from headrace.pipeline.tuning import Tuned

_SHOWN = 5


def tune_command(
    dataset: Annotated[Path, typer.Argument(metavar="DATASET")],
    out: Annotated[Path, typer.Option("--out", metavar="MODEL", help="The folder to write.")],
    minutes: Annotated[
        float | None, typer.Option(metavar="N", help="How long, with the training of the best recipe; needed.")
    ] = None,
    protocol: ProtocolOption = None,
    preset: Annotated[str | None, typer.Option(help="Search around this: auto, tiny, small, base or large.")] = None,
    trials: Annotated[int | None, typer.Option(metavar="N", help="At most so many recipes; 100.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a stopped search.")] = False,
    config: ConfigOption = None,
) -> None:
    """Search for the recipe that a dataset wants, then train it to the end and write a model folder.

    Recipes are scored between the cuts, never on the test; the first is the one that `headrace train` would take.
    """
    if resume:
        check_alone({"protocol": protocol, "minutes": minutes, "preset": preset, "trials": trials})
    elif minutes is None:
        raise SettingsError("a search is as long as --minutes says, none came; give --minutes N, 30 for a start")
    if trials is not None and trials < 1:
        raise SettingsError(f"--trials must be 1 or more, got {trials}")
    if not out.name:
        raise SettingsError(f"--out must name a folder of its own, such as models/tuned, got {str(out)!r}")
    from headrace.app.training_choices import require_optuna, require_torch, training_choices

    require_torch()
    require_optuna()
    settings = settings_of(config, {"training.minutes": minutes, "training.preset": preset})

    from headrace.app.terminal import ProgressLine
    from headrace.app.watching import Watch, stopping_on_signals
    from headrace.data.dataset import Dataset
    from headrace.pipeline import tuning

    settings = training_choices(settings, minutes_asked=True, from_model=None)
    data, chosen, most = Dataset.open(dataset), protocol or "time", trials or tuning.MOST_TRIALS
    with ProgressLine("tuning") as line:
        watch = Watch(line, None)
        with stopping_on_signals(watch.stop):
            if resume:
                tuned = tuning.resume(data, out=out, watcher=watch)
            else:
                tuned = tuning.tune(data, out=out, settings=settings, protocol=chosen, trials=most, watcher=watch)
    show_tuning(out, tuned)


def show_tuning(folder: Path, tuned: Tuned) -> None:
    """Show the best recipes, what became of the others, and the files that tell more."""
    from headrace.app.terminal import say, show_table

    trials = tuned.record.trials
    scores = sorted((-trial.score, trial.number) for trial in trials if trial.score is not None)
    rows = []
    for score, number in scores[:_SHOWN]:
        trial = trials[number]
        rows.append((str(number), f"{-score:.4f}", f"{trial.seconds:,.0f}", _in_words(trial.parameters)))
    heads = ("trial", "ndcg@10", "seconds", "recipe")
    show_table("Best recipes, by NDCG@10 between the cuts", heads, rows, numbers=range(3))
    counts = {state: sum(trial.state == state for trial in trials) for state in ("complete", "pruned", "failed")}
    say(
        f"tried {len(trials):,} recipes: " + ", ".join(f"{count:,} {state}" for state, count in counts.items() if count)
    )
    show_model(folder, tuned.info)
    say(f"{folder / TUNING_FILE} holds every trial; `headrace train --config {folder / RECIPE_FILE}` repeats the model")
    if tuned.plotted:
        say(f"{folder / PLOT_FILE} shows them")
    else:
        say("no plot was drawn, as matplotlib is not installed: `pip install 'headrace[report]'`")


def _in_words(parameters: dict[str, int | float]) -> str:
    return ", ".join(
        f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}" for name, value in parameters.items()
    )
