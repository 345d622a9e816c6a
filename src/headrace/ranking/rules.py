"""What may stand on a list. A new rule is a class here and a line in `standard_rules`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from headrace.core.settings import RankingSettings
from headrace.data.log import Bools, Ints, Longs
from headrace.ranking.catalogue import NO_GROUP, Catalogue
from headrace.ranking.requests import NO_ITEMS, Request

_ANY_TITLES: Longs = np.empty(0, np.int64)


class Rule(Protocol):
    """Says what must not stand on a list: a few items, or all but those of a mask."""

    def forbidden(self, request: Request) -> Ints:
        """Return items that must not be on this request's list; some may be no item of the catalogue."""
        return NO_ITEMS

    def allowed(self, request: Request) -> Bools | None:
        """Return (V + 1,) whether each item may be on this request's list; None allows all."""
        return None


class NotSeen(Rule):
    """Leaves out what the user has met already, where the request says so."""

    def forbidden(self, request: Request) -> Ints:
        return NO_ITEMS if request.seen == "include" else request.history.items


class NotExcluded(Rule):
    """Leaves out what the request excludes."""

    def forbidden(self, request: Request) -> Ints:
        return request.exclude


@dataclass(frozen=True)
class Available(Rule):
    """Leaves out what is sold out or deleted."""

    catalogue: Catalogue

    def allowed(self, request: Request) -> Bools | None:
        return self.catalogue.available


@dataclass(frozen=True)
class InCategory(Rule):
    """Keeps the items of the category asked for."""

    catalogue: Catalogue

    def allowed(self, request: Request) -> Bools | None:
        return None if request.category is None else self.catalogue.in_category(request.category)


@dataclass(frozen=True)
class Rules:
    """All rules of a list.

    Args:
        each: what each forbids.
        distinct_titles: the catalogue whose titles may stand on a list once each; None lets them repeat.
    """

    each: tuple[Rule, ...] = ()
    distinct_titles: Catalogue | None = None

    def forbidden(self, request: Request) -> Ints:
        """Return the items that must not be on this request's list, in any order; `allowed` may leave out others."""
        found = [items for rule in self.each if len(items := rule.forbidden(request))]
        return NO_ITEMS if not found else found[0] if len(found) == 1 else np.concatenate(found)

    def allowed(self, request: Request, catalogue: Catalogue) -> Bools:
        """Return (V + 1,) whether each item of the catalogue may be on this request's list, but for `forbidden`."""
        masks = [mask for rule in self.each if (mask := rule.allowed(request)) is not None]
        if len(masks) == 1:
            return masks[0]
        whole = np.ones(len(catalogue) + 1, np.bool_)
        whole[0] = False
        for mask in masks:
            whole &= mask
        return whole

    def keep(self, request: Request, items: Ints, catalogue: Catalogue) -> Bools:
        """Return (n,) whether each item (n,) may be on this request's list."""
        kept: Bools = self.allowed(request, catalogue)[items] & ~np.isin(items, self.forbidden(request))
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

    @property
    def titles(self) -> Longs:
        """(V + 1,) the number of each item's title, 0 for none; no rows where titles may repeat."""
        return _ANY_TITLES if self.distinct_titles is None else self.distinct_titles.groups


def standard_rules(catalogue: Catalogue, settings: RankingSettings) -> Rules:
    """Return the rules of the service and of every evaluation.

    Args:
        catalogue: read at each request, so that a sold-out item leaves the lists at once.
        settings: whether titles must be distinct.
    """
    each: tuple[Rule, ...] = (NotSeen(), NotExcluded(), Available(catalogue), InCategory(catalogue))
    return Rules(each, catalogue if settings.distinct_titles else None)
