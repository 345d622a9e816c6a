"""The vectors of a model folder, read some at a time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from safetensors.numpy import save_file

from headrace.ranking.item_vectors import Placed
from headrace.ranking.vector_file import VectorFile

ITEMS = 20


def tables(seed: int = 1) -> dict[str, np.ndarray]:
    chance = np.random.default_rng(seed)
    widths = {"inputs": 4, "outputs": 4, "contents": 3}
    found = {name: chance.normal(size=(ITEMS, width)).astype(np.float32) for name, width in widths.items()}
    return found | {"known": np.ones(ITEMS, np.float32), "place.offset": np.arange(8, dtype=np.float32)}


@pytest.mark.parametrize("numbers", [np.float32, np.float16])
def test_parts_are_those_of_the_file_in_full_or_half_precision(tmp_path: Path, numbers: type[np.floating]) -> None:
    written = {name: table.astype(numbers) if name in Placed._fields else table for name, table in tables().items()}
    save_file(written, tmp_path / "vectors.safetensors")
    file = VectorFile(tmp_path / "vectors.safetensors")
    assert file.n_items == ITEMS
    assert sorted(file.tables) == ["known", "place.offset"]
    for start, end in ((0, 1), (3, 11), (19, 20), (0, ITEMS)):
        for name, part in zip(Placed._fields, file.read(start, end), strict=True):
            assert part.dtype == np.float32
            assert_array_equal(part, written[name][start:end].astype(np.float32))


def test_a_file_that_is_replaced_is_read_on_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "vectors.safetensors"
    save_file(tables(), path)
    file = VectorFile(path)
    path.rename(tmp_path / "before")
    save_file(tables(seed=2), path)
    assert_array_equal(file.read(0, ITEMS).outputs, tables()["outputs"])


def test_a_model_without_texts_holds_contents_of_no_width(tmp_path: Path) -> None:
    save_file(tables() | {"contents": np.zeros((ITEMS, 0), np.float32)}, tmp_path / "vectors.safetensors")
    assert VectorFile(tmp_path / "vectors.safetensors").read(2, 7).contents.shape == (5, 0)


def test_an_older_file_does_not_compare_items_by_what_they_say(tmp_path: Path) -> None:
    held = tables()
    del held["contents"]
    save_file(held, tmp_path / "vectors.safetensors")
    assert VectorFile(tmp_path / "vectors.safetensors").read(2, 7).contents.shape == (5, 0)
