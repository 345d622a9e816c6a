"""Any order of arrival, retries, erasures and restarts leave the counts of one pass over the final store."""

from __future__ import annotations

import shutil
import tempfile
from concurrent.futures import Future
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headrace.core.errors import NotFoundError
from headrace.core.settings import RankingSettings, ServingSettings, Settings
from headrace.core.types import Event
from headrace.data.item_ids import ItemIds
from headrace.ranking.behaviour import Behaviour, window_for
from headrace.serving.batch import Written
from headrace.serving.questions import Question
from headrace.serving.service import Service
from headrace.serving.snapshots import snapshot_path
from headrace.serving.states import canonical_log

START = 1_700_000_000_000_000
MINUTE = 60_000_000

events = st.builds(
    Event,
    user_id=st.sampled_from(["ann", "bob"]),
    item_id=st.sampled_from(["a", "b", "c", "d"]),
    type=st.sampled_from(["view", "buy"]),
    time=st.integers(0, 6).map(lambda minute: START + minute * MINUTE),
)


def assert_same_counts(one: Behaviour, other: Behaviour) -> None:
    for mine, theirs in (
        (one.transitions.triples(), other.transitions.triples()),
        (one.popularity.triples(), other.popularity.triples()),
    ):
        for left, right in zip(mine, theirs, strict=True):
            np.testing.assert_array_equal(left, right)
    for kind in range(3):
        assert one.types.share(kind) == other.types.share(kind)
    n = min(len(one.types.counts), len(other.types.counts))
    kinds = min(one.types.counts.shape[1], other.types.counts.shape[1])
    assert one.types.counts[:n, :kinds].tolist() == other.types.counts[:n, :kinds].tolist()
    assert one.types.counts.sum() == other.types.counts.sum()


def one_pass(service: Service) -> Behaviour:
    log = canonical_log(service.store, ItemIds(service.store.item_ids))
    behaviour = Behaviour(window_for(len(log), service.settings.ranking))
    if len(log):
        behaviour.add_log(log)
    return behaviour


def settled(service: Service) -> Behaviour:
    service.engine.run(lambda: None).result()
    return service.engine.answering.behaviour


def open_in(folder: Path, cache: int = 10_000, pairs: int = 1_000) -> Service:
    serving = ServingSettings(store=f"sqlite:///{folder}/shop.db", user_cache_bytes=cache)
    return Service.open(Settings(serving=serving, ranking=RankingSettings(count_pairs=pairs)), clock=lambda: START)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    lists=st.lists(st.lists(events, min_size=1, max_size=4), min_size=1, max_size=8),
    erased=st.sets(st.integers(0, 7), max_size=2),
    restarted=st.sets(st.integers(0, 7), max_size=2),
    saved=st.sets(st.integers(0, 7), max_size=2),
)
def test_any_order_of_arrival_gives_the_counts_of_one_pass(
    lists: list[list[Event]], erased: set[int], restarted: set[int], saved: set[int]
) -> None:
    folder = Path(tempfile.mkdtemp())
    # So small a cache that users leave it all the time and are read again from the store.
    service = open_in(folder, cache=1)
    coming: list[Future[Written]] = []
    try:
        for place, some in enumerate(lists):
            coming.append(service.add_events(some))
            if place in saved:
                service.engine.save().result()
                service.engine.finish_saving()
            if place in erased:
                try:
                    service.forget("ann")
                except NotFoundError:
                    assert all(event.user_id != "ann" for event in some)
            if place in restarted:
                service.close()
                service = open_in(folder, cache=1)
        # Nobody waited in between, so that lists were committed alone and together.
        assert sum(future.result().accepted for future in coming) == sum(map(len, lists))
        assert_same_counts(settled(service), one_pass(service))
        assert service.engine.events == service.store.count("events")
    finally:
        service.close()
        shutil.rmtree(folder)


@pytest.mark.parametrize("clean", [True, False])
def test_a_restart_replays_what_came_after_the_snapshot(tmp_path: Path, clean: bool) -> None:
    service = open_in(tmp_path)
    service.add_events([Event(user_id="ann", item_id=item, time=START + MINUTE) for item in "ab"]).result()
    service.engine.save().result()
    service.engine.finish_saving()
    kept = snapshot_path(service.store).read_bytes()
    assert not snapshot_path(service.store).stat().st_mode & 0o077
    service.add_events([Event(user_id="ann", item_id="c", time=START)]).result()
    service.add_events([Event(user_id="bob", item_id="a", time=START + 2 * MINUTE)]).result()
    before = service.recommend(Question(user_id="bob", seen="include")).result()
    service.close()
    if not clean:
        (tmp_path / "shop.db.counts").write_bytes(kept)
    again = open_in(tmp_path)
    after = again.recommend(Question(user_id="bob", seen="include")).result()
    assert (after.items, after.events_seen, after.as_of) == (before.items, 4, before.as_of)
    assert_same_counts(again.engine.answering.behaviour, one_pass(again))
    again.close()


@pytest.mark.parametrize("damage", [b"", b"not a snapshot", None])
def test_a_damaged_or_missing_snapshot_is_counted_anew(tmp_path: Path, damage: bytes | None) -> None:
    service = open_in(tmp_path)
    service.add_events([Event(user_id="ann", item_id=item) for item in "ab"]).result()
    service.close()
    path = tmp_path / "shop.db.counts"
    path.unlink()
    if damage is not None:
        path.write_bytes(damage)
    again = open_in(tmp_path)
    assert_same_counts(settled(again), one_pass(again))
    assert again.engine.events == 2
    again.close()


def test_a_snapshot_of_another_store_is_not_used(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    for name, items in (("one", "ab"), ("two", "cd")):
        service = open_in(tmp_path / name)
        service.add_events([Event(user_id="ann", item_id=item) for item in items]).result()
        service.close()
    shutil.copy(tmp_path / "one" / "shop.db.counts", tmp_path / "two" / "shop.db.counts")
    again = open_in(tmp_path / "two")
    assert_same_counts(settled(again), one_pass(again))
    again.close()


def test_a_store_that_has_grown_is_counted_anew_within_a_smaller_window(tmp_path: Path) -> None:
    service = open_in(tmp_path)
    service.add_events(
        [Event(user_id="ann", item_id=item, time=START + MINUTE * place) for place, item in enumerate("abcd")]
    ).result()
    service.close()
    again = open_in(tmp_path, pairs=8)
    assert settled(again).transitions.window == 2
    assert_same_counts(settled(again), one_pass(again))
    again.close()
    last = open_in(tmp_path, pairs=8)
    assert_same_counts(settled(last), one_pass(last))
    last.close()
