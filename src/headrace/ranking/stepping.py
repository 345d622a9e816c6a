"""The trained network one event at a time: what `encode.onnx` and `query.onnx` say of whole histories, for their ends.

Shapes: N pages, S slots of a user, R new events, B requests, L layers, D width, H heads, W window.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal, Protocol, TypeAlias

import numpy as np
from safetensors import SafetensorError, safe_open

from headrace.core.errors import FormatError
from headrace.core.formats import RETENTION_HEAD, WEIGHTS_FILE, Mixer, Shape
from headrace.data.log import Floats, Ints, Longs
from headrace.ranking import retention_kernels, step_kernels
from headrace.ranking.retention_kernels import RetentionWeights
from headrace.ranking.state_kernels import PAGE, NewEvents, Pages
from headrace.ranking.step_kernels import Weights
from headrace.ranking.step_weights import (
    attention_weights,
    retention_weights,
    untrained_attention,
    untrained_retention,
)

Precision: TypeAlias = Literal["half", "full"]
"""Of what is kept: float16 or float32."""

_NUMBERS = {"half": np.uint16, "full": np.float32}
_ADDRESS_BYTES, _TIME_BYTES, _FLOAT_BYTES = 4, 8, 4


class Stepper(Protocol):
    """The encoder and the query over pages of kept states. Safe to share between threads; pages are not."""

    shape: Shape

    @property
    def slots(self) -> int:
        """S: events whose slots a user's pages have; a user has a page for each `PAGE` of them, at least one."""
        ...

    def page_bytes(self, precision: Precision) -> int:
        """Return the memory of one page."""
        ...

    def pages(self, count: int, precision: Precision) -> Pages:
        """Return empty pages; the memory is taken as they are used."""
        ...

    def goes_back(self, read: int, written: int) -> bool:
        """Return whether a seat that has read `written` events still has what those after the first `read` need."""
        ...

    def extend(self, pages: Pages, events: NewEvents) -> None:
        """Read new events."""
        ...

    def ask(self, pages: Pages, seats: Ints, places: Longs, requests: Longs) -> Floats:
        """Return (B, D) user vectors of seats (B,), whose last events are at `places`; see `step_kernels.ask`."""
        ...


class AttentionStepper:
    """Keeps the keys and the values of the events of the window."""

    def __init__(self, weights: Weights, shape: Shape) -> None:
        """Take the weights of a network of this shape."""
        self.shape = shape
        self._weights = weights

    @property
    def slots(self) -> int:
        """S: the window, and room for a page of new events that are read together."""
        return -(-(self.shape.window + PAGE - 1) // PAGE) * PAGE

    def page_bytes(self, precision: Precision) -> int:
        """Return the memory of one page: keys and values of all layers, times, and what each seat has."""
        numbers = (self.shape.layers + 1) * 2 * self.shape.width * PAGE
        seat = self.slots // PAGE * _ADDRESS_BYTES + self.shape.width * _FLOAT_BYTES
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

    def goes_back(self, read: int, written: int) -> bool:
        """Return whether the ring still has what the event at place `read` reads."""
        return written - self.slots <= max(0, read - self.shape.window + 1)

    def extend(self, pages: Pages, events: NewEvents) -> None:
        """Read new events; see `step_kernels.extend`."""
        step_kernels.extend(self._weights, pages, events)

    def ask(self, pages: Pages, seats: Ints, places: Longs, requests: Longs) -> Floats:
        """Return (B, D) user vectors; see `step_kernels.ask`."""
        return step_kernels.ask(self._weights, pages, seats, places, requests)


class RetentionStepper:
    """Keeps a matrix for each head of each layer: one page a user, whatever their history, in float32 always."""

    def __init__(self, weights: RetentionWeights, shape: Shape) -> None:
        """Take the weights of a network of this shape."""
        self.shape = shape
        self._weights = weights

    @property
    def slots(self) -> int:
        """S: one page."""
        return PAGE

    def page_bytes(self, precision: Precision) -> int:
        """Return the memory of one page: matrices, the last time, the page's own number and the last state."""
        numbers = (self.shape.layers + 1) * self.shape.retention_heads * RETENTION_HEAD**2
        return (numbers + self.shape.width) * _FLOAT_BYTES + _TIME_BYTES + _ADDRESS_BYTES

    def pages(self, count: int, precision: Precision) -> Pages:
        """Return empty pages; the memory is taken as they are used."""
        shape = self.shape
        return Pages(
            np.zeros((count, shape.layers + 1, shape.retention_heads, RETENTION_HEAD**2), np.float32),
            np.zeros((count, 1), np.int64),
            np.zeros((count, 1), np.int32),
            np.zeros((count, shape.width), np.float32),
        )

    def goes_back(self, read: int, written: int) -> bool:
        """Return False: what an event did to the matrices cannot be taken back."""
        return False

    def extend(self, pages: Pages, events: NewEvents) -> None:
        """Read new events; see `retention_kernels.extend`."""
        retention_kernels.extend(self._weights, pages, events)

    def ask(self, pages: Pages, seats: Ints, places: Longs, requests: Longs) -> Floats:
        """Return (B, D) user vectors; see `retention_kernels.ask`."""
        return retention_kernels.ask(self._weights, pages, seats, places, requests)


def stepper_of(tensor: Callable[[str], Floats], shape: Shape) -> Stepper:
    """Take the tensors of `weights.safetensors`, by their names.

    Raises:
        ValueError: one is of another shape.
    """

    def of_model(name: str) -> Floats:
        return tensor(f"model.{name}")

    if shape.mixer == "retention":
        return RetentionStepper(retention_weights(of_model, shape), shape)
    return AttentionStepper(attention_weights(of_model, shape), shape)


def untrained_stepper(shape: Shape) -> Stepper:
    """Return one whose weights are all 0, to warm up with."""
    if shape.mixer == "retention":
        return RetentionStepper(untrained_retention(shape), shape)
    return AttentionStepper(untrained_attention(shape), shape)


def load_stepper(folder: Path, shape: Shape) -> Stepper:
    """Read the weights of a model folder.

    Raises:
        FormatError: the file is missing, damaged, or of another network.
    """
    path = folder / WEIGHTS_FILE
    try:
        with safe_open(path, framework="np") as weights:  # the table of ids may be large, and is not read
            return stepper_of(weights.get_tensor, shape)
    except (OSError, SafetensorError, ValueError) as error:
        raise FormatError(
            f"{path} must hold the weights of this model, it cannot be used: {error}; run `headrace train`"
        ) from None


def warm_up(precision: Precision, mixer: Mixer) -> None:
    """Compile the kernels for pages of a precision, so that no client waits for it."""
    shape = Shape(width=8, layers=1, heads=1, window=2, content=0, types=[""], mixer=mixer)
    stepper = untrained_stepper(shape)
    pages, seats, places = stepper.pages(1, precision), np.zeros(1, np.int32), np.zeros(1, np.int64)
    item, none = np.zeros((1, shape.width), np.float32), np.zeros(1, np.float32)
    stepper.extend(pages, NewEvents(seats, places, item, seats, none, places))
    stepper.ask(pages, seats, places, places)
