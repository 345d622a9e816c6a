"""A small shop that serves, and a clock that the test moves."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from headrace.core.settings import ServingSettings, Settings
from headrace.serving.service import Service

START = 1_700_000_000_000_000
SECOND = 1_000_000


class Clock:
    """Gives a time that moves on by a second with every look."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> int:
        self.now += SECOND
        return self.now


Opener = Callable[[], Service]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    serving = ServingSettings(store=f"sqlite:///{tmp_path}/shop.db", models=str(tmp_path / "models"))
    return Settings(serving=serving)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def open_service(settings: Settings, clock: Clock) -> Iterator[Opener]:
    opened: list[Service] = []

    def open_one() -> Service:
        opened.append(Service.open(settings, clock=clock))
        return opened[-1]

    yield open_one
    for service in opened:
        service.close()


@pytest.fixture
def service(open_service: Opener) -> Service:
    return open_service()
