"""The folders of versions: numbers, the link to the one that serves, and which of them stay."""

from __future__ import annotations

from pathlib import Path

import pytest

from headrace.app.model_versions import ModelVersions
from headrace.core.errors import FormatError
from headrace.core.formats import MODEL_FILE


def write(versions: ModelVersions) -> Path:
    """Write the next version."""
    folder = versions.following()
    folder.mkdir(parents=True)
    (folder / MODEL_FILE).touch()
    return folder


def names(root: Path) -> list[str]:
    return sorted(path.name for path in root.iterdir())


def test_versions_are_counted_and_the_newest_is_the_last_whole_one(tmp_path: Path) -> None:
    versions = ModelVersions(tmp_path / "live")
    assert (versions.newest, versions.taken) == (None, None)
    assert write(versions) == tmp_path / "live" / "00001"
    assert write(versions) == versions.newest == tmp_path / "live" / "00002"
    (tmp_path / "live" / "00007").mkdir()
    assert versions.newest == tmp_path / "live" / "00002"
    assert versions.following().name == "00008"


def test_the_link_leads_to_the_version_that_was_taken_last(tmp_path: Path) -> None:
    versions = ModelVersions(tmp_path)
    for version in (write(versions), write(versions)):
        versions.take(version)
        assert ModelVersions(tmp_path).taken == version
        assert (tmp_path / "current").resolve() == version.resolve()
    assert names(tmp_path) == ["00001", "00002", "current"]


def test_the_last_three_stay_and_the_one_that_serves(tmp_path: Path) -> None:
    versions = ModelVersions(tmp_path)
    versions.take(write(versions))
    for _ in range(4):
        write(versions)
    (tmp_path / "notes").mkdir()
    versions.remove_old()
    assert names(tmp_path) == ["00001", "00003", "00004", "00005", "current", "notes"]


def test_a_link_that_leads_nowhere_is_no_version(tmp_path: Path) -> None:
    versions = ModelVersions(tmp_path)
    (tmp_path / "current").symlink_to("00009")
    assert versions.taken is None


def test_a_model_is_no_folder_of_versions(tmp_path: Path) -> None:
    (tmp_path / MODEL_FILE).touch()
    with pytest.raises(FormatError, match="--from"):
        ModelVersions(tmp_path)
