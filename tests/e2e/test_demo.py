"""The demo on a shop's own files: it serves from counts, trains behind, swaps, stops cleanly and starts again."""

from __future__ import annotations

import json
import time
import urllib.request
from pathlib import Path

import pytest
from tests.e2e.running import Running, running

from headrace.data.synthetic import shop

_SWAP_S = 240.0


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    events, items = shop(n_users=200, seed=9)
    events.write_csv(tmp_path / "events.csv")
    items.write_csv(tmp_path / "items.csv") if "categories" not in items.columns else items.write_ndjson(
        tmp_path / "items.jsonl"
    )
    return tmp_path / "events.csv", next(tmp_path.glob("items.*"))


def ask(started: Running, path: str, body: dict[str, str] | None = None) -> dict[str, object]:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(started.url + path, data=data, headers={"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        decoded: dict[str, object] = json.load(answer)
    return decoded


def wait_until_open(started: Running) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            ask(started, "/v1/health/ready")
            return
        except OSError:
            assert time.monotonic() < deadline, started.output
            time.sleep(0.1)


def model_of(started: Running) -> dict[str, object]:
    status = ask(started, "/v1/status")
    assert isinstance(status["model"], dict)
    return status["model"]


@pytest.mark.slow
def test_the_demo_serves_trains_swaps_and_starts_again(tmp_path: Path, files: tuple[Path, Path]) -> None:
    events, items = files
    arguments = ["demo", "--data", events, "--items", items, "--port", "0", "--minutes", "0.1"]
    with running(arguments, tmp_path) as demo:
        wait_until_open(demo)
        assert model_of(demo)["events"] is None
        before = ask(demo, "/v1/users/visitor/recommendations?k=10")["items"]
        assert isinstance(before, list)
        ask(demo, "/v1/events", {"user_id": "visitor", "item_id": before[3]["item_id"]})
        assert ask(demo, "/v1/users/visitor/recommendations?k=10")["items"] != before
        deadline = time.monotonic() + _SWAP_S
        while model_of(demo)["events"] is None:
            assert time.monotonic() < deadline, demo.output
            assert "The training ended" not in demo.output, demo.output
            ask(demo, "/v1/users/visitor/recommendations?k=10")
            time.sleep(0.2)
        version = model_of(demo)["version"]
        assert demo.stop() == 0
    assert "Traceback" not in demo.output
    with running(arguments, tmp_path) as again:
        wait_until_open(again)
        assert model_of(again)["version"] == version
        history = ask(again, "/v1/users/visitor")["events"]
        assert isinstance(history, list)
        assert len(history) == 1


def test_the_demo_leaves_a_folder_of_other_things_alone(tmp_path: Path, files: tuple[Path, Path]) -> None:
    events, _ = files
    other = tmp_path / "mine"
    other.mkdir()
    (other / "letter.txt").write_text("dear")
    with (
        pytest.raises(AssertionError, match="--folder"),
        running(["demo", "--data", events, "--folder", other, "--port", "0"], tmp_path),
    ):
        pass
    assert [path.name for path in other.iterdir()] == ["letter.txt"]
