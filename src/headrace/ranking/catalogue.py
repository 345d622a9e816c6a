"""The items as the rules see them: a growable index space 1..n with titles, categories and availability.

Built once from a dataset for an evaluation; the service adds and changes items while it runs. An index is never
given to another item, so that counts and vectors stay valid.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain

import numpy as np
import polars as pl

from headrace.data.item_ids import ItemIds
from headrace.data.log import Bools, Longs

NO_GROUP = 0
_AT_ONCE = 100_000
"""Items of a frame that are turned into Python objects together."""
_ROOM = 64


class Catalogue:
    """Item ids and their indices 1..n, and per item: availability, title group and categories.

    An item takes 13 bytes beside its id: most share their categories with many others, and these stand once.
    """

    def __init__(self, ids: ItemIds | None = None) -> None:
        """Begin empty.

        Args:
            ids: the ids of items, those to come too, where somebody else keeps them.
        """
        self._ids = ItemIds() if ids is None else ids
        self._size = 0
        self._available = np.zeros(1, np.bool_)
        self._groups = np.zeros(1, np.int64)
        self._filed = np.zeros(1, np.int32)
        self._categories: list[tuple[str, ...]] = [()]
        self._place_of: dict[tuple[str, ...], int] = {(): 0}
        self._places_with: dict[str, list[int]] = {}
        self._masks: dict[str, Bools] = {}

    @classmethod
    def of_ids(cls, ids: Iterable[str]) -> Catalogue:
        """Make a catalogue of distinct ids without titles or categories, all available; id i gets index i + 1."""
        catalogue = cls(ItemIds(ids))
        catalogue._grow(len(catalogue._ids))
        return catalogue

    @classmethod
    def of_items(cls, items: pl.DataFrame, ids: ItemIds | None = None) -> Catalogue:
        """Make a catalogue of a dataset's items; row i gets index i + 1.

        Args:
            items: distinct `item_id`, and where present `title`, `categories` (lists of text) and `available`; null
                means no title, no categories, available.
            ids: theirs, where somebody else keeps them.
        """
        parts = (part["item_id"].to_list() for part in items.iter_slices(_AT_ONCE))
        catalogue = cls(ItemIds(chain.from_iterable(parts)) if ids is None else ids)
        for part in items.iter_slices(_AT_ONCE):
            nothing: list[None] = [None] * part.height
            columns = ("title", "categories", "available")
            titles, categories, available = (
                part[name].to_list() if name in part.columns else nothing for name in columns
            )
            catalogue.extend(titles, [tuple(each or ()) for each in categories], available)
        return catalogue

    def __len__(self) -> int:
        return self._size

    @property
    def ids(self) -> ItemIds:
        """The ids; there may be some already of items that the catalogue does not hold yet."""
        return self._ids

    @property
    def available(self) -> Bools:
        """(n + 1,) whether each item may be listed; place 0 is False. A view: do not change it."""
        return self._available[: len(self) + 1]

    @property
    def groups(self) -> Longs:
        """(n + 1,) a number for each title, 0 for items without one; items of one title share it. A view.

        It is the title's hash, of 64 bits: for two titles of a list of a thousand to share it, a list in 10^13 is made.
        """
        return self._groups[: len(self) + 1]

    def index(self, item_id: str) -> int:
        """Return the index of an id, 0 where the catalogue lacks it."""
        index = self._ids.index(item_id)
        return index if index <= self._size else 0

    def id(self, index: int) -> str:
        """Return the id of an index 1..n."""
        return self._ids.id(index)

    def categories(self, index: int) -> tuple[str, ...]:
        """Return the categories of an item."""
        return self._categories[int(self._filed[index])]

    def mention(self, item_id: str) -> int:
        """Return the index of an id; an unknown one is added, without title or category, available."""
        index = self._ids.index(item_id) or self._ids.append(item_id)
        self._grow(index)
        return index

    def extend(
        self,
        titles: Sequence[str | None],
        categories: Sequence[tuple[str, ...]],
        available: Sequence[bool | int | None],
    ) -> None:
        """Add the items of the next ids, and what is known of them; None is no title, and available."""
        some = slice(self._size + 1, self._size + 1 + len(titles))
        self._grow(self._size + len(titles))
        self._groups[some] = [_group(title) for title in titles]
        self._filed[some] = [self._place(each) for each in categories]
        self._available[some] = [each is None or bool(each) for each in available]

    def put(
        self, item_id: str, *, title: str | None = None, categories: Sequence[str] = (), available: bool = True
    ) -> int:
        """Add an item or replace all that is known of it; return its index."""
        index = self.mention(item_id)
        self._available[index] = available
        self._groups[index] = _group(title)
        self._file_under(index, tuple(categories))
        return index

    def set_available(self, index: int, available: bool) -> None:
        """Take an item off all lists, or put it back."""
        self._available[index] = available

    def remove(self, index: int) -> None:
        """Forget an item's title and categories and take it off all lists; its index stays, for the histories."""
        self._available[index] = False
        self._groups[index] = NO_GROUP
        self._file_under(index, ())

    def in_category(self, category: str) -> Bools:
        """Return (n + 1,) whether each item is of a category; all False for an unknown one. Do not change it."""
        mask = self._masks.get(category)
        if mask is None or len(mask) != self._size + 1:
            holds = np.zeros(len(self._categories), np.bool_)
            holds[self._places_with.get(category, [])] = True
            mask = holds[self._filed[: self._size + 1]]
            if category in self._places_with:  # unknown names would fill the memory of a service
                self._masks[category] = mask
        return mask

    def _grow(self, size: int) -> None:
        """Make room for items up to index `size`, and let them be available."""
        if size >= len(self._available):
            more = max(size + 1, len(self._available) * 9 // 8 + _ROOM) - len(self._available)
            self._available = np.concatenate((self._available, np.zeros(more, np.bool_)))
            self._groups = np.concatenate((self._groups, np.zeros(more, np.int64)))
            self._filed = np.concatenate((self._filed, np.zeros(more, np.int32)))
        self._available[self._size + 1 : size + 1] = True
        self._size = max(self._size, size)

    def _file_under(self, index: int, categories: tuple[str, ...]) -> None:
        for category in (*self.categories(index), *categories):
            self._masks.pop(category, None)
        self._filed[index] = self._place(categories)

    def _place(self, categories: tuple[str, ...]) -> int:
        """Return where categories stand among all that items have together."""
        place = self._place_of.get(categories)
        if place is None:
            place = self._place_of[categories] = len(self._categories)
            self._categories.append(categories)
            for category in dict.fromkeys(categories):
                self._places_with.setdefault(category, []).append(place)
        return place


def _group(title: str | None) -> int:
    key = " ".join((title or "").casefold().split())
    return (hash(key) or 1) if key else NO_GROUP
