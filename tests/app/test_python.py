"""`import headrace`: the names, and that the settings in force count there too."""

from __future__ import annotations

from pathlib import Path

import pytest

import headrace
from headrace.core import errors
from headrace.core.settings import Settings
from headrace.pipeline import assessment
from headrace.pipeline.model import Model


def test_every_error_can_be_caught_by_its_name() -> None:
    tree = {name for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, Exception)}
    assert {name for name in headrace.__all__ if name.endswith("Error")} == tree


def test_the_settings_file_counts_in_python_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seen: list[Settings | None] = []
    monkeypatch.setattr(Model, "open", lambda _, *, settings=None: seen.append(settings))
    monkeypatch.setattr(assessment, "evaluate", lambda *_, settings=None: seen.append(settings))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "headrace.toml").write_text('[ranking]\nseen = "include"\n')
    monkeypatch.setenv("HEADRACE_RANKING__CANDIDATES", "7")
    headrace.load("model")
    headrace.evaluate("model", headrace.Dataset(tmp_path, report=None))  # type: ignore[arg-type]  # nothing reads it
    for settings in seen:
        assert settings is not None
        assert (settings.ranking.seen, settings.ranking.candidates) == ("include", 7)
    assert len(seen) == 2


def test_a_misspelt_setting_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(headrace.SettingsError, match="colums"):
        headrace.prepare("events.csv", colums=1)
