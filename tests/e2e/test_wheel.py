"""The wheel alone, without the extra `[train]`, serves a model and reads a new item's text: no PyTorch needed."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace.data.shop_files import write_shop

ROOT = Path(__file__).resolve().parents[2]
HEADRACE = str(Path(sys.executable).with_name("headrace"))
START_S = 60


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    write_shop(folder, n_users=150)
    for command in (
        ["prepare", "events.csv", "--items", "items.csv", "--out", "dataset"],
        ["train", "dataset", "--out", "model", "--protocol", "all", "--steps", "20", "--preset", "tiny"],
    ):
        subprocess.run([HEADRACE, *command], cwd=folder, check=True, capture_output=True, timeout=280)
    return folder / "model"


@pytest.fixture(scope="module")
def lean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the `bin` of an empty environment that holds the wheel and what it depends on, nothing more."""
    folder = tmp_path_factory.mktemp("lean")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True, timeout=120)
    (wheel,) = folder.glob("headrace-*.whl")
    subprocess.run([sys.executable, "-m", "venv", str(folder / "venv")], check=True, timeout=60)
    python = folder / "venv" / "bin" / "python"
    install = [str(python), "-m", "pip", "install", "-q", "--constraint", str(ROOT / "constraints.txt"), str(wheel)]
    subprocess.run(install, check=True, capture_output=True, timeout=280)
    return python.parent


def call(url: str, method: str = "GET", body: object = None) -> dict[str, object]:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data=data, method=method, headers={"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=20) as answer:
        found: dict[str, object] = json.loads(answer.read() or b"{}")
    return found


@pytest.fixture
def served(lean: Path, model: Path, tmp_path: Path) -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [str(lean / "headrace"), "serve", str(model), "--port", str(port)]
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    process = subprocess.Popen(
        command, cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    base = f"http://127.0.0.1:{port}/v1"
    deadline = time.monotonic() + START_S
    while True:
        try:
            call(f"{base}/health/ready")
            break
        except (urllib.error.URLError, ConnectionError):
            assert process.poll() is None, process.stderr.read() if process.stderr else ""
            assert time.monotonic() < deadline, "the service did not become ready"
            time.sleep(0.2)  # the process tells nobody else when it listens
    yield base
    process.terminate()
    process.communicate(timeout=30)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_wheel_serves_a_model_and_reads_a_new_item_without_pytorch(lean: Path, served: str) -> None:
    code = "import importlib.util as u, sys; sys.exit(any(u.find_spec(m) for m in ('torch', 'transformers')))"
    assert subprocess.run([str(lean / "python"), "-c", code], check=False).returncode == 0
    call(f"{served}/items/brand-new", "PUT", {"title": "A brand new kettle", "categories": ["kitchen"]})
    call(f"{served}/events", "POST", {"user_id": "u", "item_id": "item3", "type": "view"})
    ranked = call(f"{served}/rank", "POST", {"user_id": "u", "item_ids": ["brand-new", "item4"]})
    items = ranked["items"]
    assert isinstance(items, list)
    assert {row["item_id"] for row in items} == {"brand-new", "item4"}
