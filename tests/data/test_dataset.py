"""Tests of reading a prepared dataset."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from numpy.testing import assert_array_equal

from headrace.core.settings import DataSettings
from headrace.data import dataset as reading
from headrace.data.dataset import Dataset
from headrace.pipeline.preparation import prepare


@pytest.fixture(scope="module")
def mixed() -> Dataset:
    """Sixty users, one of them a bot, two types, some values."""
    random = np.random.default_rng(3)
    n = 700
    events = pl.DataFrame(
        {
            "user_id": random.integers(1, 60, n),
            "item_id": random.integers(1, 40, n),
            "type": random.choice(np.array(["view", "rating"]), n),
            "value": random.integers(1, 6, n),
            "time": 1_700_000_000 + random.integers(0, 900_000, n),
        }
    ).with_columns(value=pl.when(type="rating").then("value"))
    bot = pl.DataFrame({"user_id": [99] * 9, "item_id": [1] * 9, "time": range(1_700_000_000, 1_700_000_009)})
    return prepare(pl.concat([events, bot], how="diagonal"), settings=DataSettings(bot_visits_per_hour=8))


@pytest.mark.parametrize("at_once", [1, 7, 100_000])
@pytest.mark.parametrize("include_bots", [True, False])
def test_the_log_holds_what_the_events_say_however_it_is_read(
    mixed: Dataset, at_once: int, include_bots: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "_AT_ONCE", at_once)
    log = mixed.log(include_bots=include_bots)
    rows = mixed.events().filter(~pl.col("bot") | include_bots).collect()
    assert_array_equal(log.users, mixed.user_vocabulary().indices(rows["user_id"]))
    assert_array_equal(log.items, mixed.item_vocabulary().indices(rows["item_id"]))
    assert [mixed.report.types[place] for place in log.types] == rows["type"].to_list()
    assert_array_equal(log.values, rows["value"].fill_null(np.nan).to_numpy().astype(np.float32))
    assert_array_equal(log.times, rows["time"])
    assert log.n_users == mixed.report.users == len(mixed.user_vocabulary())
    assert log.n_items == len(mixed.item_vocabulary())
    assert rows["bot"].any() == include_bots
