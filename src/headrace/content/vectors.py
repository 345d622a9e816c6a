"""Vectors of texts, kept in a folder by the hash of their content, so that no text is read by the encoder twice.

Shapes: n texts, C width.
"""

from __future__ import annotations

import contextlib
import fcntl
from collections.abc import Callable, Iterator, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Protocol, TypeAlias

import numpy as np

from headrace.data.log import Floats

_HASH_BYTES = 16
_AT_ONCE = 128
"""Texts that are encoded and kept together: about a second of a busy core, so that a stop is heard soon."""
_PROBE = "Fluid milk, white, one gallon"


Progress: TypeAlias = Callable[[int, int], None]


class TextEncoder(Protocol):
    """`OnnxTextEncoder` or `TorchTextEncoder`."""

    @property
    def width(self) -> int:
        """C."""
        ...

    @property
    def max_tokens(self) -> int:
        """Texts are cut after this many."""
        ...

    def encode(self, texts: Sequence[str]) -> Floats:
        """Return (n, C), rows of length 1, zeros for an empty text."""
        ...


class VectorCache:
    """One encoder's vectors: `vectors.f32`, a memory-mapped table, and `hashes.bin`, 16 bytes a row.

    Rows are only ever added, under a lock, so that several processes may share a folder; within one, a cache is used by
    one thread at a time.
    """

    def __init__(self, folder: Path, encoder: TextEncoder) -> None:
        """Open the cache.

        Args:
            folder: of all caches; each encoder has one inside, named by what it makes of a fixed sentence and where it
                cuts texts, so that another version of the same name never meets old vectors.
            encoder: computes what is missing.
        """
        probe = np.round(encoder.encode([_PROBE]), 2) + 0.0
        self._encoder = encoder
        self._folder = folder / f"{blake2b(probe.tobytes(), digest_size=8).hexdigest()}-{encoder.max_tokens}"
        self._rows: dict[bytes, int] = {}
        self._folder.mkdir(parents=True, exist_ok=True)
        self._table = self._folder / "vectors.f32"
        self._hashes = self._folder / "hashes.bin"
        self._rows_on_disk = 0
        with self._locked():
            self._read_on()

    def vectors(self, texts: Sequence[str], progress: Progress | None = None) -> Floats:
        """Return (n, C); each distinct text that is not kept yet is encoded once and kept.

        Args:
            texts: any; empty ones get zeros.
            progress: hears (done, all) of the texts that must be encoded; what it raises ends the reading.
        """
        hashes = [blake2b(text.encode(), digest_size=_HASH_BYTES).digest() if text.strip() else b"" for text in texts]
        missing = {key: text for key, text in zip(hashes, texts, strict=True) if key and key not in self._rows}
        # Like lengths together: a batch pads to its longest.
        order = sorted(missing, key=lambda key: (len(missing[key]), key))
        for start in range(0, len(order), _AT_ONCE):
            keys = order[start : start + _AT_ONCE]
            self._keep(keys, self._encoder.encode([missing[key] for key in keys]))
            if progress is not None:
                progress(start + len(keys), len(order))
        found = np.zeros((len(texts), self._encoder.width), np.float32)
        told = [place for place, key in enumerate(hashes) if key]
        if told:
            table = np.memmap(self._table, np.float32, "r").reshape(-1, self._encoder.width)
            found[told] = table[[self._rows[hashes[place]] for place in told]]
        return found

    def _keep(self, keys: list[bytes], vectors: Floats) -> None:
        with self._locked():
            self._read_on()
            rows = self._rows_on_disk
            with self._table.open("ab") as table:
                table.truncate(rows * 4 * self._encoder.width)
                table.write(vectors.tobytes())
            with self._hashes.open("ab") as hashes:
                hashes.truncate(rows * _HASH_BYTES)
                hashes.write(b"".join(keys))
            self._read_on()

    def _read_on(self) -> None:
        """Take in the rows that were added since the last look, by this process or another."""
        known = self._rows_on_disk
        if not (self._hashes.is_file() and self._table.is_file()):
            return
        # A process that died between the two files leaves vectors without a hash; both are cut to what they share.
        sizes = self._hashes.stat().st_size // _HASH_BYTES, self._table.stat().st_size // (4 * self._encoder.width)
        self._rows_on_disk = min(sizes)
        with self._hashes.open("rb") as hashes:
            hashes.seek(known * _HASH_BYTES)
            for row in range(known, self._rows_on_disk):
                self._rows[hashes.read(_HASH_BYTES)] = row

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        with (self._folder / "lock").open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
