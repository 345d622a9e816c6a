"""Tests of the lists of items by users, against a look at all items."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from ranking_cases import history, log_of, sources_of

import headrace.ranking.item_index as item_index
from headrace.core.formats import Blend
from headrace.data.log import Floats
from headrace.ranking.byte_rows import ByteRows
from headrace.ranking.item_index import ItemIndex
from headrace.ranking.item_vectors import ItemVectors, Placed
from headrace.ranking.network import Network
from headrace.ranking.recommender import recommend
from headrace.ranking.requests import Request
from headrace.ranking.rules import NotSeen, Rules
from headrace.ranking.scorer import Scorer
from headrace.ranking.sources import Encoder

V, D = 40_000, 32


@pytest.fixture(scope="module")
def outputs() -> Floats:
    vectors = np.random.default_rng(1).normal(size=(V + 1, D)).astype(np.float32)
    vectors[0] = 0
    return vectors


def users_of(n: int, seed: int) -> Floats:
    """Return users who lie near a sheet of four dimensions, as what a network says of users does."""
    chance = np.random.default_rng(seed)
    sheet = np.random.default_rng(2).normal(size=(5, D))
    places = np.concatenate((np.ones((n, 1)) * 2, chance.normal(size=(n, 4)) * 0.3), axis=1)
    return (places @ sheet + chance.normal(size=(n, D)) * 0.05).astype(np.float32)


@pytest.fixture
def index(outputs: Floats) -> ItemIndex:
    built = ItemIndex.build(ByteRows.of(outputs), users_of(2500, 3))
    assert built is not None
    return built


def exact(users: Floats, outputs: Floats, n: int) -> list[list[int]]:
    scores = users @ outputs.T
    scores[:, 0] = -np.inf
    return np.argsort(-scores, axis=1, kind="stable")[:, :n].tolist()


def test_nearly_all_of_the_hundred_best_are_found_best_first(index: ItemIndex, outputs: Floats) -> None:
    assert index.recall >= 0.995
    assert index.length == 1024
    users = users_of(300, 4)
    found = index.near(users, ByteRows.of(outputs), 300)
    assert found.shape == (300, 300)
    best = exact(users, outputs, 100)
    shared = [len(set(row) & set(truth)) for row, truth in zip(found.tolist(), best, strict=True)]
    assert np.mean(shared) >= 99
    scores = np.take_along_axis(users @ outputs.T, found, axis=1)
    assert np.diff(scores, axis=1).max() < 0.02 * scores.max()  # the order is that of vectors of 8 bits a number


def test_changed_and_new_items_are_found_at_once_and_at_their_new_place(index: ItemIndex, outputs: Floats) -> None:
    users = users_of(4, 5)
    first = index.near(users, ByteRows.of(outputs), 50)
    moved = outputs.copy()
    was_best, becomes_best = int(first[0, 0]), int(np.argmin(users[0] @ outputs[1:].T)) + 1
    moved[was_best] = -moved[was_best]
    moved[becomes_best] = users[0] * 10
    index.change(np.array([becomes_best, was_best], np.int32))
    grown = np.concatenate((moved, (users[1] * 10)[None]))
    found = index.near(users, ByteRows.of(grown), 50)
    assert found[0, 0] == becomes_best
    assert was_best not in found[0]
    assert found[1, 0] == V + 1
    for row, scores in zip(found, users @ grown.T, strict=True):
        assert len(set(row.tolist())) == 50
        assert scores[row].min() > np.partition(scores, -60)[-60]
    assert not index.late(V + 2)
    assert index.late(V + 2 + 1024)


def test_where_lists_do_not_help_all_items_are_looked_at(outputs: Floats) -> None:
    anywhere = np.random.default_rng(6).normal(size=(600, D)).astype(np.float32)
    assert ItemIndex.build(ByteRows.of(outputs), anywhere) is None
    assert ItemIndex.build(ByteRows.of(outputs[: item_index.EXACT_UP_TO + 1]), users_of(600, 7)) is None
    assert ItemIndex.build(ByteRows.of(outputs), users_of(20, 8)) is None


def test_among_very_many_items_nobody_looks_at_all(outputs: Floats, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(item_index, "EXACT_AT_MOST", V - 1)
    rows = ByteRows.of(outputs)
    none_yet = ItemIndex.build(rows, users_of(20, 8))
    assert none_yet is not None
    assert not none_yet.near(users_of(3, 4), rows, 50).any()
    assert none_yet.late(V + 2)
    monkeypatch.setattr(item_index, "_LENGTHS", (64, 128))
    short = ItemIndex.build(rows, np.random.default_rng(6).normal(size=(600, D)).astype(np.float32))
    assert short is not None
    assert short.length == 128
    assert short.recall < item_index.RECALL


def test_the_work_pauses_between_portions_and_can_be_given_up(outputs: Floats) -> None:
    class GivenUpError(Exception):
        pass

    calls = 0

    def pause() -> None:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise GivenUpError

    with pytest.raises(GivenUpError):
        ItemIndex.build(ByteRows.of(outputs), users_of(2500, 3), pause)


class Given(Network):
    """A stand-in: nobody asks it."""

    def __init__(self) -> None:
        pass


def test_a_list_is_the_same_with_lists_and_without(index: ItemIndex, outputs: Floats) -> None:
    vectors = ItemVectors.of(Placed(outputs, outputs, outputs[:, :0]), np.ones(V + 1, np.int32), np.zeros(1, np.int32))
    bare = sources_of(log_of({1: history([7, 8, 9])}, V))
    users = users_of(6, 9)
    requests = [Request(history([7, 8, 9][: n % 4]), k=20, user=user) for n, user in enumerate(users)]
    blend = Blend(encoder=1, counts=0.1, popularity=0.1)
    answers = [
        recommend(
            requests,
            sources=replace(bare, encoder=Encoder(Given(), vectors, lists)),
            rules=Rules((NotSeen(),)),
            scorer=Scorer(blend),
        )
        for lists in (None, index)
    ]
    for without, with_lists in zip(*answers, strict=True):
        assert_array_equal(with_lists.items, without.items)
        assert_allclose(with_lists.scores, without.scores, atol=0.2)  # the spread is that of the candidates found
        assert with_lists.reasons == without.reasons
