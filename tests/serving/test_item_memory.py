"""What an item takes of a service's memory, as docs/design/engine.md says."""

from __future__ import annotations

import tracemalloc

import numpy as np
import polars as pl
import pytest

from headrace.core.formats import Blend, Learned, ModelInfo, Shape
from headrace.data.item_ids import ItemIds
from headrace.data.log import EventLog, Floats
from headrace.data.vocabulary import Vocabulary
from headrace.ranking.behaviour import Behaviour
from headrace.ranking.catalogue import Catalogue
from headrace.ranking.item_vectors import Placed
from headrace.ranking.network import Network

ITEMS, D, P, TYPES, ID = 60_000, 64, 32, 2, 9


class Nobody:
    """Graphs that are not asked."""

    def __call__(self, outputs: list[str], **inputs: np.ndarray) -> list[Floats]:
        raise AssertionError


def network_of(ids: pl.Series) -> Network:
    shape = Shape(width=D, layers=1, heads=1, window=9, content=P, types=["click", "buy"])
    learned = Learned(protocol="all", stage="refitted", first_cut=1, second_cut=2, until=3, events=4, fingerprint="f")
    info = ModelInfo(
        format=1, name="n", version="v", created="", learned=learned, shape=shape, steps=1, preset="tiny",
        blend=Blend(encoder=1, counts=0, popularity=0), seen="exclude",
    )  # fmt: skip
    tables = {
        name: np.zeros((ITEMS + 1, width), np.float32) for name, width in zip(Placed._fields, (D, D, P), strict=True)
    }
    tables |= {"known": np.ones(ITEMS + 1, np.float32), "place.components": np.eye(P, dtype=np.float32)}
    tables["place.matrix"] = np.zeros((P, 2 * D), np.float32)
    tables |= {name: np.zeros(2 * D, np.float32) for name in ("place.offset", "place.missing")}
    tables["place.mean"] = np.zeros(P, np.float32)
    return Network(info, Vocabulary(ids), tables, Nobody(), Nobody())


def test_an_item_takes_what_the_formula_says() -> None:
    names = [f"{item:0{ID}}" for item in range(1, ITEMS + 1)]
    frame = pl.DataFrame(
        {
            "item_id": names,
            "title": [f"title {item}" for item in range(ITEMS)],
            "categories": [["all", f"kind {item % 50}"] for item in range(ITEMS)],
        }
    )
    every = np.arange(1, ITEMS + 1, dtype=np.int32)
    log = EventLog(
        every,
        every,
        every % TYPES,
        np.full(ITEMS, np.nan, np.float32),
        every.astype(np.int64),
        n_users=ITEMS,
        n_items=ITEMS,
    )
    network = network_of(frame["item_id"])
    warm = Behaviour()
    warm.add_log(log)  # compiled before it counts
    warm.popularity.log_scores(None, ITEMS)
    tracemalloc.start()
    ids = ItemIds(names)
    behaviour, catalogue, vectors = Behaviour(), Catalogue.of_items(frame, ids), network.adapt(frame["item_id"])
    behaviour.add_log(log)
    behaviour.popularity.log_scores(None, ITEMS)
    behaviour.popularity.recent_log_scores(None, ITEMS)
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    hours = behaviour.popularity._hours.nbytes + behaviour.transitions.pool.columns.nbytes * 2
    of_vectors, of_ids, of_catalogue, of_counts = 2 * D + P + 17, ID + 16, 13, 24 + 4 * TYPES + 28
    # An eighth more rows of vectors stand ready, which take memory once items come.
    formula = of_vectors * 9 / 8 + of_ids + of_catalogue + of_counts
    assert (taken - hours) / ITEMS == pytest.approx(formula, rel=0.1)
    assert len(catalogue) == len(vectors) - 1 == ITEMS
