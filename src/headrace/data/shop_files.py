"""Write the generated shop as raw files, with the dirt of real logs: `python -m headrace.data.shop_files`."""

from __future__ import annotations

import argparse
from pathlib import Path

import polars as pl

from headrace.data.synthetic import shop


def write_shop(folder: Path, n_users: int, seed: int = 1) -> tuple[int, int]:
    """Write `events.csv` and `items.csv`.

    The events carry ISO times in UTC. To give the cleaning something to report, every 500th event stands twice, every
    900th has no item, every 1,100th is from the year 2099, and the file ends in a line cut short.

    Args:
        folder: where to, made if need be.
        n_users: how many users.
        seed: the same seed gives the same files.

    Returns:
        the number of lines of events and of items, without the headers.
    """
    events, items = shop(n_users, seed)
    row = pl.int_range(pl.len())
    time = pl.from_epoch("time", time_unit="us").dt.strftime("%Y-%m-%dT%H:%M:%SZ")
    raw = events.select(
        "user_id",
        pl.when(row % 900 == 899).then(pl.lit("")).otherwise("item_id").alias("item_id"),
        "type",
        pl.when(row % 1100 == 1099).then(pl.lit("2099-01-01T00:00:00Z")).otherwise(time).alias("time"),
    )
    raw = pl.concat([raw, raw.gather_every(500)])
    folder.mkdir(parents=True, exist_ok=True)
    lines = raw.write_csv()
    (folder / "events.csv").write_text(lines + "user1,it\n", encoding="utf-8")
    items.with_columns(pl.col("categories").list.join("|")).write_csv(folder / "items.csv")
    return raw.height + 1, items.height


def main() -> None:
    """Parse the command line and write the files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--users", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path())
    options = parser.parse_args()
    write_shop(options.out, options.users, options.seed)


if __name__ == "__main__":
    main()
