"""Ids and their indices, as a dictionary would say."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import headrace.data.item_ids as item_ids
from headrace.core.order import id_hash
from headrace.data.item_ids import ItemIds

texts = st.lists(st.text(min_size=1, max_size=12), unique=True, max_size=30)


@given(texts, st.integers(0, 30), st.lists(st.text(max_size=12), max_size=5))
def test_an_id_is_found_whether_it_was_there_at_first_or_came_later(
    ids: list[str], first: int, others: list[str]
) -> None:
    known = ItemIds(ids[:first])
    for text in ids[first:]:
        known.append(text)
    assert len(known) == len(ids)
    assert list(known) == ids
    for text in ids + others:
        assert known.index(text) == (ids.index(text) + 1 if text in ids else 0)
    every = np.arange(1, len(ids) + 1, dtype=np.int32)
    assert known.ids(every) == [known.id(index) for index in every.tolist()] == ids
    assert known.hashes(every).tolist() == [known.hash(index) for index in every.tolist()] == [*map(id_hash, ids)]


def test_ids_of_one_hash_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(item_ids, "id_hash", len)
    monkeypatch.setattr(item_ids, "id_hashes", lambda ids: np.array([len(text) for text in ids], np.uint64))
    known = ItemIds(["aa", "b", "cc", "dd"])
    assert [known.index(text) for text in ("aa", "b", "cc", "dd", "ee", "c", "eee")] == [1, 2, 3, 4, 0, 0, 0]


def test_an_id_that_stands_twice_is_refused() -> None:
    with pytest.raises(AssertionError, match="distinct"):
        ItemIds(["tea", "cup", "tea"])
