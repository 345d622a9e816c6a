"""The documents are code: their commands run as written, their links lead somewhere, generated pages are fresh."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("benchmarks/*.md")])
MINUTE_S = 60


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def run_page(page: Path, folder: Path, timeout_s: int, before: str = "") -> str:
    """Run the bash blocks of a page as one script in `folder`; only the port is changed, to a free one."""
    script = "\n".join(["set -euo pipefail", before, *blocks(page, "bash")]).replace("8000", str(free_port()))
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {"PATH": path, "HOME": str(folder), "MINUTES": "0.2", "LANG": "C.UTF-8"}
    process = subprocess.Popen(
        ["bash", "-c", script],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=timeout_s)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 0, output[-6000:]
    return output


@pytest.mark.slow
@pytest.mark.timeout(15 * MINUTE_S)
def test_the_start_page_runs_as_written(tmp_path: Path) -> None:
    output = run_page(ROOT / "docs" / "start.md", tmp_path, 15 * MINUTE_S)
    assert "events_seen" in output


@pytest.mark.slow
@pytest.mark.timeout(10 * MINUTE_S)
def test_the_commands_of_the_production_guide_run(tmp_path: Path) -> None:
    shop = (
        "mkdir -p nightly && python -m headrace.data.shop_files --users 1500 --out . "
        "&& headrace prepare events.csv --items items.csv --out nightly/dataset"
    )
    output = run_page(ROOT / "docs" / "guides" / "production.md", tmp_path, 10 * MINUTE_S, before=shop)
    assert (tmp_path / "models" / "current").exists(), output[-3000:]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    local = [target for target in targets if "://" not in target and not target.startswith("mailto:")]
    assert [target for target in local if not (page.parent / target).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_python_blocks_compile(page: Path) -> None:
    for block in blocks(page, "python"):
        compile(block, str(page), "exec")


def test_the_reference_is_fresh(tmp_path: Path) -> None:
    subprocess.run([sys.executable, str(ROOT / "docs" / "make_reference.py"), str(tmp_path)], check=True, timeout=120)
    fresh = {path.name: path.read_text(encoding="utf-8") for path in tmp_path.glob("*.md")}
    stored = {path.name: path.read_text(encoding="utf-8") for path in (ROOT / "docs" / "reference").glob("*.md")}
    assert fresh == stored, "run `python docs/make_reference.py`"
