"""Ids and indices."""

from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.core.errors import DataError
from headrace.data.vocabulary import Vocabulary, codes


def test_indices_begin_at_one_and_zero_is_unknown() -> None:
    vocabulary = Vocabulary(["tea", "cup"])
    assert (vocabulary.index("tea"), vocabulary.index("cup"), vocabulary.index("pot")) == (1, 2, 0)
    assert vocabulary.indices(pl.Series(["cup", None, "pot", "tea"])).tolist() == [2, 0, 0, 1]
    assert vocabulary.ids == ["tea", "cup"]
    assert len(vocabulary) == 2


def test_an_empty_vocabulary_knows_nothing() -> None:
    assert Vocabulary([]).indices(["a"]).tolist() == [0]


def test_an_id_may_stand_once_only() -> None:
    with pytest.raises(DataError, match="'a' stands twice"):
        Vocabulary(["a", "b", "a"])


@settings(deadline=None)
@given(st.lists(st.text(max_size=3).filter(lambda text: text.isascii()), min_size=1))
def test_codes_lead_back_to_the_texts(texts: list[str]) -> None:
    distinct, places = codes(pl.Series(texts))
    assert distinct.gather(places).to_list() == texts
