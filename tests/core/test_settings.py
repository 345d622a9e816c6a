"""Settings come from four places, and a mistake in any of them is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from headrace.core.errors import SettingsError
from headrace.core.settings import explain_settings, load_settings


def test_a_flag_beats_the_environment_beats_the_file_beats_the_default(tmp_path: Path) -> None:
    file = tmp_path / "headrace.toml"
    file.write_text("[serving]\nport = 1\nqueue = 10\nbatch = 7\n")
    environment = {"HEADRACE_SERVING__PORT": "2", "HEADRACE_SERVING__QUEUE": "20"}
    settings = load_settings(file, flags={"serving.port": 3}, environment=environment)
    assert (settings.serving.port, settings.serving.queue, settings.serving.batch) == (3, 20, 7)
    origins = {
        row.name: row.where for row in explain_settings(file, flags={"serving.port": 3}, environment=environment)
    }
    assert [origins[f"serving.{name}"] for name in ("port", "queue", "batch", "host")] == [
        "flag",
        "environment",
        "file",
        "default",
    ]


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("[training]\nlearning_rat = 1\n", "unknown field `learning_rat` - at `$.training`"),
        ("[serving]\nport = 70000\n", "at `$.serving.port`"),
        ("[serving]\nport = '80'\n", "at `$.serving.port`"),
        ("[servng]\nport = 80\n", "unknown field `servng`"),
        ("port = 80\n", "must stand inside a section"),
        ("[serving\n", "not valid TOML"),
    ],
)
def test_a_mistake_in_the_file_is_named(tmp_path: Path, text: str, part: str) -> None:
    file = tmp_path / "headrace.toml"
    file.write_text(text)
    with pytest.raises(SettingsError, match=r"headrace\.toml") as caught:
        load_settings(file)
    assert part in str(caught.value)


def test_an_unknown_environment_variable_is_an_error_and_the_api_key_is_not() -> None:
    assert load_settings(environment={"HEADRACE_API_KEY": "secret"}) == load_settings()
    with pytest.raises(SettingsError, match="the environment"):
        load_settings(environment={"HEADRACE_SERVING__PROT": "80"})


def test_a_named_file_must_exist(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="must exist"):
        load_settings(tmp_path / "none.toml")


def test_several_values_of_the_environment_are_separated_by_commas() -> None:
    found = load_settings(environment={"HEADRACE_SERVING__CORS_ORIGINS": "https://a.example, https://b.example"})
    assert found.serving.cors_origins == ("https://a.example", "https://b.example")


def test_a_time_is_finite() -> None:
    with pytest.raises(SettingsError, match=r"minutes"):
        load_settings(flags={"training.minutes": float("inf")})
