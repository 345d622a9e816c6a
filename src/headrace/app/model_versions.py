"""The folders in which `headrace train --follow` keeps its versions: `00001`, `00002` ..., and `current`, a link.

`current` leads to the version that the service took last, for its next start: `headrace serve OUT/current`.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from headrace.core.errors import FormatError
from headrace.core.files import replacing
from headrace.core.formats import MODEL_FILE

_KEPT = 3
"""Versions that stay on the disk, and the one that serves where it is older."""
_DIGITS = 5


class ModelVersions:
    """The versions below one folder; all is read from the disk each time, so that a restart goes on."""

    def __init__(self, root: Path) -> None:
        """Name the folder; it need not exist yet.

        Raises:
            FormatError: the folder is itself a model.
        """
        if (root / MODEL_FILE).exists():
            raise FormatError(
                f"with --follow, --out must be a folder of versions, {root} is a model; name another folder, and begin "
                f"with this model by --from {root}"
            )
        self.root = root
        self._link = root / "current"

    @property
    def newest(self) -> Path | None:
        """The version that was trained last; None before the first."""
        whole = self._whole()
        return whole[-1] if whole else None

    @property
    def taken(self) -> Path | None:
        """The version that the service took last; None before the first, or where it is gone."""
        if not self._link.is_symlink() or not (self._link / MODEL_FILE).exists():
            return None
        return self.root / self._link.readlink()

    def following(self) -> Path:
        """Return the folder of the next version, which does not exist; a number is never used again while it stands."""
        numbers = [int(path.name) for path in self._numbered()]
        return self.root / f"{max(numbers, default=0) + 1:0{_DIGITS}}"

    def take(self, version: Path) -> None:
        """Remember that the service took this version."""
        with replacing(self._link) as temporary:
            temporary.symlink_to(version.name)

    def remove_old(self) -> None:
        """Remove all but the newest few and the one that was taken last."""
        for version in self._whole()[:-_KEPT]:
            if version != self.taken:
                shutil.rmtree(version)

    def _whole(self) -> list[Path]:
        return [path for path in self._numbered() if (path / MODEL_FILE).exists()]

    def _numbered(self) -> list[Path]:
        """Return what bears a number as its name, the lowest first."""
        found = self.root.glob("[0-9]*")
        return sorted((path for path in found if path.name.isdecimal()), key=lambda path: int(path.name))
