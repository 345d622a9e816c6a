"""ONNX Runtime, typed: a graph file as a function of arrays."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from headrace.core.errors import FormatError
from headrace.data.log import Floats


class OnnxGraph:
    """One graph. Calls from several threads at once are fine."""

    def __init__(self, path: Path, threads: int = 1) -> None:
        """Load a graph.

        Args:
            path: an ONNX file.
            threads: within one call.

        Raises:
            FormatError: no such file, or not a graph that this ONNX Runtime reads.
        """
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        # Idle threads sleep: a spinning pool would take a core from everything else on a small machine.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3
        if not path.is_file():
            raise FormatError(
                f"{path.parent} must hold {path.name} and does not; run `headrace train DATASET --out MODEL`"
            )
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:
            # ONNX Runtime raises classes of its C++ module that share no named parent.
            raise FormatError(f"{path} must be an ONNX graph that ONNX Runtime reads: {error}; train again") from None

    def __call__(self, outputs: list[str], **inputs: NDArray[np.generic]) -> list[Floats]:
        """Return the named outputs."""
        found: list[Floats] = self._session.run(outputs, inputs)
        return found
