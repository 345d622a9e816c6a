"""Reading the texts of items stops when the service does."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from headrace.core.errors import StoppedError
from headrace.data.log import Floats
from headrace.serving.models import StoppableEncoder


class Lengths:
    """Encodes a text as its length, and remembers how many it read."""

    width = 2
    max_tokens = 9

    def __init__(self) -> None:
        self.read = 0

    def encode(self, texts: Sequence[str]) -> Floats:
        self.read += len(texts)
        return np.array([(len(text), 1) for text in texts], np.float32)


def test_texts_are_encoded_as_before() -> None:
    texts = ["x" * n for n in range(200)]
    encoder = StoppableEncoder(Lengths(), lambda: False)
    np.testing.assert_array_equal(encoder.encode(texts), Lengths().encode(texts))
    assert (encoder.width, encoder.max_tokens, encoder.encode([]).shape) == (2, 9, (0, 2))


def test_a_stop_ends_the_reading_after_a_few_texts() -> None:
    lengths = Lengths()
    encoder = StoppableEncoder(lengths, lambda: lengths.read >= 100)
    with pytest.raises(StoppedError, match="stopping"):
        encoder.encode(["text"] * 100_000)
    assert 100 <= lengths.read < 1000
