"""`headrace recommend` and `headrace predict`: lists and ratings from a model folder, without a service."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from headrace.app.commands.options import ConfigOption, HistoryOption, StoreOption, history_of, settings_of
from headrace.core.errors import SettingsError

if TYPE_CHECKING:
    import polars as pl


def recommend_command(
    model: Annotated[Path, typer.Argument(metavar="MODEL")],
    history: HistoryOption = None,
    store: StoreOption = None,
    user: Annotated[str | None, typer.Option("--user", metavar="ID", help="Show the list of this user.")] = None,
    users: Annotated[
        str | None,
        typer.Option(
            "--users", metavar="FILE|all", help="Write the lists of these users; the file has a column user_id."
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", metavar="FILE", help="A .csv or .parquet file to write.")] = None,
    k: Annotated[int, typer.Option("-k", min=1, help="Items in a list.")] = 10,
    config: ConfigOption = None,
) -> None:
    """Recommend to one user on the terminal, or to many into a file."""
    if (user is None) == (users is None):
        raise SettingsError("one of --user ID and --users FILE|all is needed; give one")
    if users is not None and out is None:
        raise SettingsError("--users writes a file; name it with --out FILE")
    from headrace.app.commands.frames import check_output, read_columns, write_frame
    from headrace.app.terminal import say, show_table, warn
    from headrace.pipeline.model import Model

    if out is not None:
        check_output(out)
    if user is not None:
        wanted: list[str] | None = [user]
    else:
        wanted = None if users == "all" else _distinct(read_columns(Path(str(users)), ["user_id"]))
    settings = settings_of(config)
    opened = Model.open(model, settings=settings)
    data = history_of(history, store, settings)
    if user is not None and not data.user_vocabulary().index(user):
        warn(f"no events of the user {user!r} are there, so the list is that of a new user")
    lists = opened.recommend_users(data, k=k, users=wanted)
    if out is not None:
        write_frame(lists, out)
        say(f"wrote {lists.height:,} rows for {lists['user_id'].n_unique():,} users to {out}")
        return
    if lists.is_empty():
        warn(f"the user {user!r} has met every item that may be listed, so the list is empty; see [ranking] seen")
    titles = dict(data.items().select("item_id", "title").iter_rows())
    rows = [
        (str(place), row["item_id"], titles.get(row["item_id"]) or "", row["reason"], f"{row['score']:.3f}")
        for place, row in enumerate(lists.iter_rows(named=True), start=1)
    ]
    show_table(f"For user {user}", ("", "item_id", "title", "reason", "score"), rows, numbers=(0, 4))


def _distinct(frame: pl.DataFrame) -> list[str]:
    return frame["user_id"].unique(maintain_order=True).to_list()


def predict_command(
    model: Annotated[Path, typer.Argument(metavar="MODEL")],
    pairs: Annotated[Path, typer.Argument(metavar="PAIRS", help="A file of user_id and item_id.")],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="A .csv or .parquet file to write.")],
    history: HistoryOption = None,
    store: StoreOption = None,
    config: ConfigOption = None,
) -> None:
    """Predict the ratings of pairs of a user and an item, on the dataset's scale."""
    from headrace.app.commands.frames import check_output, read_columns, write_frame
    from headrace.app.terminal import say

    check_output(out)
    asked = read_columns(pairs, ["user_id", "item_id"])
    from headrace.pipeline.model import Model

    settings = settings_of(config)
    ratings = Model.open(model, settings=settings).predict(asked, history_of(history, store, settings))
    write_frame(ratings, out)
    say(f"wrote {ratings.height:,} ratings to {out}")
