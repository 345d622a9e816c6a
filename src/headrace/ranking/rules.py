"""What may stand on a list. A new rule is a class here and a line in `standard_rules`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from headrace.core.settings import RankingSettings
from headrace.data.log import Bools, Ints
from headrace.ranking.catalogue import NO_GROUP, Catalogue
from headrace.ranking.requests import Request


class Rule(Protocol):
    """Forbids items, each by itself."""

    def keep(self, request: Request, items: Ints) -> Bools:
        """Return (n,) whether each item (n,) may be on this request's list."""
        ...


class NotSeen:
    """Leaves out what the user has met already, where the request says so."""

    def keep(self, request: Request, items: Ints) -> Bools:
        if request.seen == "include":
            return np.ones(len(items), np.bool_)
        return ~np.isin(items, request.history.items)


class NotExcluded:
    """Leaves out what the request excludes."""

    def keep(self, request: Request, items: Ints) -> Bools:
        if not len(request.exclude):
            return np.ones(len(items), np.bool_)
        return ~np.isin(items, request.exclude)


class OnlyAsked:
    """Keeps the items that the request names, where it names any."""

    def keep(self, request: Request, items: Ints) -> Bools:
        return np.ones(len(items), np.bool_) if request.only is None else np.isin(items, request.only)


@dataclass(frozen=True)
class Available:
    """Leaves out what is sold out or deleted."""

    catalogue: Catalogue

    def keep(self, request: Request, items: Ints) -> Bools:
        return self.catalogue.available[items]


@dataclass(frozen=True)
class InCategory:
    """Keeps the items of the category asked for."""

    catalogue: Catalogue

    def keep(self, request: Request, items: Ints) -> Bools:
        if request.category is None:
            return np.ones(len(items), np.bool_)
        return self.catalogue.in_category(request.category)[items]


@dataclass(frozen=True)
class Rules:
    """All rules of a list.

    Args:
        each: forbid items one by one.
        distinct_titles: the catalogue whose titles may stand on a list once each; None lets them repeat.
    """

    each: tuple[Rule, ...] = ()
    distinct_titles: Catalogue | None = None

    def keep(self, request: Request, items: Ints) -> Bools:
        """Return (n,) whether each item (n,) may be on this request's list."""
        kept = np.ones(len(items), np.bool_)
        for rule in self.each:
            kept &= rule.keep(request, items)
        return kept

    def take(self, items: Ints, k: int) -> Ints:
        """Return the places (at most k,) of the first items of the list that may stand together.

        Args:
            items: (n,) that pass `keep`, best first.
            k: how many at most.
        """
        if self.distinct_titles is None:
            return np.arange(min(k, len(items)), dtype=np.int32)
        groups = self.distinct_titles.groups[items]
        _, first = np.unique(groups, return_index=True)
        alone = groups == NO_GROUP
        alone[first] = True
        return np.flatnonzero(alone)[:k].astype(np.int32)


def standard_rules(catalogue: Catalogue, settings: RankingSettings) -> Rules:
    """Return the rules of the service and of every evaluation.

    Args:
        catalogue: read at each request, so that a sold-out item leaves the lists at once.
        settings: whether titles must be distinct.
    """
    each: tuple[Rule, ...] = (NotSeen(), NotExcluded(), OnlyAsked(), Available(catalogue), InCategory(catalogue))
    return Rules(each, catalogue if settings.distinct_titles else None)
