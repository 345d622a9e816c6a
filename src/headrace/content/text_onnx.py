"""The text encoder at serving time: ONNX Runtime and the tokenizer, without PyTorch.

Shapes: n texts, C width.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import numpy as np
import onnxruntime
from numpy.typing import NDArray
from tokenizers import Tokenizer

from headrace.core.errors import FormatError
from headrace.data.log import Floats

GRAPH_FILE = "text.onnx"
TOKENIZER_FILE = "tokenizer.json"
CONFIGURATION_FILE = "text.json"
TOKENS_AT_ONCE = 2048
"""With padding. More do not fit the caches: 4 times as many tokens took 20 % longer each."""

Tokens = NDArray[np.int64]


class TextConfiguration(msgspec.Struct, frozen=True, kw_only=True):
    """`text.json`: the name it was made from, C, and where texts are cut."""

    name: str
    width: int
    max_tokens: int


class OnnxTextEncoder:
    """Texts to vectors of unit length. Safe to share between threads."""

    def __init__(self, folder: Path, *, threads: int = 1) -> None:
        """Load the folder `text` of a model folder.

        Args:
            folder: holds `text.onnx`, `tokenizer.json` and `text.json`.
            threads: within one call.

        Raises:
            FormatError: a file is missing or damaged.
        """
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self.configuration = msgspec.json.decode((folder / CONFIGURATION_FILE).read_bytes(), type=TextConfiguration)
            self._tokenizer = cut_tokenizer(folder / TOKENIZER_FILE, self.configuration.max_tokens)
            self._session = onnxruntime.InferenceSession(str(folder / GRAPH_FILE), options)
        except Exception as error:
            # Tokenizers and ONNX Runtime raise classes of their native modules that share no named parent.
            raise FormatError(f"{folder} must hold a text encoder, it cannot be read: {error}; train again") from None

    @property
    def width(self) -> int:
        """C."""
        return self.configuration.width

    @property
    def max_tokens(self) -> int:
        """Texts are cut after this many."""
        return self.configuration.max_tokens

    def encode(self, texts: Sequence[str]) -> Floats:
        """Return (n, C) float32, each of length 1; zeros for an empty text. Alone or in a batch, one answer."""
        vectors = np.zeros((len(texts), self.width), np.float32)
        for rows, ids, mask in token_batches(self._tokenizer, texts):
            (vectors[rows],) = self._session.run(["vectors"], {"ids": ids, "mask": mask})
        return vectors


def cut_tokenizer(path: Path, max_tokens: int) -> Tokenizer:
    """Load a tokenizer that cuts texts at `max_tokens` and pads nothing."""
    tokenizer: Tokenizer = Tokenizer.from_file(str(path))
    tokenizer.enable_truncation(max_length=max_tokens)
    tokenizer.no_padding()
    return tokenizer


def token_batches(tokenizer: Tokenizer, texts: Sequence[str]) -> Iterator[tuple[Tokens, Tokens, Tokens]]:
    """Yield (rows, ids, mask) of texts of like length; empty texts are left out.

    `rows` (m,) are places in `texts`; `ids` and `mask` (m, T) int64, padded on the right with 0.
    """
    told = [place for place, text in enumerate(texts) if text.strip()]
    encoded = [encoding.ids for encoding in tokenizer.encode_batch([texts[place] for place in told])]
    order = sorted(range(len(told)), key=lambda place: len(encoded[place]))
    start = 0
    while start < len(order):
        end = start + 1
        while end < len(order) and len(encoded[order[end]]) * (end + 1 - start) <= TOKENS_AT_ONCE:
            end += 1
        group = order[start:end]
        longest = max(1, len(encoded[group[-1]]))
        ids = np.zeros((len(group), longest), np.int64)
        mask = np.zeros((len(group), longest), np.int64)
        for row, place in enumerate(group):
            ids[row, : len(encoded[place])] = encoded[place]
            mask[row, : len(encoded[place])] = 1
        yield np.array([told[place] for place in group], np.int64), ids, mask
        start = end
