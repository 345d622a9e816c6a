"""The items as the rules see them: a growable index space 1..n with titles, categories and availability.

Built once from a dataset for an evaluation; the service adds and changes items while it runs. An index is never
given to another item, so that counts and vectors stay valid.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import polars as pl

from headrace.data.log import Bools, Ints

NO_GROUP = 0


class Catalogue:
    """Item ids and their indices 1..n, and per item: availability, title group and categories."""

    def __init__(self) -> None:
        self._ids: list[str] = []
        self._index: dict[str, int] = {}
        self._available = np.zeros(1, np.bool_)
        self._groups = np.zeros(1, np.int32)
        self._group_of_title: dict[str, int] = {}
        self._members: dict[str, set[int]] = {}
        self._categories: dict[int, tuple[str, ...]] = {}
        self._masks: dict[str, Bools] = {}

    @classmethod
    def of_ids(cls, ids: Iterable[str]) -> Catalogue:
        """Make a catalogue of distinct ids without titles or categories, all available; id i gets index i + 1."""
        catalogue = cls()
        catalogue._append(list(ids))
        return catalogue

    @classmethod
    def of_items(cls, items: pl.DataFrame) -> Catalogue:
        """Make a catalogue of a dataset's items; row i gets index i + 1.

        Args:
            items: distinct `item_id`, and where present `title`, `categories` (lists of text) and `available`; null
                means no title, no categories, available.
        """
        catalogue = cls.of_ids(items["item_id"].to_list())
        if "available" in items.columns:
            catalogue._available[1 : len(catalogue) + 1] = items["available"].fill_null(True).to_numpy()
        if "title" in items.columns:
            for index, title in enumerate(items["title"].to_list(), start=1):
                catalogue._groups[index] = catalogue._group(title)
        if "categories" in items.columns:
            for index, categories in enumerate(items["categories"].to_list(), start=1):
                catalogue._file_under(index, tuple(categories or ()))
        return catalogue

    def __len__(self) -> int:
        return len(self._ids)

    @property
    def ids(self) -> Sequence[str]:
        """The ids in index order: `ids[i]` has index i + 1. Do not change it."""
        return self._ids

    @property
    def available(self) -> Bools:
        """(n + 1,) whether each item may be listed; place 0 is False. A view: do not change it."""
        return self._available[: len(self) + 1]

    @property
    def groups(self) -> Ints:
        """(n + 1,) a number for each title, 0 for items without one; items of one title share it. A view."""
        return self._groups[: len(self) + 1]

    def index(self, item_id: str) -> int:
        """Return the index of an id, 0 where the catalogue lacks it."""
        return self._index.get(item_id, 0)

    def id(self, index: int) -> str:
        """Return the id of an index 1..n."""
        assert index >= 1, "index 0 stands for no item"
        return self._ids[index - 1]

    def categories(self, index: int) -> tuple[str, ...]:
        """Return the categories of an item."""
        return self._categories.get(index, ())

    def mention(self, item_id: str) -> int:
        """Return the index of an id; an unknown one is added, without title or category, available."""
        return self._index.get(item_id) or self._append([item_id])

    def put(
        self, item_id: str, *, title: str | None = None, categories: Sequence[str] = (), available: bool = True
    ) -> int:
        """Add an item or replace all that is known of it; return its index."""
        index = self.mention(item_id)
        self._available[index] = available
        self._groups[index] = self._group(title)
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
        if mask is None or len(mask) != len(self) + 1:
            mask = np.zeros(len(self) + 1, np.bool_)
            mask[list(self._members.get(category, ()))] = True
            if category in self._members:  # unknown names would fill the memory of a service
                self._masks[category] = mask
        return mask

    def _append(self, ids: Sequence[str]) -> int:
        first = len(self._ids) + 1
        last = first + len(ids) - 1
        if last >= len(self._available):
            size = max(64, last + 1, len(self._available) * 2)
            self._available = np.concatenate((self._available, np.zeros(size - len(self._available), np.bool_)))
            self._groups = np.concatenate((self._groups, np.zeros(size - len(self._groups), np.int32)))
        self._ids.extend(ids)
        self._index.update(zip(ids, range(first, last + 1), strict=True))
        assert len(self._index) == len(self._ids), "ids must be distinct"
        self._available[first : last + 1] = True
        return last

    def _group(self, title: str | None) -> int:
        key = " ".join((title or "").casefold().split())
        return self._group_of_title.setdefault(key, len(self._group_of_title) + 1) if key else NO_GROUP

    def _file_under(self, index: int, categories: tuple[str, ...]) -> None:
        for category in self._categories.pop(index, ()):
            self._members[category].discard(index)
            self._masks.pop(category, None)
        for category in categories:
            self._members.setdefault(category, set()).add(index)
            self._masks.pop(category, None)
        if categories:
            self._categories[index] = categories
