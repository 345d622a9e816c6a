"""Turn the Amazon "Beauty" files (a line a user) into `events.csv` and `items.csv`, which `headrace prepare` reads.

    python benchmarks/beauty_to_csv.py FOLDER OUT [--no-times]

FOLDER holds `Beauty.txt` or `Beauty_timegaps.txt`, and `items.jsonl`. Only the gaps between a user's events are real:
every user begins on the same made-up day, so no time may be compared between users, and only the protocol
leave-one-out makes sense. With `--no-times` there is no column of times at all and the order of the file stands.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path

# 2010-01-01T00:00:00Z; the data's own years are 1996 to 2014, but not which user belongs to which.
FIRST_DAY_S = 1_262_304_000


def timed_events(path: Path) -> Iterator[tuple[str, str, int]]:
    """Yield user, item and unix time in seconds of each event of `Beauty_timegaps.txt`, in the file's order."""
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            names, gaps = line.rstrip("\n").split("\t")
            user, *items = names.split()
            times = accumulate((int(gap) for gap in gaps.split()), initial=FIRST_DAY_S)
            next(times)
            yield from ((user, item, time) for item, time in zip(items, times, strict=True))


def ordered_events(path: Path) -> Iterator[tuple[str, str]]:
    """Yield user and item of each event of `Beauty.txt`, in the file's order."""
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            user, *items = line.split()
            yield from ((user, item) for item in items)


def items(path: Path) -> Iterator[tuple[str, str, str, str]]:
    """Yield id, title, categories (a JSON list) and brand of each item.

    The first attribute is the brand unless another item has it as a category, after its brand (Makeup, Skin Care …);
    the brand "Unknown" is none.
    """
    rows = [json.loads(line) for line in path.open(encoding="utf-8")]
    inner = {name for row in rows for name in row.get("attributes", [])[1:]}
    for row in rows:
        attributes = row.get("attributes", [])
        has_brand = bool(attributes) and attributes[0] not in inner
        brand = attributes[0] if has_brand and attributes[0] != "Unknown" else ""
        yield str(row["item_id"]), row.get("title") or "", json.dumps(attributes[has_brand:], ensure_ascii=False), brand


def main() -> None:
    """Read the arguments and write the two files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="the folder of the Beauty files")
    parser.add_argument("out", type=Path, help="the folder to write events.csv and items.csv into")
    parser.add_argument("--no-times", action="store_true", help="leave the times out; the file's order stands")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    with (arguments.out / "events.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        if arguments.no_times:
            writer.writerow(("user_id", "item_id"))
            writer.writerows(ordered_events(arguments.folder / "Beauty.txt"))
        else:
            writer.writerow(("user_id", "item_id", "time"))
            writer.writerows(timed_events(arguments.folder / "Beauty_timegaps.txt"))
    with (arguments.out / "items.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("item_id", "title", "categories", "brand"))
        writer.writerows(items(arguments.folder / "items.jsonl"))


if __name__ == "__main__":
    main()
