"""Addresses: of a service as this machine reaches it, and those that are none."""

from __future__ import annotations

import os
import signal
import threading
import urllib.error
import urllib.request
from contextlib import suppress
from pathlib import Path

import pytest
from litestar import Litestar

from headrace.app.calling import call
from headrace.app.command_line import main
from headrace.app.listening import address_at, address_of, listen, run_until_stopped
from headrace.core.errors import SettingsError


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("127.0.0.1", "http://127.0.0.1:80"),
        ("shop.local", "http://shop.local:80"),
        ("0.0.0.0", "http://127.0.0.1:80"),
        ("::", "http://[::1]:80"),
        ("::1", "http://[::1]:80"),
    ],
)
def test_a_service_is_reached_where_it_listens(host: str, address: str) -> None:
    assert address_at(host, 80) == address


def test_swap_asks_the_service_of_the_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[str] = []

    def request_swap(url: str, model: Path, key: str | None) -> str:
        asked.append(url)
        return "taken"

    monkeypatch.setattr("headrace.app.calling.request_swap", request_swap)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "headrace.toml").write_text('[serving]\nhost = "::"\nport = 9001\n')
    with pytest.raises(SystemExit):
        main(["swap", "model"])
    assert asked == ["http://[::1]:9001"]


@pytest.mark.parametrize("url", ["http://[::1", "http://", "localhost:8000", "http://a b"])
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(SettingsError):
        call("GET", url, None)


def test_what_may_take_minutes_hears_of_the_signal() -> None:
    heard: list[str] = []
    bound = listen("127.0.0.1", 0)
    bound.listen()

    def stop_once_it_answers() -> None:
        with suppress(urllib.error.HTTPError):
            urllib.request.urlopen(address_of(bound), timeout=20)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=stop_once_it_answers).start()
    run_until_stopped(Litestar(), bound, lambda: heard.append("give up"))
    assert heard == ["give up"]
