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
        first, n = faults[0], len(faults)
        broken = "1 rule is broken" if n == 1 else f"{n} rules are broken"
        where = f"entry {first.index}, {first.field or 'as a whole'}"
        super().__init__(f"{broken} and nothing was done; first in {where}: {first.message}")
        self.faults = list(faults[:SHOWN])
