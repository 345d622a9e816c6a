"""The search over the catalogue: which items hold every word, and how well their titles name what is looked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import ColumnElement, and_, case, func, or_, select

from headrace.core.types import Item
from headrace.data.log import Longs
from headrace.serving.schema import LISTED, items
from headrace.serving.store import Store, read_item

Tiers: TypeAlias = NDArray[np.int8]

_LETTERS = "a-z0-9"
_TITLE_WORD, _TITLE_PART, _ELSEWHERE = 0, 1, 2


def find_items(store: Store, words: Sequence[str]) -> tuple[Longs, Tiers]:
    """Return (n,) the keys of available items whose title, text or categories hold every word, and their tiers.

    Tiers: 0 where every word is a word of the title, 1 where every word begins one, 2 elsewhere. Upper and lower case
    are one, but for letters beyond ASCII within a word of mixed case.
    """
    fields = [func.coalesce(field, "") for field in (items.c.title, items.c.text, items.c.categories)]
    everything = fields[0] + " " + fields[1] + " " + fields[2]
    title = func.lower(" " + fields[0] + " ")
    tier = case(
        (and_(True, *(_stands(title, word, f"[^{_LETTERS}]") for word in words)), _TITLE_WORD),
        (and_(True, *(_stands(title, word, "") for word in words)), _TITLE_PART),
        else_=_ELSEWHERE,
    )
    query = select(items.c.key, tier).where(items.c.state == LISTED, items.c.available)
    query = query.where(*(_holds(everything, word) for word in words))
    with store.engine.connect() as connection:
        rows = np.array([tuple(row) for row in connection.execute(query.order_by(items.c.key))], np.int64)
    keys, tiers = rows.reshape(-1, 2).T
    return keys, tiers.astype(np.int8)


def items_of(store: Store, keys: Sequence[int]) -> list[Item]:
    """Return items by their keys, in that order."""
    with store.engine.connect() as connection:
        rows = connection.execute(select(items).where(items.c.key.in_(keys)))
        found = {row.key: read_item(row).item for row in rows}
    return [found[key] for key in keys if key in found]


def _holds(text: ColumnElement[str], word: str) -> ColumnElement[bool]:
    """Whether a word stands anywhere in a text; SQLite knows upper and lower case of ASCII letters only."""
    cases = [word] if word.isascii() else [word, word.lower(), word.upper(), word.capitalize()]
    escaped = [one.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") for one in cases]
    return or_(*(text.like(f"%{one}%", escape="\\") for one in escaped))


def _stands(text: ColumnElement[str], word: str, end: str) -> ColumnElement[bool]:
    """Whether a word begins behind something that is no letter, and ends before `end`."""
    literal = "".join(f"[{letter}]" if letter in "*?[" else letter for letter in word.lower())
    return text.op("GLOB")(f"*[^{_LETTERS}]{literal}{end}*")
