"""Vectors of texts, kept in a folder by the hash of their content, so that no text is read by the encoder twice.

Shapes: n texts, C width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Protocol

import numpy as np

from headrace.data.log import Floats

_HASH_BYTES = 16
_AT_ONCE = 1024
_PROBE = "Fluid milk, white, one gallon"


class TextEncoder(Protocol):
    """`OnnxTextEncoder` or `TorchTextEncoder`."""

    @property
    def width(self) -> int:
        """C."""
        ...

    def encode(self, texts: Sequence[str]) -> Floats:
        """Return (n, C), rows of length 1, zeros for an empty text."""
        ...


class VectorCache:
    """One encoder's vectors: `vectors.f32`, a memory-mapped table, and `hashes.bin`, 16 bytes a row."""

    def __init__(self, folder: Path, encoder: TextEncoder) -> None:
        """Open the cache.

        Args:
            folder: of all caches; each encoder has one inside, named by what it makes of a fixed sentence, so that
                another version of the same name never meets old vectors.
            encoder: computes what is missing.
        """
        probe = np.round(encoder.encode([_PROBE]), 2) + 0.0
        self._encoder = encoder
        self._folder = folder / blake2b(probe.tobytes(), digest_size=8).hexdigest()
        self._rows: dict[bytes, int] = {}
        self._folder.mkdir(parents=True, exist_ok=True)
        self._table = self._folder / "vectors.f32"
        self._hashes = self._folder / "hashes.bin"
        if self._hashes.is_file() and self._table.is_file():
            raw = self._hashes.read_bytes()
            # A process that died between the two files leaves vectors without a hash; both are cut to what they share.
            rows = min(len(raw) // _HASH_BYTES, self._table.stat().st_size // (4 * encoder.width))
            self._rows = {raw[i * _HASH_BYTES : (i + 1) * _HASH_BYTES]: i for i in range(rows)}

    def vectors(self, texts: Sequence[str], progress: Callable[[int, int], None] | None = None) -> Floats:
        """Return (n, C); each distinct text that is not kept yet is encoded once and kept.

        Args:
            texts: any; empty ones get zeros.
            progress: hears (done, all) of the texts that must be encoded.
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
        rows = len(self._rows)
        with self._table.open("ab") as table:
            table.truncate(rows * 4 * self._encoder.width)
            table.write(vectors.tobytes())
        with self._hashes.open("ab") as hashes:
            hashes.truncate(rows * _HASH_BYTES)
            hashes.write(b"".join(keys))
        self._rows.update({key: rows + place for place, key in enumerate(keys)})
