"""The tensors of `weights.safetensors` as the compiled steps take them.

Shapes: L layers (the query is one more), D width, H heads, W window; for retention E numbers of a head, I = H * E.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from headrace.core.formats import RETENTION_HEAD, Shape
from headrace.core.time_buckets import TIME_BUCKETS
from headrace.data.log import Floats
from headrace.data.values import VALUE_KNOTS
from headrace.ranking.retention_kernels import RetentionWeights
from headrace.ranking.state_kernels import Common
from headrace.ranking.step_kernels import Weights

Tensor: TypeAlias = Callable[[str], Floats]
"""Gives the tensor of a name, `encoder.blocks.0.query.weight`."""
_Sizes: TypeAlias = dict[str, tuple[int, ...]]

# Square matrices in the order of `step_kernels.QUERY` and so on; the last has no bias.
_SQUARES = ("query", "key", "value", "gate", "combine")
_MADE = ("query", "key", "value")


def attention_weights(tensor: Tensor, shape: Shape) -> Weights:
    """Arrange the weights of a network with attention.

    Raises:
        ValueError: one is of another shape.
    """
    common = Common(*_checked(_common(tensor, shape), _common_sizes(shape)))
    layers = [
        _attention(tensor, f"encoder.blocks.{number}.", "attention_norm", "query") for number in range(shape.layers)
    ]
    layers.append(_attention(tensor, "query.", "query_norm", "ask"))
    stacked = _stacked(layers)
    # The products of queries and keys are taken in these units.
    unit = np.float32(1 / np.sqrt(shape.width // shape.heads))
    stacked["squares"][:, 0] *= unit
    stacked["square_biases"][:, 0] *= unit
    return Weights(common, *_checked(stacked, _attention_sizes(shape)))


def retention_weights(tensor: Tensor, shape: Shape) -> RetentionWeights:
    """Arrange the weights of a network with retention.

    Raises:
        ValueError: one is of another shape.
    """
    common = Common(*_checked(_common(tensor, shape), _common_sizes(shape)))
    layers = [_retention(tensor, f"encoder.blocks.{number}.", "norm", shape) for number in range(shape.layers)]
    layers.append(_retention(tensor, "query.", "query_norm", shape))
    return RetentionWeights(common, *_checked(_stacked(layers), _retention_sizes(shape)))


def untrained_attention(shape: Shape) -> Weights:
    """Return weights that are all 0."""
    return Weights(Common(*_zeros(_common_sizes(shape))), *_zeros(_attention_sizes(shape)))


def untrained_retention(shape: Shape) -> RetentionWeights:
    """Return weights that are all 0."""
    return RetentionWeights(Common(*_zeros(_common_sizes(shape))), *_zeros(_retention_sizes(shape)))


def _zeros(sizes: _Sizes) -> list[Floats]:
    return [np.zeros(size, np.float32) for size in sizes.values()]


def _checked(arrays: dict[str, Floats], sizes: _Sizes) -> list[Floats]:
    """Return the arrays in the order of the sizes, which they must be of."""
    for name, size in sizes.items():
        if arrays[name].shape != size:
            raise ValueError(f"the {name} must be of the shape {size}, they are {arrays[name].shape}")
    return [np.ascontiguousarray(arrays[name], np.float32) for name in sizes]


def _stacked(layers: list[dict[str, Floats]]) -> dict[str, Floats]:
    return {name: np.stack([layer[name] for layer in layers]) for name in layers[0]}


def _attention_sizes(shape: Shape) -> _Sizes:
    width, layers, heads = shape.width, shape.layers + 1, shape.heads
    return {
        "attention_norms": (layers, 2, width),
        "squares": (layers, 5, width, width),
        "square_biases": (layers, 5, width),
        "by_age": (layers, heads, shape.window),
        "by_time": (layers, heads, TIME_BUCKETS + 1),
    }


def _retention_sizes(shape: Shape) -> _Sizes:
    width, layers, heads = shape.width, shape.layers + 1, shape.retention_heads
    inner = heads * RETENTION_HEAD
    return {
        "norms": (layers, 2, width),
        "made": (layers, 3, width, inner),
        "made_biases": (layers, 3, inner),
        "decays": (layers, heads, TIME_BUCKETS),
        "gates": (layers, width, width),
        "gate_biases": (layers, width),
        "combine": (layers, inner, width),
    }


def _common_sizes(shape: Shape) -> _Sizes:
    width, layers = shape.width, shape.layers + 1
    return {
        "feed_norms": (layers, 2, width),
        "expand": (layers, width, 2 * width),
        "expand_biases": (layers, 2 * width),
        "feed_gates": (layers, width, width),
        "feed_gate_biases": (layers, width),
        "contract": (layers, 2 * width, width),
        "nothing": (width,),
        "types": (len(shape.types) + 1, width),
        "values": (VALUE_KNOTS + 1, width),
        "scale": (1,),
        "event_norm": (2, width),
        "memory_norm": (2, width),
        "out_norm": (2, width),
        "start": (width,),
        "gaps": (TIME_BUCKETS + 1, width),
        "hours": (25, width),
        "days": (8, width),
    }


def _attention(tensor: Tensor, prefix: str, norm: str, query: str) -> dict[str, Floats]:
    """Return the arrays of one layer; PyTorch keeps its matrices as (out, in)."""
    names = [f"{prefix}{name}" for name in (query, *_SQUARES[1:])]
    none = np.zeros(len(tensor(f"{prefix}gate.bias")), np.float32)
    return {
        "attention_norms": _norm(tensor, prefix + norm),
        "squares": np.stack([tensor(f"{name}.weight").T for name in names]),
        "square_biases": np.stack([*(tensor(f"{name}.bias") for name in names[:-1]), none]),
        "by_age": tensor(f"{prefix}bias.age"),
        "by_time": tensor(f"{prefix}bias.time"),
    }


def _retention(tensor: Tensor, prefix: str, norm: str, shape: Shape) -> dict[str, Floats]:
    """Return the arrays of one layer; its decays are those of `model.retention.Decay`."""
    names = [f"{prefix}retention.{name}" for name in _MADE]
    inside = tensor(f"{prefix}retention.decay.base")[:, None] + tensor(f"{prefix}retention.decay.time")
    with np.errstate(over="ignore"):  # then nothing is left
        decays = shape.window / (shape.window + 2) / (1 + np.exp(-inside))
    return {
        "norms": _norm(tensor, prefix + norm),
        "made": np.stack([tensor(f"{name}.weight").T for name in names]),
        "made_biases": np.stack([tensor(f"{name}.bias") for name in names]),
        "decays": decays,
        "gates": tensor(f"{prefix}gate.weight").T,
        "gate_biases": tensor(f"{prefix}gate.bias"),
        "combine": tensor(f"{prefix}retention.combine.weight").T,
    }


def _common(tensor: Tensor, shape: Shape) -> dict[str, Floats]:
    feeds = [*(f"encoder.blocks.{number}.feed" for number in range(shape.layers)), "query.feed"]
    of_layers = {
        "feed_norms": [_norm(tensor, f"{feed}.norm") for feed in feeds],
        "expand": [tensor(f"{feed}.expand.weight").T for feed in feeds],
        "expand_biases": [tensor(f"{feed}.expand.bias") for feed in feeds],
        "feed_gates": [tensor(f"{feed}.gate.weight").T for feed in feeds],
        "feed_gate_biases": [tensor(f"{feed}.gate.bias") for feed in feeds],
        "contract": [tensor(f"{feed}.contract.weight").T for feed in feeds],
    }
    return {
        **{name: np.stack(arrays) for name, arrays in of_layers.items()},
        "nothing": np.zeros(shape.width, np.float32),
        "types": tensor("encoder.events.type_vectors"),
        "values": tensor("encoder.events.value_vectors"),
        "scale": tensor("encoder.events.scale").reshape(1),
        "event_norm": _norm(tensor, "encoder.events.norm"),
        "memory_norm": _norm(tensor, "query.memory_norm"),
        "out_norm": _norm(tensor, "query.out_norm"),
        "start": tensor("query.start"),
        "gaps": tensor("query.time.gap"),
        "hours": tensor("query.time.hour"),
        "days": tensor("query.time.day"),
    }


def _norm(tensor: Tensor, name: str) -> Floats:
    return np.stack([tensor(f"{name}.weight"), tensor(f"{name}.bias")])
