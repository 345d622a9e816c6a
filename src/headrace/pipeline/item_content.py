"""What a dataset's items say, as arrays: text vectors and numeric features.

Shapes: V items (row 0 is padding), C width of the text vectors, F features.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from headrace.content.item_reading import item_texts
from headrace.content.text_onnx import OnnxTextEncoder
from headrace.content.text_torch import TorchTextEncoder, find_text_model
from headrace.content.vectors import VectorCache
from headrace.core.settings import ContentSettings
from headrace.data.features import feature_statistics, normalise
from headrace.data.log import Floats


@dataclass(frozen=True)
class CatalogueContent:
    """Text vectors (V + 1, C), features (V + 1, F) and the statistics behind them, by name."""

    text: Floats
    features: Floats
    statistics: dict[str, tuple[float, float]]


def read_content(
    items: pl.DataFrame, settings: ContentSettings, text_folder: Path, progress: Callable[[int, int], None]
) -> CatalogueContent:
    """Encode the texts of a catalogue.

    Args:
        items: as `Dataset.items()` returns them.
        settings: which encoder.
        text_folder: where the encoder is written as ONNX, unless no item has a text or no encoder is wanted; a folder
            that is there already is used as it is.
        progress: hears (done, all) of the texts.
    """
    statistics = feature_statistics(items)
    features = np.zeros((items.height + 1, len(statistics)), np.float32)
    features[1:] = normalise(items, statistics)
    texts = item_texts(items)
    name = find_text_model(settings.text_model)
    if name is None or not any(texts):
        return CatalogueContent(np.zeros((items.height + 1, 0), np.float32), features, statistics)
    if not text_folder.is_dir():
        TorchTextEncoder(name, settings.max_tokens).export(text_folder)
    # The exported graph encodes twice as fast as PyTorch, and it is the one that encodes new items when serving.
    encoder = OnnxTextEncoder(text_folder, threads=2)
    vectors = VectorCache(Path(settings.cache), encoder).vectors(texts, progress)
    return CatalogueContent(np.concatenate([np.zeros((1, encoder.width), np.float32), vectors]), features, statistics)
