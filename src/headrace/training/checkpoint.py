"""A training's state in one safetensors file: arrays, and a JSON document in its header. No pickle."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import msgspec
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from headrace.core.errors import FormatError
from headrace.core.files import replacing

_DOCUMENT = "document"

Document = TypeVar("Document", bound=msgspec.Struct)


def write_checkpoint(path: Path, tensors: dict[str, Tensor], document: msgspec.Struct) -> None:
    """Write a checkpoint; the file of before stays until this one is whole."""
    whole = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}
    with replacing(path) as temporary:
        save_file(whole, temporary, metadata={_DOCUMENT: msgspec.json.encode(document).decode()})


def read_checkpoint(path: Path, kind: type[Document]) -> tuple[dict[str, Tensor], Document]:
    """Read a checkpoint.

    Raises:
        FormatError: no such file, or damaged.
    """
    if not path.is_file():
        raise FormatError(f"--resume needs the checkpoint {path}, which does not exist; train without --resume")
    try:
        with safe_open(path, framework="pt") as file:
            document = msgspec.json.decode((file.metadata() or {})[_DOCUMENT], type=kind)
            return {name: file.get_tensor(name) for name in file.keys()}, document  # noqa: SIM118 (not a dict)
    except (SafetensorError, KeyError, msgspec.DecodeError, msgspec.ValidationError) as error:
        raise FormatError(f"the checkpoint {path} cannot be read: {error}; train without --resume") from None
