"""The store: what it opens, what it refuses, and how it moves up a format."""

from __future__ import annotations

import resource
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from headrace.core.errors import FormatError, SettingsError, StoreError
from headrace.core.settings import Settings
from headrace.core.types import Event
from headrace.serving import schema
from headrace.serving.questions import Question
from headrace.serving.service import Service
from headrace.serving.store import Store, store_path

START = 1_700_000_000_000_000
NEXT = schema.STORE_FORMAT + 1
TO_NEXT = {schema.STORE_FORMAT: ("ALTER TABLE users ADD COLUMN note TEXT",)}

# A store of format 1, by hand: its answers have neither scenario nor propensities.
FORMAT_1 = f"""
CREATE TABLE users (key INTEGER NOT NULL, user_id TEXT NOT NULL, PRIMARY KEY (key), UNIQUE (user_id));
CREATE TABLE items (key INTEGER NOT NULL, item_id TEXT NOT NULL, state INTEGER NOT NULL, title TEXT, text TEXT,
    categories TEXT, price FLOAT, available BOOLEAN NOT NULL, image TEXT, audio TEXT, attributes TEXT,
    created INTEGER NOT NULL, changed INTEGER NOT NULL, PRIMARY KEY (key), UNIQUE (item_id));
CREATE TABLE events (sequence INTEGER NOT NULL, user_key INTEGER NOT NULL, item_key INTEGER NOT NULL,
    type TEXT NOT NULL, value FLOAT, time INTEGER NOT NULL, event_id TEXT, recommendation_id TEXT, context TEXT,
    received INTEGER NOT NULL, PRIMARY KEY (sequence));
CREATE INDEX events_by_user ON events (user_key, sequence);
CREATE UNIQUE INDEX events_by_event_id ON events (event_id) WHERE event_id IS NOT NULL;
CREATE TABLE answers (recommendation_id TEXT NOT NULL, user_key INTEGER, sequence INTEGER NOT NULL,
    model TEXT NOT NULL, items TEXT NOT NULL, created INTEGER NOT NULL, followed BOOLEAN NOT NULL,
    PRIMARY KEY (recommendation_id));
CREATE INDEX answers_by_user ON answers (user_key);
CREATE INDEX answers_by_created ON answers (created);
CREATE TABLE models (version TEXT NOT NULL, until INTEGER NOT NULL, taken INTEGER NOT NULL, PRIMARY KEY (version));
CREATE TABLE meta (key TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (key));
INSERT INTO meta VALUES ('format', '1'), ('store_id', '0123456789abcdef'), ('types', '["view"]');
INSERT INTO users VALUES (1, 'ann');
INSERT INTO items VALUES (1, 'tea', 0, NULL, NULL, NULL, NULL, 1, NULL, NULL, NULL, {START}, {START}),
    (2, 'cup', 1, 'Cup', NULL, NULL, NULL, 1, NULL, NULL, NULL, {START}, {START});
INSERT INTO events VALUES (1, 1, 1, 'view', NULL, {START}, NULL, NULL, NULL, {START});
INSERT INTO answers VALUES ('r1', 1, 1, 'counts', '[2,1]', {START}, 0), ('r2', NULL, 1, 'counts', '[1]', {START}, 0);
"""


def rows_of(path: Path, table: str, columns: str = "*") -> list[tuple[str | int | None, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(f"SELECT {columns} FROM {table}").fetchall()


def follow(service: Service) -> str:
    """Return the metrics once the engine has heard of every commit."""
    service.engine.run(lambda: None).result()
    return service.telemetry.exposition().decode()


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
    with pytest.raises(FormatError, match=f"of format {schema.STORE_FORMAT}, it is of 9"):
        Store.open(f"sqlite:///{tmp_path}/a.db")


def test_an_upgrade_copies_the_store_first(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    Store.open(f"sqlite:///{path}").close()
    schema.check_format(path, newest=NEXT, upgrades=TO_NEXT)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT value FROM meta WHERE key = 'format'").fetchone() == (str(NEXT),)
        assert connection.execute("SELECT note FROM users").fetchall() == []
    (copy,) = schema.copies(path)
    assert copy.stat().st_mode & 0o077 == 0
    schema.check_format(copy)


def test_the_copy_of_an_upgrade_is_whole_though_a_reader_keeps_the_log(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    store = Store.open(f"sqlite:///{path}")
    with closing(sqlite3.connect(path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM meta").fetchall()
        with store.engine.begin() as connection:
            connection.exec_driver_sql("INSERT INTO users VALUES (1, 'ann')")
        store.close()
        schema.check_format(path, newest=NEXT, upgrades=TO_NEXT)
    (copy,) = schema.copies(path)
    with closing(sqlite3.connect(copy)) as connection:
        assert connection.execute("SELECT * FROM users").fetchall() == [(1, "ann")]


def test_an_upgrade_that_finds_no_room_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    Store.open(f"sqlite:///{path}").close()
    before = path.read_bytes()
    _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) - 1, most))
    try:
        with pytest.raises(StoreError, match="make room for the copy"):
            schema.check_format(path, newest=NEXT, upgrades=TO_NEXT)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
    assert path.read_bytes() == before
    schema.check_format(path, newest=NEXT, upgrades=TO_NEXT)
    (copy,) = schema.copies(path)
    schema.check_format(copy)


def test_a_store_of_format_1_goes_on_with_its_answers(settings: Settings) -> None:
    path = store_path(settings.serving.store)
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(FORMAT_1)
    service = Service.open(settings)
    (copy,) = schema.copies(path)
    with closing(sqlite3.connect(copy)) as connection:
        assert connection.execute("SELECT value FROM meta WHERE key = 'format'").fetchone() == ("1",)
        assert connection.execute("SELECT COUNT(*) FROM answers").fetchone() == (2,)
    assert {row[0]: row[1:] for row in rows_of(path, "answers")} == {
        "r1": (1, 1, "counts", "[2,1]", START, 0, "default", None),
        "r2": (None, 1, "counts", "[1]", START, 0, "default", None),
    }
    assert service.recommend(Question(user_id="ann", seen="include")).result().events_seen == 1
    service.add_events([Event(user_id="bob", item_id="cup", recommendation_id="r2")]).result()
    assert 'headrace_answers_followed_total{model="counts"} 1.0' in follow(service)
    service.forget("ann")
    assert [row[0] for row in rows_of(path, "answers") if row[1] == 1] == []
    assert schema.copies(path) == []
    service.close()


def test_an_upgraded_store_has_the_tables_of_a_new_one(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "old.db")) as connection:
        connection.executescript(FORMAT_1)
    for name in ("old", "new"):
        Store.open(f"sqlite:///{tmp_path}/{name}.db").close()
    tables = [row[0] for row in rows_of(tmp_path / "new.db", "sqlite_master WHERE type = 'table'", "name")]
    for table in tables:
        info = [rows_of(tmp_path / f"{name}.db", f"pragma_table_info('{table}')") for name in ("old", "new")]
        assert info[0] == info[1]


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
