"""A forgotten user is a user never seen: no state, no count, no byte."""

from __future__ import annotations

import shutil
import sqlite3
from concurrent.futures import Future
from contextlib import closing
from itertools import chain
from pathlib import Path

import numpy as np
import pytest

from headrace.core.errors import NotFoundError, StoreError
from headrace.core.settings import ServingSettings, Settings
from headrace.core.types import Event
from headrace.serving.questions import Question
from headrace.serving.service import Service
from headrace.serving.snapshots import snapshot_path
from headrace.serving.store import Store
from headrace.serving.writer import record_model

START = 1_700_000_000_000_000
MINUTE = 60_000_000
SECRET = "mallory-the-forgotten"


def open_in(folder: Path) -> Service:
    folder.mkdir(exist_ok=True)
    return Service.open(Settings(serving=ServingSettings(store=f"sqlite:///{folder}/shop.db")), clock=lambda: START)


def walk(user: str, items: str) -> list[Event]:
    return [
        Event(
            user_id=user, item_id=item, time=START + place * MINUTE, event_id=f"{user}-{place}", context={"who": user}
        )
        for place, item in enumerate(items)
    ]


def triples(service: Service) -> list[list[int]]:
    service.engine.run(lambda: None).result()
    return [np.asarray(part).tolist() for part in service.engine.answering.behaviour.transitions.triples()]


def test_counts_are_those_of_a_shop_that_never_met_the_user(tmp_path: Path) -> None:
    one, other = open_in(tmp_path / "one"), open_in(tmp_path / "other")
    for service in (one, other):
        service.add_events(walk("ann", "abcd")).result()
    one.add_events(walk(SECRET, "dcba" * 20)).result()
    assert triples(one) != triples(other)
    one.forget(SECRET)
    assert triples(one) == triples(other)
    assert [r.item_id for r in one.recommend(Question(user_id=SECRET)).result().items] == [
        r.item_id for r in other.recommend(Question(user_id="someone-else")).result().items
    ]
    for service in (one, other):
        service.close()


def test_no_byte_of_a_forgotten_user_is_left(tmp_path: Path) -> None:
    service = open_in(tmp_path / "shop")
    service.add_events(walk("ann", "abcd") + walk(SECRET, "abcd" * 300)).result()
    for _ in range(3):
        service.recommend(Question(user_id=SECRET)).result()
    service.engine.save().result()
    service.engine.finish_saving()
    assert any(SECRET.encode() in file.read_bytes() for file in (tmp_path / "shop").iterdir())
    service.forget(SECRET)
    left = [file.name for file in (tmp_path / "shop").iterdir() if SECRET.encode() in file.read_bytes()]
    assert left == []
    assert not snapshot_path(service.store).exists()
    with pytest.raises(NotFoundError):
        service.user_events(SECRET)
    with service.store.engine.connect() as connection:
        answers = connection.exec_driver_sql("SELECT COUNT(*) FROM answers WHERE user_key = 2").scalar()
    assert answers == 0
    service.close()


def test_while_a_reader_keeps_the_log_an_erasure_is_unfinished_and_events_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headrace.serving.erasing.PATIENCE_S", 0.0)
    service = open_in(tmp_path / "shop")
    service.add_events(walk("ann", "abcd") + walk(SECRET, "abcd" * 300)).result()
    service.writer.execute(lambda connection: record_model(connection, "new", START + 1, START)).result()
    with closing(sqlite3.connect(service.store.path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT COUNT(*) FROM events").fetchone()
        with pytest.raises(StoreError, match="a reader of the store keeps"):
            service.forget(SECRET)
        assert service.add_events(walk("bob", "a")).result(5).accepted == 1
        assert service.recommend(Question(user_id=SECRET)).result().items
        reader.execute("COMMIT")
    assert any(SECRET.encode() in file.read_bytes() for file in (tmp_path / "shop").iterdir())
    assert service.forget(SECRET).models == ["new"]
    assert not any(SECRET.encode() in file.read_bytes() for file in (tmp_path / "shop").iterdir())
    with pytest.raises(NotFoundError):
        service.forget(SECRET)
    service.close()


def test_an_erasure_that_housekeeping_finishes_is_one_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    service = open_in(tmp_path / "shop")
    service.add_events(walk(SECRET, "abcd")).result()
    forgotten = service.engine.forgotten

    class Long(Future[None]):
        def result(self, timeout: float | None = None) -> None:
            service._eraser.finish()

    def forget(user_id: str) -> Future[None]:
        forgotten(user_id).result()
        return Long()

    monkeypatch.setattr(service.engine, "forgotten", forget)
    assert service.forget(SECRET).models == []
    service.close()


def test_a_start_empties_the_log_that_a_killed_erasure_left(tmp_path: Path) -> None:
    service = open_in(tmp_path / "shop")
    service.add_events(walk("ann", "abcd") + walk(SECRET, "abcd")).result()
    shutil.copytree(tmp_path / "shop", tmp_path / "killed")
    service.close()
    log = tmp_path / "killed" / "shop.db-wal"
    assert SECRET.encode() in log.read_bytes()
    with closing(Store.open(f"sqlite:///{tmp_path}/killed/shop.db")):
        assert log.read_bytes() == b""


def test_forgetting_someone_unknown_says_so(tmp_path: Path) -> None:
    service = open_in(tmp_path / "shop")
    with pytest.raises(NotFoundError, match="nothing was erased"):
        service.forget(SECRET)
    service.close()


def test_an_old_snapshot_does_not_bring_a_user_back(tmp_path: Path) -> None:
    service = open_in(tmp_path / "shop")
    service.add_events(walk("ann", "abcd") + walk(SECRET, "dcba")).result()
    service.engine.save().result()
    service.engine.finish_saving()
    path = snapshot_path(service.store)
    stale = path.read_bytes()
    service.forget(SECRET)
    expected = triples(service)
    service.close()
    # As if the process had died after the rows were gone and before the snapshot was.
    path.write_bytes(stale)
    again = open_in(tmp_path / "shop")
    assert triples(again) == expected
    again.engine.finish_saving()
    assert path.read_bytes() != stale
    again.close()


def test_a_user_may_come_back_as_a_new_one(tmp_path: Path) -> None:
    service = open_in(tmp_path / "shop")
    service.add_events(walk(SECRET, "ab")).result()
    service.forget(SECRET)
    assert service.add_events(walk(SECRET, "cd")).result().accepted == 2
    assert [event.item_id for event in chain.from_iterable(service.user_events(SECRET))] == ["c", "d"]
    service.close()


def test_an_erasure_names_the_models_that_learned_from_the_user(tmp_path: Path) -> None:
    service = open_in(tmp_path / "shop")
    service.add_events(walk(SECRET, "ab")).result()
    for version, until in (("old", START - 1), ("new", START + 1)):
        service.writer.execute(lambda connection, v=version, u=until: record_model(connection, v, u, START)).result()
    assert service.forget(SECRET).models == ["new"]
    service.close()
