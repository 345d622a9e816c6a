"""Item vectors of a running service: outputs follow the content, inputs are fixed once something is known."""

from __future__ import annotations

import numpy as np

from headrace.ranking.item_vectors import ItemVectors, Placed


def vectors_of(inputs: list[float], rows: list[int]) -> ItemVectors:
    column = np.array(inputs, np.float32)[:, None]
    return ItemVectors.of(Placed(column, column * 2, column * 3), np.array(rows, np.int32), np.zeros(1, np.int32))


def change(vectors: ItemVectors, items: list[int], inputs: list[float]) -> None:
    column = np.array(inputs, np.float32)[:, None]
    vectors.change(np.array(items, np.int32), Placed(column, column * 10, column * 100))


def test_placed_are_items_with_events_or_content() -> None:
    vectors = vectors_of([7, 7, 7, 8], [0, 1, 0, 0])
    assert vectors.placed.tolist() == [False, True, False, True]
    assert vectors.known.tolist() == [False, True, False, False]
    zeros = np.zeros((2, 1), np.float32)
    vectors.append(Placed(np.array([[7], [9]], np.float32), zeros, zeros + 4))
    assert vectors.placed.tolist() == [False, True, False, True, False, True]
    assert vectors.contents.wide()[:, 0].tolist() == [21, 21, 21, 24, 4, 4]


def test_an_input_changes_only_while_nothing_is_known() -> None:
    vectors = vectors_of([7, 7, 7, 8], [0, 1, 0, 0])
    change(vectors, [3, 1, 2], [1, 2, 3])
    assert vectors.inputs.wide()[:, 0].tolist() == [7, 7, 3, 8]
    assert vectors.outputs.wide()[:, 0].tolist() == [14, 20, 30, 10]
    assert vectors.contents.wide()[:, 0].tolist() == [21, 200, 300, 100]
    change(vectors, [2], [4])
    assert vectors.inputs.wide()[2, 0] == 3
    assert vectors.outputs.wide()[2, 0] == 40


def test_content_that_says_nothing_leaves_the_item_open() -> None:
    vectors = vectors_of([7, 7], [0, 0])
    change(vectors, [1], [7])
    assert not vectors.placed[1]
    change(vectors, [1], [5])
    assert vectors.inputs.wide()[1, 0] == 5
