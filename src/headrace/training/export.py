"""Write the trained network as ONNX graphs that serve without PyTorch.

Item vectors are gathered outside, so no graph holds an item table, and one graph serves any catalogue.

Shapes: B histories, T events, n new events, S slots, D width, L layers, P pairs, F rating features.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import msgspec
import numpy as np
import onnx
import torch
from torch import Tensor, nn

from headrace.core.formats import ENCODE_FILE, QUERY_FILE, RATING_FILE, RETENTION_HEAD, STEP_FILE, Shape
from headrace.core.quiet import quiet
from headrace.model.attention import step_layout
from headrace.model.encoder import Encoder
from headrace.model.rating_head import RATING_FEATURES, RatingHead
from headrace.model.retention import RetentionEncoder
from headrace.model.transformer import Transformer

ONNX_OPSET = 20


class EncodeGraph(nn.Module):
    """items (B, T, D), types, values, times (B, T) -> states (B, T, D), and what `step` continues from."""

    def __init__(self, encoder: Encoder | RetentionEncoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, items: Tensor, types: Tensor, values: Tensor, times: Tensor) -> tuple[Tensor, Tensor]:
        """Encode padded histories; see `Encoder.forward`."""
        states, kept = self.encoder(self.encoder.events(items, types, values), times)
        return states, kept


class StepGraph(nn.Module):
    """New events (B, n ...), slots (B, L, 2, S, D), slot_ages, slot_times (B, S) -> states, caches of the new rows."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(
        self,
        events: tuple[Tensor, Tensor, Tensor, Tensor],
        slots: Tensor,
        slot_ages: Tensor,
        slot_times: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Encode new events; see `Encoder.step`."""
        items, types, values, times = events
        layout = step_layout(slot_ages, slot_times, times, self.encoder.shape.window)
        return self.encoder.step(self.encoder.events(items, types, values), slots, layout)


class RetentionStepGraph(nn.Module):
    """New events (B, n ...), kept (B, L, H, E, E), last (B,) -> states, and what is kept then."""

    def __init__(self, encoder: RetentionEncoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(
        self, events: tuple[Tensor, Tensor, Tensor, Tensor], kept: Tensor, last: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Encode new events; see `RetentionEncoder.step`."""
        items, types, values, times = events
        return self.encoder.step(self.encoder.events(items, types, values), kept, times, last)


def export_network(model: Transformer, folder: Path) -> None:
    """Write `encode.onnx`, `query.onnx` and `step.onnx` into `folder`."""
    # What the graphs do not hold, and their names, are the same for any content.
    shape = msgspec.structs.replace(model.shape, content=0, features=0, types=[""] * len(model.shape.types))
    encoder = {f"encoder.{name}": tensor for name, tensor in model.encoder.state_dict().items()}
    weights = {ENCODE_FILE: encoder, QUERY_FILE: model.query.state_dict(), STEP_FILE: encoder}
    for name, template in _templates(msgspec.json.encode(shape)).items():
        _write_filled(template, weights[name], folder / name)


@lru_cache(maxsize=4)
def _templates(encoded: bytes) -> dict[str, bytes]:
    """Return the three graphs of one shape with weights of no meaning.

    Tracing takes about 15 s whatever the size, so it is done once a shape: both stages of a training fill in their own
    weights.
    """
    shape = msgspec.json.decode(encoded, type=Shape)
    model = Transformer(shape)
    b, t = 3, 5
    items, moments = torch.randn(b, t, shape.width), torch.arange(b * t).reshape(b, t) * 1_000_000
    events = {
        "items": items,
        "types": torch.zeros(b, t, dtype=torch.int64),
        "values": torch.full((b, t), 0.5),
        "times": moments,
    }
    by_event = {name: {0: "batch", 1: "events"} for name in events}
    asked = {
        "states": items,
        "times": moments,
        "ages": torch.arange(t - 1, -1, -1).repeat(b, 1),
        "requests": moments[:, -1],
    }
    by_slot = {**{name: {0: "batch", 1: "slots"} for name in asked}, "requests": {0: "batch"}}
    step, cached, by_cache = _stepping(model.encoder, b)
    outputs = ["states", "matrices" if "kept" in cached else "caches"]
    return {
        ENCODE_FILE: _export(EncodeGraph(model.encoder), events, by_event, outputs),
        QUERY_FILE: _export(model.query, asked, by_slot, ["users"]),
        STEP_FILE: _export(step, {**events, **cached}, {**by_event, **by_cache}, outputs, together=len(events)),
    }


def _stepping(
    encoder: Encoder | RetentionEncoder, b: int
) -> tuple[nn.Module, dict[str, Tensor], dict[str, dict[int, str]]]:
    """Return the graph that steps, what it is given beside the new events, and where that is of any size."""
    shape, s = encoder.shape, 4
    if isinstance(encoder, RetentionEncoder):
        kept = torch.randn(b, shape.layers, shape.retention_heads, RETENTION_HEAD, RETENTION_HEAD)
        given = {"kept": kept, "last": torch.zeros(b, dtype=torch.int64)}
        return RetentionStepGraph(encoder), given, {name: {0: "batch"} for name in given}
    cached = {
        "slots": torch.randn(b, shape.layers, 2, s, shape.width),
        "slot_ages": torch.arange(s, 0, -1).repeat(b, 1),
        "slot_times": torch.zeros(b, s, dtype=torch.int64),
    }
    return StepGraph(encoder), cached, {name: {0: "batch", 3 if name == "slots" else 1: "slots"} for name in cached}


def _write_filled(template: bytes, weights: dict[str, Tensor], path: Path) -> None:
    graph = onnx.load_from_string(template)
    for initializer in graph.graph.initializer:
        if initializer.name in weights:
            array = weights[initializer.name].detach().numpy()
            initializer.CopyFrom(onnx.numpy_helper.from_array(np.ascontiguousarray(array), initializer.name))
    onnx.save(graph, path)


def export_rating_head(head: RatingHead, width: int, folder: Path) -> None:
    """Write `rating.onnx`: users (P, D), items (P, D), features (P, F) -> residuals (P,)."""
    _write_filled(_rating_template(width), head.state_dict(), folder / RATING_FILE)


@lru_cache(maxsize=4)
def _rating_template(width: int) -> bytes:
    inputs = {
        "users": torch.randn(3, width),
        "items": torch.randn(3, width),
        "features": torch.randn(3, RATING_FEATURES),
    }
    return _export(RatingHead(width).eval(), inputs, {name: {0: "pairs"} for name in inputs}, ["residuals"])


def _export(
    graph: nn.Module,
    inputs: dict[str, Tensor],
    dynamic: dict[str, dict[int, str]],
    outputs: list[str],
    together: int = 0,
) -> bytes:
    """Return the graph; the first `together` inputs are one argument of `forward`, a tuple."""
    tensors, axes = tuple(inputs.values()), tuple(dynamic[name] for name in inputs)
    with torch.no_grad(), quiet():
        # Unoptimised, the weights keep the names of the parameters; ONNX Runtime optimises when it loads the graph.
        program = torch.onnx.export(
            graph,
            (tensors[:together], *tensors[together:]) if together else tensors,
            input_names=list(inputs),
            output_names=outputs,
            dynamic_shapes=(axes[:together], *axes[together:]) if together else axes,
            opset_version=ONNX_OPSET,
            dynamo=True,
            optimize=False,
        )
    assert program is not None
    serialized: bytes = program.model_proto.SerializeToString()
    return serialized
