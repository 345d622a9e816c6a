"""The network around its graphs: what it hands to them, with graphs whose answer can be read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import save_file

from headrace.core.errors import ModelError
from headrace.core.formats import Blend, Learned, ModelInfo, Shape
from headrace.core.types import Scale
from headrace.data.log import Floats, History
from headrace.data.vocabulary import Vocabulary
from headrace.ranking.learned_ids import LearnedIds
from headrace.ranking.network import Network, Placed
from headrace.ranking.vector_file import reader_of

D = 4


class Echo:
    """As `encode` the states are the item vectors; as `query` the user is the sum of the states of the slots that hold
    an event, plus 100 where the time is known."""

    def __init__(self) -> None:
        self.calls: list[dict[str, NDArray[np.generic]]] = []

    def __call__(self, outputs: list[str], **inputs: NDArray[np.generic]) -> list[Floats]:
        self.calls.append(inputs)
        if outputs == ["states"]:
            return [np.asarray(inputs["items"], np.float32)]
        held = (inputs["ages"] >= 0)[:, :, None]
        known = 100.0 * (inputs["requests"] >= 0)[:, None]
        return [np.asarray((inputs["states"] * held).sum(axis=1) + known, np.float32)]


def network_of(
    *, times: bool = True, window: int = 3, content: int = 0, learned: LearnedIds | None = None
) -> tuple[Network, Echo, Echo]:
    shape = Shape(width=D, layers=1, heads=1, window=window, content=content, types=["click", "rating"], times=times)
    info = ModelInfo(
        format=1,
        name="n",
        version="v",
        created="",
        learned=Learned(
            protocol="time", stage="refitted", first_cut=1, second_cut=2, until=3, events=4, fingerprint="f"
        ),
        shape=shape,
        blend=Blend(encoder=1, counts=0, popularity=0),
        steps=1,
        preset="tiny",
        seen="exclude",
        scale=Scale(1.0, 5.0),
    )
    inputs = np.outer([0.5, 1, 10, 100], np.ones(D)).astype(np.float32)
    placing = {
        "place.matrix": np.arange(content * 2 * D, dtype=np.float32).reshape(content, 2 * D),
        "place.offset": np.full(2 * D, 7.0, np.float32),
        "place.missing": np.full(2 * D, 0.5, np.float32),
        "place.features": np.ones((1, 2 * D), np.float32),
        "place.mean": np.full(content, 0.25, np.float32),
        "place.components": np.eye(content, dtype=np.float32),
    }
    tables = {"inputs": inputs, "outputs": inputs * 2, "known": np.array([0, 1, 0, 1], np.float32), **placing}
    tables["contents"] = np.zeros((4, content), np.float32)
    encode, query = Echo(), Echo()
    kept = None if learned is None else (reader_of(tables), learned)
    return Network(info, Vocabulary("abc"), tables, encode, query, kept), encode, query


def history(items: list[int], types: list[int] | None = None, values: list[float] | None = None) -> History:
    n = len(items)
    return History(
        np.array(items, np.int32),
        np.array(types or [0] * n, np.int32),
        np.array(values or [np.nan] * n, np.float32),
        np.arange(n, dtype=np.int64) + 5,
    )


def test_users_come_in_the_order_asked_for_whatever_their_length() -> None:
    network, _, _ = network_of()
    asked = [history([1, 2]), history([]), history([3, 3, 3]), history([2])]
    users = network.users(asked, [None, None, None, 9], network.own_vectors)
    assert users[:, 0].tolist() == [11.0, 0.0, 300.0, 110.0]


def test_only_the_last_events_within_reach_are_read() -> None:
    network, encode, _ = network_of(window=3)
    users = network.users([history([3] * 4 + [1] * 5)], [None], network.own_vectors)
    assert network.info.shape.reach == 5
    assert users[0, 0] == 5.0
    assert encode.calls[0]["times"].tolist() == [[9, 10, 11, 12, 13]]


def test_an_item_beyond_the_vectors_reads_as_one_that_nothing_is_known_of() -> None:
    network, _, _ = network_of()
    assert network.users([history([77])], [None], network.own_vectors)[0, 0] == 0.5


def test_ratings_are_scaled_by_the_bounds_and_weights_squeezed() -> None:
    network, encode, _ = network_of()
    network.users([history([1, 1, 1], [1, 0, 0], [4.0, np.expm1(1.0), np.nan])], [None], network.own_vectors)
    # (4 - 1) / (5 - 1); log(1 + v) / (1 + log(1 + v)) = 1 / 2; none.
    assert encode.calls[0]["values"][0].tolist() == pytest.approx([0.75, 0.5, -1.0])


def test_types_are_read_in_the_models_own_order() -> None:
    network, encode, _ = network_of()
    vectors = network.adapt(["a"], types=["rating", "view", "click"])
    network.users([history([1, 1, 1, 1], [0, 1, 2, 3])], [None], vectors)
    assert encode.calls[0]["types"].tolist() == [[1, -1, 0, -1]]


def test_without_times_neither_events_nor_requests_have_one() -> None:
    network, encode, query = network_of(times=False)
    network.users([history([1, 2])], [8], network.own_vectors)
    assert encode.calls[0]["times"].tolist() == [[0, 0]]
    assert query.calls[0]["requests"].tolist() == [-1]


def test_padding_is_marked_as_empty_slots() -> None:
    network, _, query = network_of()
    network.users([history([1]), history([1, 2])], [None, None], network.own_vectors)
    assert query.calls[0]["ages"].tolist() == [[0, -1], [1, 0]]


def test_an_item_never_trained_stands_where_its_text_and_features_put_it() -> None:
    network, _, _ = network_of(content=2)
    inputs, outputs, contents = network.place(np.array([[1.0, 0.0], [0.0, 0.0]], np.float32))
    assert inputs[0].tolist() == [7.0, 8.0, 9.0, 10.0]
    assert outputs[0].tolist() == [11.0, 12.0, 13.0, 14.0]
    assert inputs[1].tolist() == [0.5] * D
    # (0.75, -0.25) at unit length, and nothing.
    assert contents[0].tolist() == pytest.approx([3 / 10**0.5, -1 / 10**0.5])
    assert not contents[1].any()
    _, moved, _ = network.place(np.zeros((1, 2), np.float32), np.array([[3.0]], np.float32))
    assert moved[0].tolist() == [3.5] * D


def test_an_item_that_the_model_has_learned_from_keeps_what_its_id_adds(tmp_path: Path) -> None:
    ids = np.outer([0, 3, 5, 9], np.ones(D)).astype(np.float32)
    save_file({"ids": ids, "model.items.no_id": np.full(D, 2, np.float32)}, tmp_path / "weights.safetensors")
    network, _, _ = network_of(content=2, learned=LearnedIds(tmp_path / "weights.safetensors"))
    inputs, outputs, _ = network.place(
        np.zeros((4, 2), np.float32), rows=network.adapt(["c", "b", "new", "a"]).rows[1:]
    )
    # The model has events of a and c alone; without a text an item lies at 0.5, "no id" included.
    assert inputs[:, 0].tolist() == [7.5, 0.5, 0.5, 1.5]
    assert np.array_equal(inputs, outputs)


def test_content_of_another_width_is_refused() -> None:
    network, _, _ = network_of(content=2)
    with pytest.raises(ModelError, match="must have 2 numbers"):
        network.place(np.zeros((1, 3), np.float32))


def test_items_without_events_keep_their_vectors_and_are_not_called_known() -> None:
    network, _, _ = network_of()
    vectors = network.adapt(["b", "new", "c"])
    assert vectors.known.tolist() == [False, False, False, True]
    assert vectors.inputs.wide()[1].tolist() == [10.0] * D
    assert vectors.inputs.wide()[2].tolist() == [0.5] * D


def test_vectors_grow_without_moving_what_stands() -> None:
    network, _, _ = network_of()
    vectors = network.adapt(["a"])
    for number in range(40):
        rows = (np.full((1, D), number, np.float32), np.full((1, D), -number, np.float32))
        vectors.append(Placed(*rows, np.zeros((1, 0), np.float32)))
    assert len(vectors) == len(vectors.inputs.scales) == len(vectors.rows) == 42
    assert vectors.inputs.wide()[:, 0].tolist() == [0.5, 1.0, *range(40)]
    rows = (np.full((1, D), 9, np.float32), np.ones((1, D), np.float32))
    vectors.change(np.array([3], np.int32), Placed(*rows, np.zeros((1, 0), np.float32)))
    assert vectors.outputs.wide()[3].tolist() == [1.0] * D
    assert vectors.inputs.wide()[3].tolist() == [1.0] * D
