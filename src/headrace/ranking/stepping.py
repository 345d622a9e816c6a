"""The trained network one event at a time: what `encode.onnx` and `query.onnx` say of whole histories, for their ends.

Shapes: N pages, S slots of a user, R new events, B requests, L layers, D width, H heads, W window.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
from safetensors import SafetensorError, safe_open

from headrace.core.errors import FormatError
from headrace.core.formats import WEIGHTS_FILE, Shape
from headrace.core.time_buckets import TIME_BUCKETS
from headrace.data.log import Floats, Ints, Longs
from headrace.data.values import VALUE_KNOTS
from headrace.ranking.page_kernels import PAGE, Pages
from headrace.ranking.step_kernels import NewEvents, Weights, ask, extend

Precision: TypeAlias = Literal["half", "full"]
"""Of the kept keys and values: float16 or float32."""

_NUMBERS = {"half": np.uint16, "full": np.float32}
_ADDRESS_BYTES, _TIME_BYTES = 4, 8
_Weight: TypeAlias = Callable[[str], Floats]


class Stepper:
    """The encoder and the query over pages of kept states. Safe to share between threads; pages are not."""

    def __init__(self, weights: Weights, shape: Shape) -> None:
        """Take the weights of a network of this shape.

        Raises:
            ValueError: an array is of another shape.
        """
        for name, array, sizes in zip(Weights._fields, weights, _sizes(shape), strict=True):
            if array.shape != sizes:
                raise ValueError(f"the {name} must be of the shape {sizes}, they are {array.shape}")
        self.shape = shape
        self._weights = Weights(*(np.ascontiguousarray(array, np.float32) for array in weights))

    @classmethod
    def of_tensors(cls, tensor: Callable[[str], Floats], shape: Shape) -> Stepper:
        """Take the tensors of `weights.safetensors`, by their names.

        Raises:
            ValueError: one is of another shape.
        """
        return cls(_arranged(lambda name: tensor(f"model.{name}"), shape), shape)

    @classmethod
    def untrained(cls, shape: Shape) -> Stepper:
        """Return one whose weights are all 0, to warm up with."""
        return cls(Weights(*(np.zeros(sizes, np.float32) for sizes in _sizes(shape))), shape)

    @classmethod
    def load(cls, folder: Path, shape: Shape) -> Stepper:
        """Read the weights of a model folder.

        Raises:
            FormatError: the file is missing, damaged, or of another network.
        """
        path = folder / WEIGHTS_FILE
        try:
            with safe_open(path, framework="np") as weights:  # the table of ids may be large, and is not read
                return cls.of_tensors(weights.get_tensor, shape)
        except (OSError, SafetensorError, ValueError) as error:
            raise FormatError(
                f"{path} must hold the weights of this model, it cannot be used: {error}; run `headrace train`"
            ) from None

    @property
    def slots(self) -> int:
        """S: the window, and room for a page of new events that are read together."""
        return -(-(self.shape.window + PAGE - 1) // PAGE) * PAGE

    def page_bytes(self, precision: Precision) -> int:
        """Return the memory of one page: keys and values of all layers, times, and what each seat has."""
        numbers = (self.shape.layers + 1) * 2 * self.shape.width * PAGE
        seat = self.slots // PAGE * _ADDRESS_BYTES + self.shape.width * np.dtype(np.float32).itemsize
        return numbers * np.dtype(_NUMBERS[precision]).itemsize + PAGE * _TIME_BYTES + seat

    def pages(self, count: int, precision: Precision) -> Pages:
        """Return empty pages; the memory is taken as they are used."""
        shape = self.shape
        return Pages(
            np.zeros((count, shape.layers + 1, 2, shape.width * PAGE), _NUMBERS[precision]),
            np.zeros((count, PAGE), np.int64),
            np.zeros((count, self.slots // PAGE), np.int32),
            np.zeros((count, shape.width), np.float32),
        )

    def extend(self, pages: Pages, events: NewEvents) -> None:
        """Read new events; see `step_kernels.extend`."""
        extend(self._weights, pages, events)

    def ask(self, pages: Pages, seats: Ints, places: Longs, requests: Longs) -> Floats:
        """Return (B, D) user vectors; see `step_kernels.ask`."""
        return ask(self._weights, pages, seats, places, requests)


def warm_up(precision: Precision) -> None:
    """Compile the kernels for pages of a precision, so that no client waits for it."""
    stepper = Stepper.untrained(Shape(width=8, layers=1, heads=1, window=2, content=0, types=[""]))
    pages, seats, places = stepper.pages(1, precision), np.zeros(1, np.int32), np.zeros(1, np.int64)
    item, none = np.zeros((1, stepper.shape.width), np.float32), np.zeros(1, np.float32)
    stepper.extend(pages, NewEvents(seats, places, item, seats, none, places))
    stepper.ask(pages, seats, places, places)


def _sizes(shape: Shape) -> list[tuple[int, ...]]:
    """Return the shape of each array of `Weights`."""
    width, layers, heads = shape.width, shape.layers + 1, shape.heads
    norm, buckets = (2, width), TIME_BUCKETS + 1
    by_layer: list[tuple[int, ...]] = [
        norm,
        (5, width, width),
        (5, width),
        (heads, shape.window),
        (heads, buckets),
        norm,
        (width, 2 * width),
        (2 * width,),
        (width, width),
        (width,),
        (2 * width, width),
    ]
    events: list[tuple[int, ...]] = [(width,), (len(shape.types) + 1, width), (VALUE_KNOTS + 1, width), (1,)]
    asking: list[tuple[int, ...]] = [norm, norm, norm, (width,), (buckets, width), (25, width), (8, width)]
    return [*((layers, *sizes) for sizes in by_layer), *events, *asking]


def _arranged(weight: _Weight, shape: Shape) -> Weights:
    layers = [_layer(weight, f"encoder.blocks.{number}.", "attention_norm", "query") for number in range(shape.layers)]
    layers.append(_layer(weight, "query.", "query_norm", "ask"))
    squares = np.stack([layer["squares"] for layer in layers])
    biases = np.stack([layer["square_biases"] for layer in layers])
    # The products of queries and keys are taken in these units.
    unit = np.float32(1 / np.sqrt(shape.width // shape.heads))
    squares[:, 0] *= unit
    biases[:, 0] *= unit
    stacked = {name: np.stack([layer[name] for layer in layers]) for name in layers[0] if "square" not in name}
    return Weights(
        squares=squares,
        square_biases=biases,
        **stacked,
        nothing=np.zeros(shape.width, np.float32),
        types=weight("encoder.events.type_vectors"),
        values=weight("encoder.events.value_vectors"),
        scale=weight("encoder.events.scale").reshape(1),
        event_norm=_norm(weight, "encoder.events.norm"),
        memory_norm=_norm(weight, "query.memory_norm"),
        out_norm=_norm(weight, "query.out_norm"),
        start=weight("query.start"),
        gaps=weight("query.time.gap"),
        hours=weight("query.time.hour"),
        days=weight("query.time.day"),
    )


def _layer(weight: _Weight, prefix: str, norm: str, query: str) -> dict[str, Floats]:
    """Return the arrays of one layer; PyTorch keeps its matrices as (out, in)."""
    names = (query, "key", "value", "gate")
    none = np.zeros(len(weight(f"{prefix}gate.bias")), np.float32)
    return {
        "attention_norms": _norm(weight, prefix + norm),
        "squares": np.stack([weight(f"{prefix}{name}.weight").T for name in (*names, "combine")]),
        "square_biases": np.stack([*(weight(f"{prefix}{name}.bias") for name in names), none]),
        "by_age": weight(f"{prefix}bias.age"),
        "by_time": weight(f"{prefix}bias.time"),
        "feed_norms": _norm(weight, f"{prefix}feed.norm"),
        "expand": weight(f"{prefix}feed.expand.weight").T,
        "expand_biases": weight(f"{prefix}feed.expand.bias"),
        "feed_gates": weight(f"{prefix}feed.gate.weight").T,
        "feed_gate_biases": weight(f"{prefix}feed.gate.bias"),
        "contract": weight(f"{prefix}feed.contract.weight").T,
    }


def _norm(weight: _Weight, name: str) -> Floats:
    return np.stack([weight(f"{name}.weight"), weight(f"{name}.bias")])
