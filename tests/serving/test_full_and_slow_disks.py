"""A disk that is full or slow: what was acknowledged is there, what was refused is not, and questions are answered."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import event as listening

from headrace.core.errors import OverloadedError
from headrace.core.settings import ServingSettings, Settings
from headrace.core.types import Event
from headrace.serving.questions import Question
from headrace.serving.service import Service

QUEUE = 4

# No file of this process may grow any more: SQLite then gets from the system what it gets from a full disk.
CHILD = """
import json, os, resource, sys
from headrace.core.errors import StoreError
from headrace.core.settings import ServingSettings, Settings
from headrace.core.types import Event, Item
from headrace.serving.questions import Question
from headrace.serving.service import Service

path, comes_back = sys.argv[1], sys.argv[2] == "comes back"
service = Service.open(Settings(serving=ServingSettings(store=f"sqlite:///{path}")))
said = {"acknowledged": [], "refused": [], "also refused": []}

def tell(part, n):
    for place in range(n):
        name = f"{part}-{place}"
        told = Event(user_id=part, item_id=name, event_id=name, context={"note": "x" * 2000})
        try:
            service.add_events([told]).result(60)
        except StoreError as error:
            assert error.status == 503
            said["refused"].append(name)
        else:
            said["acknowledged"].append(name)

tell("before", 20)
largest = max(os.path.getsize(path + end) for end in ("", "-wal"))
_, most = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (largest + 50_000, most))
tell("full", 60)
for verb in (lambda: service.put_items([Item(item_id="lamp", text="x" * 60_000)]), lambda: service.forget("before")):
    try:
        verb()
    except StoreError as error:
        said["also refused"].append(str(error))
given = service.recommend(Question("before", seen="include", k=100)).result(60)
said["listed"], said["seen"] = len(given.items), given.events_seen
if comes_back:
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
    tell("after", 20)
    given = service.recommend(Question("after", seen="include", k=100, at_least=1)).result(60)
    said["seen after"] = given.events_seen
service.close()
resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
print(json.dumps(said))
"""


def stored(store: Path) -> list[str]:
    with closing(sqlite3.connect(store)) as connection:
        return [name for (name,) in connection.execute("SELECT event_id FROM events ORDER BY sequence")]


@pytest.mark.parametrize("space", ["comes back", "is missing to the end"])
def test_on_a_full_disk_what_was_acknowledged_is_stored_and_nothing_else(tmp_path: Path, space: str) -> None:
    store = tmp_path / "shop.db"
    child = subprocess.run([sys.executable, "-c", CHILD, str(store), space], check=True, stdout=subprocess.PIPE)
    said = json.loads(child.stdout)
    assert stored(store) == said["acknowledged"]
    assert any(name.startswith("full-") for name in said["refused"])
    assert all(not name.startswith(("before-", "after-")) for name in said["refused"])
    assert len(said["also refused"]) == 2
    assert said["listed"] == said["seen"] == sum(not name.startswith("after-") for name in said["acknowledged"])
    if space == "comes back":
        assert said["seen after"] == len(said["acknowledged"])
    service = Service.open(Settings(serving=ServingSettings(store=f"sqlite:///{store}")))
    assert service.engine.events == len(said["acknowledged"])
    service.close()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(serving=ServingSettings(store=f"sqlite:///{tmp_path}/shop.db", queue=QUEUE))


@pytest.fixture
def disk(service: Service) -> Iterator[threading.Event]:
    """Every commit waits until this is set."""
    free = threading.Event()

    def wait(_: object) -> None:
        assert free.wait(30)

    service.add_events([Event(user_id="ann", item_id="tea")]).result()
    listening.listen(service.store.engine, "commit", wait)
    yield free
    free.set()


def until_taken(service: Service) -> None:
    """Wait until the writer has taken what stands in its line."""
    started = time.monotonic()
    while service.writer.waiting:
        assert time.monotonic() - started < 10
        time.sleep(0.001)  # the writer tells nobody what it takes: its line is all that can be looked at


def test_while_the_disk_is_slow_events_beyond_the_bound_are_refused_and_the_others_stored(
    service: Service, disk: threading.Event
) -> None:
    waiting = [service.add_events([Event(user_id="bob", item_id="0")])]
    until_taken(service)
    waiting += [service.add_events([Event(user_id="bob", item_id=str(n + 1))]) for n in range(QUEUE)]
    for _ in range(3):
        with pytest.raises(OverloadedError, match="may wait to be stored") as refused:
            service.add_events([Event(user_id="bob", item_id="refused")])
        assert refused.value.status == 429
    assert not any(future.done() for future in waiting)
    disk.set()
    assert [future.result(10).sequence for future in waiting] == [2, 3, 4, 5, 6]
    listed = [event.item_id for event in next(service.user_events("bob"))]
    assert sorted(listed) == ["0", "1", "2", "3", "4"]


def test_while_the_disk_is_slow_questions_are_answered(service: Service, disk: threading.Event) -> None:
    waiting = service.add_events([Event(user_id="bob", item_id="cup")])
    until_taken(service)
    for user in ("ann", "bob", "cat"):
        given = service.recommend(Question(user, seen="include")).result(10)
        assert ([item.item_id for item in given.items], given.events_seen) == (["tea"], 1)
    assert not waiting.done()
    disk.set()
    assert waiting.result(10).sequence == 2
    assert service.recommend(Question("cat", at_least=2)).result(10).events_seen == 2


def test_while_the_disk_is_slow_records_of_answers_do_not_fill_the_memory(
    service: Service, disk: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headrace.serving.writer._ANSWERS_WAITING", 5)
    waiting = service.add_events([Event(user_id="bob", item_id="cup")])
    until_taken(service)
    before = len(service.writer._answers)
    for _ in range(20):
        assert service.recommend(Question("ann", seen="include")).result(10).items
    assert len(service.writer._answers) == 5
    lost = f"headrace_answer_records_lost_total {15 + before}.0"
    assert lost in service.telemetry.exposition().decode()
    disk.set()
    assert waiting.result(10).accepted == 1


def test_of_ten_times_as_many_questions_as_may_wait_the_rest_are_refused_and_the_others_answered(
    service: Service,
) -> None:
    service.add_events([Event(user_id="ann", item_id="tea")]).result()
    held, hold = threading.Event(), threading.Event()
    service.engine.run(lambda: (held.set(), hold.wait(30)))
    assert held.wait(30)
    taken, refused = [], 0
    for n in range(10 * QUEUE):
        try:
            taken.append(service.recommend(Question(f"u{n}", seen="include")))
        except OverloadedError:
            refused += 1
    assert (len(taken), refused) == (QUEUE, 9 * QUEUE)
    assert len(service.engine._line) == QUEUE
    hold.set()
    assert all(future.result(10).items for future in taken)
    assert service.recommend(Question("ann", seen="include")).result(10).items
