"""The canonical order is the same for a batch of arrays and for one live event."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from headrace.core.order import id_hash, id_hashes, pair_hash, pair_hash_of

ids = st.text(min_size=1, max_size=20)


@given(st.lists(st.tuples(ids, ids), min_size=1, max_size=20))
def test_a_batch_and_a_single_pair_hash_alike(pairs: list[tuple[str, str]]) -> None:
    batch = pair_hash(id_hashes(u for u, _ in pairs), id_hashes(i for _, i in pairs))
    singles = [pair_hash(id_hashes([u]), id_hashes([i]))[0] for u, i in pairs]
    assert batch.tolist() == singles
    assert batch.tolist() == [pair_hash_of(id_hash(u), id_hash(i)) for u, i in pairs]


def test_user_and_item_are_not_interchangeable() -> None:
    assert pair_hash(id_hashes(["a"]), id_hashes(["b"])) != pair_hash(id_hashes(["b"]), id_hashes(["a"]))


def test_the_hash_is_the_same_on_every_machine() -> None:
    # BLAKE2b-64 of "tea" under our key; changing it would reorder every stored basket.
    assert id_hash("tea") == 44_184_369_246_804_732
    assert pair_hash(np.array([0], np.uint64), np.array([0], np.uint64)).tolist() == [0]
