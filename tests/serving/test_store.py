"""The store: what it opens, what it refuses, and how it moves up a format."""

from __future__ import annotations

import resource
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from headrace.core.errors import FormatError, SettingsError, StoreError
from headrace.core.types import Event
from headrace.serving import schema
from headrace.serving.service import Service
from headrace.serving.store import Store, store_path

START = 1_700_000_000_000_000


def test_the_path_of_a_store_is_full(tmp_path: Path) -> None:
    assert store_path(f"sqlite:///{tmp_path}/a.db") == tmp_path / "a.db"
    assert store_path("sqlite:///a.db").is_absolute()


@pytest.mark.parametrize("url", ["shop.db", "sqlite://", "sqlite:///:memory:", "postgresql://host/shop"])
def test_a_url_that_names_no_sqlite_file_is_refused(url: str) -> None:
    with pytest.raises(SettingsError, match=r"sqlite:///headrace\.db"):
        Store.open(url)


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.db").write_bytes(b"user_id,item_id\n" * 100)
    with pytest.raises(FormatError, match="must be a Headrace store"):
        Store.open(f"sqlite:///{tmp_path}/a.db")


def test_a_database_of_something_else_is_refused(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "a.db")) as connection:
        connection.execute("CREATE TABLE notes (text)")
    with pytest.raises(FormatError, match="must be a Headrace store"):
        Store.open(f"sqlite:///{tmp_path}/a.db")


def test_a_store_of_a_newer_format_is_refused(tmp_path: Path) -> None:
    Store.open(f"sqlite:///{tmp_path}/a.db").close()
    with closing(sqlite3.connect(tmp_path / "a.db", isolation_level=None)) as connection:
        connection.execute("UPDATE meta SET value = '9' WHERE key = 'format'")
    with pytest.raises(FormatError, match="of format 1, it is of 9"):
        Store.open(f"sqlite:///{tmp_path}/a.db")


def test_an_upgrade_copies_the_store_first(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    Store.open(f"sqlite:///{path}").close()
    schema.check_format(path, newest=2, upgrades={1: ("ALTER TABLE users ADD COLUMN note TEXT",)})
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT value FROM meta WHERE key = 'format'").fetchone() == ("2",)
        assert connection.execute("SELECT note FROM users").fetchall() == []
    (copy,) = schema.copies(path)
    schema.check_format(copy)


def test_only_one_process_serves_from_a_store(service: Service) -> None:
    with pytest.raises(StoreError, match="another one has"):
        Store.open(service.settings.serving.store)


def test_every_commit_is_synced_and_every_erased_byte_overwritten(service: Service) -> None:
    with service.store.engine.connect() as connection:
        found = {name: connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in
                 ("journal_mode", "synchronous", "secure_delete")}  # fmt: skip
    assert found == {"journal_mode": "wal", "synchronous": 2, "secure_delete": 1}


def test_only_the_user_who_serves_can_read_the_store(service: Service) -> None:
    service.add_events([Event(user_id="ann", item_id="tea")]).result()
    files = list(service.store.path.parent.glob(f"{service.store.path.name}*"))
    assert {file.name.removeprefix(service.store.path.name) for file in files} >= {"", "-wal", ".lock"}
    assert {file.stat().st_mode & 0o077 for file in files} == {0}


def test_user_ids_stand_in_one_table_only(service: Service) -> None:
    service.add_events([Event(user_id="a-very-special-user", item_id="tea", context={"page": "home"})]).result()
    with closing(sqlite3.connect(service.store.path)) as connection:
        names = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        holding = [
            name
            for name in names
            if any("a-very-special-user" in str(row) for row in connection.execute(f"SELECT * FROM {name}"))
        ]
    assert holding == ["users"]


def test_a_full_disk_at_the_start_is_said(tmp_path: Path) -> None:
    _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, most))
    try:
        with pytest.raises(StoreError, match="must be writable and its disk not full"):
            Store.open(f"sqlite:///{tmp_path}/a.db")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
    Store.open(f"sqlite:///{tmp_path}/a.db").close()


def test_a_user_is_shown_whole_and_in_the_order_of_time(service: Service) -> None:
    times = [START + (n * 7919) % 2500 for n in range(2500)]
    service.add_events([Event(user_id="ann", item_id=str(n % 9), time=time) for n, time in enumerate(times)]).result()
    service.add_events([Event(user_id="bob", item_id="1", context={"page": "home"})]).result()
    parts = list(service.user_events("ann"))
    assert len(parts) > 1
    assert [event.time for part in parts for event in part] == sorted(times)
    assert [event.time for part in service.user_events("ann", 1001) for event in part] == sorted(times)[-1001:]
    assert [event.context for event in next(service.user_events("bob"))] == [{"page": "home"}]


def test_events_erased_while_they_are_shown_are_left_out(service: Service) -> None:
    service.add_events([Event(user_id="ann", item_id="tea", time=START + n) for n in range(1500)]).result()
    parts = service.user_events("ann")
    assert len(next(parts)) == 1000
    service.forget("ann")
    assert list(parts) == [[]]
