"""Row rules that a request broke, as an error."""

from __future__ import annotations

from collections.abc import Sequence

from headrace.core.errors import DataError
from headrace.data.row_rules import Fault

SHOWN = 20
"""Faults that an error lists."""


class RowFaultsError(DataError):
    """Rows of a list break rules; nothing of the list was stored. `faults` holds the first 20."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        first = faults[0]
        super().__init__(
            f"nothing was stored, {len(faults)} rules were broken; first in entry {first.index}: {first.message}"
        )
        self.faults = list(faults[:SHOWN])
