"""Training batches: histories packed into one stream without padding, and what each place must predict.

A place t is asked at the time of the event that follows it. Events of one moment form a basket, a set without order:
the last place of a basket must predict *every* item of the next basket, from a history that is strictly earlier, just
as evaluation asks; a place inside a basket predicts the next item of the same basket, asked at that same moment, with a
smaller weight (what goes together is worth knowing, but no list is asked for it). A basket's order is drawn anew each
epoch. With `ties="file"` the order of the file is believed and each place predicts the next event.

Shapes: N events of a batch, P pairs of a place and a target, U' users that begin in the batch.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from headrace.core.formats import Shape, Ties
from headrace.data.log import Bools, EventLog, Floats, Ints, Longs, ranges

SAME_BASKET_WEIGHT = 0.3
START_PLACE = -1
"""The query of a pair that asks what a new user does first."""
LEAST_EVENTS = 512
"""Of a part of a batch: smaller products do not keep a core busy."""


@dataclass(frozen=True)
class Batch:
    """One step's events and targets.

    Args:
        events: of the log that it teaches, each once an epoch.
        items: (N,) item indices of the events that are read.
        types: (N,) type indices.
        values: (N,) 0..1, -1 for none.
        times: (N,) int64 microseconds.
        segments: (N,) int64 ascending number of the history within the batch.
        requests: (N,) int64, the time of the event that follows; -1 where nothing follows.
        hideable: (N,) bool, whether the request's time may be hidden from the place.
        pair_places: (P,) int64 ascending places; -1 asks for a new user's first event.
        pair_items: (P,) the targets.
        pair_weights: (P,) float32.
        pair_targets: (P,) the place of the target's event; -1 where that is not read, and for a first event.
    """

    events: int
    items: Ints
    types: Ints
    values: Floats
    times: Longs
    segments: Longs
    requests: Longs
    hideable: Bools
    pair_places: Longs
    pair_items: Ints
    pair_weights: Floats
    pair_targets: Longs

    def parts(self, most: int) -> list[Batch]:
        """Return it as batches of whole histories, at most `most` and about as large, none of under `LEAST_EVENTS`."""
        size = len(self.items)
        count = min(most, size // LEAST_EVENTS)
        if count < 2:
            return [self]
        middles = self.segments[np.arange(1, count) * size // count]
        bounds = np.unique([0, *np.searchsorted(self.segments, middles), size]).tolist()
        return [self._part(start, end) for start, end in pairwise(bounds)]

    def _part(self, start: int, end: int) -> Batch:
        read = slice(start, end)
        # What new users do first is asked for in the first part.
        asked = slice(*np.searchsorted(self.pair_places, [start or START_PLACE, end]).tolist())
        places, targets = self.pair_places[asked], self.pair_targets[asked]
        return Batch(
            events=self.events * (end - start) // len(self.items),
            items=self.items[read],
            types=self.types[read],
            values=self.values[read],
            times=self.times[read],
            segments=self.segments[read] - self.segments[start],
            requests=self.requests[read],
            hideable=self.hideable[read],
            pair_places=np.where(places < 0, places, places - start),
            pair_items=self.pair_items[asked],
            pair_weights=self.pair_weights[asked],
            pair_targets=np.where(targets < 0, targets, targets - start),
        )


class Sequences:
    """A log cut into chunks, from which each epoch packs its batches; the same seed and epoch give the same batches."""

    def __init__(
        self,
        log: EventLog,
        unit_values: Floats,
        *,
        shape: Shape,
        batch_events: int,
        ties: Ties,
        targets: Bools | None = None,
    ) -> None:
        """Prepare the chunks.

        Args:
            log: events to learn from, canonical order.
            unit_values: (N,) values as the encoder reads them, 0..1, -1 for none.
            shape: of the network.
            batch_events: events in a batch, at most, but for one long history's overlap.
            ties: whether events of one moment have an order.
            targets: (N,) the events that are predicted; None for all.
        """
        self.log = log
        self.values = unit_values
        self.window = shape.window
        self.batch_events = batch_events
        self.ties = ties
        overlap = shape.reach - 1
        users, first = np.unique(log.users, return_index=True)
        self._starts = first.astype(np.int64)
        self._ends = np.append(first[1:], len(log)).astype(np.int64)
        self._basket = _baskets(log)
        self.has_baskets = ties == "hash" and len(log) > 0 and int(self._basket[-1]) + 1 < len(log)
        alike = np.diff(self._basket) == 0
        self._shared = np.flatnonzero(np.append(alike, False) | np.append(False, alike)).astype(np.int32)
        self._chunks = _chunks(self._starts, self._ends, overlap, max(batch_events, 2 * overlap))
        sizes = self._chunks[:, 1] - self._chunks[:, 0]
        self.steps_per_epoch = max(1, round(float(sizes.sum()) / batch_events))
        self._targets = targets
        pairs = len(log) - len(users) if self.has_baskets else len(log)
        share = 1.0 if targets is None or not len(log) else float(targets.mean())
        self.pairs_per_batch = max(1.0, pairs * share / self.steps_per_epoch)

    def epoch(self, number: int, seed: int, first: int = 0) -> Iterator[Batch]:
        """Yield the batches of an epoch, from batch `first` on."""
        generator = np.random.default_rng([seed, number, 17])
        order = self._order(generator)
        # The last event of a history is a target and nothing more: no place reads it that has a target.
        ends = self._chunks[:, 1]
        stops = ends - (self._target_ends(ends - 1) == ends)
        for rows in self._plan(generator)[first:]:
            yield self._batch(rows, stops[rows], order)

    def walk(self) -> Iterator[tuple[Batch, Longs, Bools]]:
        """Yield every event once, in the log's order: a batch, the log's place of each event, and whether to read it.

        Events of a chunk's overlap come again as context and are not to be read.
        """
        order = np.arange(len(self.log), dtype=np.int32)
        sizes = self._chunks[:, 1] - self._chunks[:, 0]
        number = np.cumsum(sizes) // self.batch_events
        for rows in np.split(np.arange(len(sizes)), np.flatnonzero(np.diff(number)) + 1):
            chunks = self._chunks[rows]
            places = ranges(chunks[:, 0], chunks[:, 1])
            owned = places >= np.repeat(chunks[:, 2], chunks[:, 1] - chunks[:, 0])
            yield self._batch(rows, chunks[:, 1], order), places, owned

    def _order(self, generator: np.random.Generator) -> Ints:
        """Return (all events,) the place in the log of each event, baskets shuffled."""
        order = np.arange(len(self.log), dtype=np.int32)
        if self.has_baskets:
            keys = self._basket[self._shared] + generator.random(len(self._shared))
            order[self._shared] = self._shared[np.argsort(keys)]
        return order

    def _target_ends(self, places: Longs) -> Longs:
        """Return for places t of the log the end of their targets, which begin at t + 1; t + 1 where one has none."""
        following = np.minimum(places + 1, len(self.log) - 1)
        last = (following == places) | (self.log.users[following] != self.log.users[places])
        ends = places + 2
        if self.has_baskets:
            next_basket = np.searchsorted(self._basket, self._basket[following], side="right")
            ends = np.where(self._basket[following] == self._basket[places], ends, next_basket)
        return np.where(last, places + 1, ends)

    def _plan(self, generator: np.random.Generator) -> list[Longs]:
        """Share the chunks out to batches at random, about as many events to each."""
        rows = generator.permutation(len(self._chunks))
        ends = np.cumsum((self._chunks[:, 1] - self._chunks[:, 0])[rows])
        number = np.minimum((ends - 1) * self.steps_per_epoch // ends[-1], self.steps_per_epoch - 1)
        return np.split(rows, np.flatnonzero(np.diff(number)) + 1)

    def _batch(self, rows: Longs, stops: Longs, order: Ints) -> Batch:
        """Return the batch that reads each of these chunks from its start to its stop."""
        starts, ends, owned = self._chunks[rows].T
        sizes = stops - starts
        places = ranges(starts, stops)
        events = order[places]
        mine = places >= np.repeat(owned, sizes)
        following = np.minimum(places + 1, len(self.log) - 1)
        target_ends = self._target_ends(places)
        counts = np.where(mine, target_ends - places - 1, 0)
        requests = np.where(target_ends > places + 1, self.log.times[order[following]], -1)
        inside = self._basket[following] == self._basket[places] if self.has_baskets else np.zeros(len(places), bool)
        pair_places = np.repeat(np.arange(len(places)), counts)
        targets = ranges(places + 1, places + 1 + counts)
        read = targets < np.repeat(stops, sizes)[pair_places]
        weights = np.where(inside, SAME_BASKET_WEIGHT, 1.0)[pair_places]
        firsts = self._first_baskets(starts[rows < len(self._starts)], order)
        asked = np.concatenate([firsts, order[targets]])
        told = slice(None) if self._targets is None else self._targets[asked]
        return Batch(
            events=int((ends - owned).sum()),
            items=self.log.items[events],
            types=self.log.types[events],
            values=self.values[events],
            times=self.log.times[events],
            segments=np.repeat(np.arange(len(rows)), sizes),
            requests=requests,
            hideable=~inside,
            pair_places=np.concatenate([np.full(len(firsts), START_PLACE), pair_places])[told].astype(np.int64),
            pair_items=self.log.items[asked[told]],
            pair_weights=np.concatenate([np.ones(len(firsts)), weights])[told].astype(np.float32),
            pair_targets=np.concatenate(
                [np.full(len(firsts), -1), np.where(read, pair_places + targets - places[pair_places], -1)]
            )[told],
        )

    def _first_baskets(self, starts: Longs, order: Ints) -> Ints:
        """Return the places of the events with which the histories that begin at `starts` begin."""
        if not self.has_baskets:
            return order[starts]
        ends = np.searchsorted(self._basket, self._basket[starts], side="right")
        return order[ranges(starts, ends)]


def _baskets(log: EventLog) -> Ints:
    """Number the moments: events of one user at one time share a number; ascending along the log."""
    if len(log) == 0:
        return np.empty(0, np.int32)
    changes = np.concatenate([[False], (np.diff(log.users) != 0) | (np.diff(log.times) != 0)])
    return np.cumsum(changes, dtype=np.int32)


def _chunks(starts: Longs, ends: Longs, overlap: int, longest: int) -> Longs:
    """Cut histories longer than `longest` into chunks (start, end, first place with a loss) that overlap.

    First those with which the histories begin, in their order.
    """
    begins = np.stack([starts, np.minimum(ends, starts + longest), starts], axis=1)
    rows = []
    long = np.flatnonzero(ends - starts > longest)
    for start, end in zip(starts[long].tolist(), ends[long].tolist(), strict=True):
        done = start + longest
        while done < end:
            stop = min(end, done + longest - overlap)
            rows.append((done - overlap, stop, done))
            done = stop
    return np.concatenate([begins, np.array(rows, dtype=np.int64).reshape(-1, 3)])
