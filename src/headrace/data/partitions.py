"""A table larger than memory, cut into parts by a hash of the user, so that each part holds all events of its users."""

from __future__ import annotations

import uuid
from pathlib import Path

import polars as pl

_HASHES = 2**64


def cut(rows: pl.LazyFrame, partition_rows: int, scratch: Path) -> list[pl.LazyFrame]:
    """Cut a table into parts of about `partition_rows` rows.

    Args:
        rows: with `user_id`.
        partition_rows: a table of no more rows is one part, kept in memory.
        scratch: a folder for the parts, each a Parquet file or several.

    Returns:
        The parts, in ascending order of the users' hashes; rows within a part may stand in any order.
    """
    total = int(rows.select(pl.len()).collect(engine="streaming").item())
    if total <= partition_rows:
        return [rows.collect().lazy()]
    count = -(-total // partition_rows)
    folder = scratch / f"raw-{uuid.uuid4().hex}"
    # Ranges of the hash, not remainders, so that the parts one after the other are in the order of one part.
    part = (pl.col("user_id").fill_null("").hash() // (_HASHES // count + 1)).cast(pl.Int32).alias("__part__")
    rows.with_columns(part).sink_parquet(
        pl.PartitionBy(folder, key="__part__", include_key=False),
        compression="lz4",
        statistics=False,
        maintain_order=False,
        mkdir=True,
    )
    folders = sorted(folder.iterdir(), key=lambda found: int(found.name.rpartition("=")[2]))
    return [pl.scan_parquet(found / "*.parquet") for found in folders]


class Parts:
    """The parts of a table while it is cleaned: one stays in memory, more are files that each sweep writes anew."""

    def __init__(self, count: int, scratch: Path) -> None:
        self._frames: list[pl.DataFrame | Path] = [pl.DataFrame()] * count
        self._folder = scratch / f"parts-{uuid.uuid4().hex}"
        self._sweeps = 0

    def __len__(self) -> int:
        return len(self._frames)

    def store(self, place: int, frame: pl.DataFrame) -> None:
        """Keep a part in place of what stood there."""
        if len(self._frames) == 1:
            self._frames[place] = frame
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        self._sweeps += 1
        path = self._folder / f"{place:06}-{self._sweeps}.parquet"
        frame.write_parquet(path, compression="lz4", statistics=False)
        before = self._frames[place]
        self._frames[place] = path
        if isinstance(before, Path):
            before.unlink()

    def scan(self) -> list[pl.LazyFrame]:
        """Return all parts, lazily."""
        return [frame.lazy() if isinstance(frame, pl.DataFrame) else pl.scan_parquet(frame) for frame in self._frames]

    def load(self, place: int) -> pl.DataFrame:
        """Return one part."""
        frame = self._frames[place]
        return frame if isinstance(frame, pl.DataFrame) else pl.read_parquet(frame)
