"""The record of answers: what a row says, and that the oldest leave once they are too old or too many."""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from sqlalchemy import Connection

from headrace.core.settings import Settings
from headrace.core.types import Event
from headrace.serving.answer_records import (
    PORTION,
    AnswerRecord,
    estimate_bytes,
    prune_by_age,
    prune_by_bytes,
    write_answers,
)
from headrace.serving.moments import answer_id
from headrace.serving.questions import Question
from headrace.serving.service import Service
from headrace.serving.store import Store

START = 1_700_000_000_000_000
SECOND = 1_000_000


class Maker:
    """Makes records, each a millisecond after the one before."""

    def __init__(self, seed: int = 1) -> None:
        self.made = 0
        self._random = random.Random(seed)

    def records(self, n: int, k: int = 10, *, chance: bool = False) -> list[AnswerRecord]:
        found = []
        for _ in range(n):
            self.made += 1
            now = START + self.made * 1000
            items = [self._random.randrange(1, 100_000) for _ in range(k)]
            shown = [self._random.random() for _ in range(k)] if chance else None
            user = self._random.randrange(1, 20_000)
            found.append(AnswerRecord(answer_id(now), user, self.made, "0123456789ab", items, now, propensities=shown))
        return found


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store.open(f"sqlite:///{tmp_path}/a.db")
    yield opened
    opened.close()


def write(store: Store, records: list[AnswerRecord]) -> None:
    for first in range(0, len(records), 1000):
        with store.engine.begin() as connection:
            write_answers(connection, records[first : first + 1000])


def size_of(store: Store) -> int:
    deadline = time.monotonic() + 10
    while not store.empty_log():  # some thread of the service reads or writes
        assert time.monotonic() < deadline
    return store.path.stat().st_size


def kept(store: Store) -> list[int]:
    """Return the sequence numbers of the answers that are left, in the order of their time."""
    with store.engine.connect() as connection:
        return list(connection.exec_driver_sql("SELECT sequence FROM answers ORDER BY created").scalars())


def prune(store: Store, portion: Callable[[Connection], int]) -> list[int]:
    """Delete in portions until nothing is to do; returns how many each one deleted."""
    found = []
    while True:
        with store.engine.begin() as connection:
            found.append(portion(connection))
        if not found[-1]:
            return found[:-1]


def pruned(service: Service, reason: str) -> float:
    return service.telemetry.registry.get_sample_value("headrace_answer_records_pruned_total", {"reason": reason}) or 0


def test_an_answer_is_recorded_with_its_scenario_and_positions(service: Service) -> None:
    service.add_events([Event(user_id="ann", item_id=item) for item in "abcd"]).result()
    given = service.recommend(Question(user_id="ann", seen="include")).result()
    named = Event(user_id="ann", item_id="a", recommendation_id=given.recommendation_id)
    service.add_events([named]).result()  # records the answer first
    with service.store.engine.connect() as connection:
        row = connection.exec_driver_sql("SELECT * FROM answers").one()
    assert (row.recommendation_id, row.user_key, row.sequence, row.model) == (given.recommendation_id, 1, 4, "counts")
    assert (row.scenario, row.propensities, row.followed) == ("default", None, 1)
    ids = list(service.store.item_ids)
    keys = dict(zip(ids, range(1, len(ids) + 1), strict=True))
    assert json.loads(row.items) == [keys[item.item_id] for item in given.items]
    assert len(given.items) == 4


@pytest.mark.parametrize(
    ("given", "stored"), [(None, None), ([1.0, 1, 1.0], None), ([], None), ([1.0, 0.25, 0.125], [1.0, 0.25, 0.125])]
)
def test_propensities_are_stored_unless_all_are_1(
    store: Store, given: list[float] | None, stored: list[float] | None
) -> None:
    record = AnswerRecord("r", None, 1, "counts", [3, 1, 2], START, scenario="home", propensities=given)
    write(store, [record])
    with store.engine.connect() as connection:
        row = connection.exec_driver_sql("SELECT scenario, propensities FROM answers").one()
    assert row.scenario == "home"
    assert (None if row.propensities is None else json.loads(row.propensities)) == stored


@pytest.mark.parametrize(
    ("k", "n"), [(0, 5000), (1, 5000), (10, 20_000), (100, 3000), (340, 1000), (600, 500), (1000, 500)]
)
@pytest.mark.parametrize("chance", [False, True])
def test_the_estimate_is_near_the_size_of_the_file(store: Store, k: int, n: int, chance: bool) -> None:
    empty = size_of(store)
    write(store, Maker().records(n, k, chance=chance))
    with store.engine.connect() as connection:
        estimate = estimate_bytes(connection)
    assert estimate == pytest.approx(size_of(store) - empty, rel=0.3)


def test_an_empty_store_has_nothing_to_prune(store: Store) -> None:
    with store.engine.begin() as connection:
        assert estimate_bytes(connection) == 0
        assert prune_by_bytes(connection, 1) == 0
        assert prune_by_age(connection, START) == 0


def test_beyond_the_bytes_the_oldest_go_and_the_newest_stay(store: Store) -> None:
    write(store, Maker().records(6000))
    with store.engine.connect() as connection:
        half = estimate_bytes(connection) // 2
    portions = prune(store, lambda connection: prune_by_bytes(connection, half))
    assert max(portions) == PORTION
    assert kept(store) == list(range(sum(portions) + 1, 6001))
    assert 2900 <= len(kept(store)) <= 3100
    with store.engine.connect() as connection:
        assert estimate_bytes(connection) <= half


def test_long_lists_count_though_the_newest_are_short(store: Store) -> None:
    maker = Maker()
    write(store, maker.records(3000, k=500) + maker.records(3000, k=1))
    with store.engine.connect() as connection:
        whole = estimate_bytes(connection)
    # A long one takes a page and its places in the indices, some 4.2 kB: 4 MB are 957 of them.
    prune(store, lambda connection: prune_by_bytes(connection, whole - 4_000_000))
    left = kept(store)
    assert left == list(range(left[0], 6001))
    assert 900 <= left[0] <= 960 + PORTION


def test_rows_that_an_erasure_took_do_not_count(store: Store) -> None:
    write(store, Maker().records(6000))
    with store.engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM answers WHERE sequence BETWEEN 1001 AND 5000")
        enough = round(estimate_bytes(connection) * 1.1)
    assert 300_000 < enough < 800_000
    assert prune(store, lambda connection: prune_by_bytes(connection, enough)) == []
    assert prune(store, lambda connection: prune_by_bytes(connection, 1)) != []
    assert kept(store) == []


def test_what_is_too_old_goes_the_oldest_first(store: Store) -> None:
    write(store, Maker().records(2500))
    assert prune(store, lambda connection: prune_by_age(connection, START)) == []
    with store.engine.begin() as connection:
        assert prune_by_age(connection, START + 2201 * 1000) == PORTION
    assert kept(store) == list(range(PORTION + 1, 2501))
    assert prune(store, lambda connection: prune_by_age(connection, START + 2201 * 1000)) == [1000, 200]
    assert kept(store) == list(range(2201, 2501))


def test_the_file_stays_bounded_while_answers_are_recorded_and_events_stored(settings: Settings) -> None:
    most = 1_000_000
    service = open_with(settings, answers_bytes=most)
    empty, maker, sizes = size_of(service.store), Maker(), []
    for turn in range(20):
        for record in maker.records(1000):
            service.writer.record(record)
        named = Event(user_id="ann", item_id=str(turn), recommendation_id=record.recommendation_id)
        assert service.add_events([named]).result(10).accepted == 1  # all answers before it are recorded with it
        service._keeper._prune()
        sizes.append(size_of(service.store) - empty)
        assert kept(service.store)[-1] == maker.made
    assert pruned(service, "bytes") == 20_000 - len(kept(service.store))
    assert pruned(service, "age") == 0
    assert service.engine.events == 20
    assert 3500 < len(kept(service.store)) < 5500
    assert sizes[-1] == pytest.approx(sizes[10], rel=0.1)
    assert max(sizes) < 1.3 * most + 300_000  # those of one turn are deleted after they were written
    service.close()


def test_events_do_not_wait_until_all_is_deleted(settings: Settings) -> None:
    service = open_with(settings, answers_bytes=1000)
    write(service.store, Maker().records(20_000))
    keeper = threading.Thread(target=service._keeper._prune)
    keeper.start()
    seen = set()
    while keeper.is_alive():
        assert service.add_events([Event(user_id="ann", item_id="tea")]).result(10).accepted == 1
        seen.add(pruned(service, "bytes"))
    assert len(seen - {0, pruned(service, "bytes")}) > 2
    assert kept(service.store)[0] > 19_990
    service.close()


def test_a_service_that_ends_does_not_wait_until_all_is_deleted(settings: Settings) -> None:
    service = open_with(settings, answers_bytes=1000)
    write(service.store, Maker().records(5000))
    service._keeper.stop()
    service._keeper._prune()
    assert len(kept(service.store)) == 5000
    service.close()


def test_first_go_those_too_old_and_then_those_too_many(settings: Settings) -> None:
    a_day_after = START + 86_400 * SECOND + 1001 * 1000
    service = open_with(settings, answers_bytes=100_000, answers_days=1.0, now=a_day_after)
    write(service.store, Maker().records(3000))
    service._keeper._prune()
    left = kept(service.store)
    assert left == list(range(3001 - len(left), 3001))
    assert 300 < len(left) < 600
    assert (pruned(service, "age"), pruned(service, "bytes")) == (1000, 2000 - len(left))
    service.close()


def test_housekeeping_does_it_by_itself(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headrace.serving.housekeeping._LOOK_S", 0.02)
    service = open_with(settings, answers_bytes=100_000)
    records = Maker().records(3000)
    service.writer.execute(lambda connection: write_answers(connection, records)).result()
    deadline = time.monotonic() + 20
    while len(kept(service.store)) > 600:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    service.close()


def open_with(settings: Settings, *, now: int = START, **serving: float) -> Service:
    changed = msgspec.structs.replace(settings.serving, **serving)
    return Service.open(msgspec.structs.replace(settings, serving=changed), clock=lambda: now)
