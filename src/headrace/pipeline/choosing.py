"""Choices between the cuts: how good the encoder is so far, and the blend of it with the counts.

Shapes: V items, B questions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import msgspec
import numpy as np

from headrace.core.formats import SHORT_HISTORY, Blend
from headrace.core.settings import RankingSettings
from headrace.core.types import Seen
from headrace.data.log import Bools, EventLog, Floats, ranges
from headrace.pipeline.stages import Question
from headrace.ranking.behaviour import Behaviour
from headrace.ranking.blending import LEAST_SAMPLES, Sample, blend_ndcg, collect, fit_blend, fit_still
from headrace.ranking.catalogue import Catalogue
from headrace.ranking.network import ItemVectors, Network
from headrace.ranking.requests import Request
from headrace.ranking.rules import standard_rules
from headrace.ranking.sources import CHUNK_FLOATS, Encoder, Sources

_AT_ONCE = 128
_CUTOFF = 10
_ENOUGH_SHORT = 100
_CUT_QUESTIONS = 700
_DAY_US = 86_400_000_000
_USUAL = 0.99
"""Of the silences before the questions of a live log; counts are still after a longer one, and after a day at least."""
_RESTING_EACH = 2
"""Every second question is asked again of counts that rest at the first cut."""
DEFAULT_BLEND = Blend(encoder=1.0, counts=1.0, popularity=0.0)


def encoder_ndcg(network: Network, vectors: ItemVectors, asked: Sequence[Question], seen: Seen) -> float | None:
    """Return NDCG@10 of the encoder alone over the whole catalogue, the mean over targets; None without questions."""
    total, targets = 0.0, 0
    step = max(1, min(_AT_ONCE, CHUNK_FLOATS // len(vectors)))
    for start in range(0, len(asked), step):
        group = asked[start : start + step]
        users = network.users([q.history for q in group], [q.time for q in group], vectors)
        scores = vectors.outputs.scores(users)
        scores[:, 0] = -np.inf
        for row, question in zip(scores, group, strict=True):
            wanted = row[question.targets].copy()
            if seen == "exclude":
                row[question.history.items] = -np.inf
                wanted = np.where(np.isin(question.targets, question.history.items), -np.inf, wanted)
            best = np.sort(np.partition(row, -_CUTOFF)[-_CUTOFF:])[::-1] if len(row) > _CUTOFF else np.sort(row)[::-1]
            ranks = np.searchsorted(-best, -wanted, side="left")
            hit = (ranks < _CUTOFF) & np.isfinite(wanted)
            total += float((1.0 / np.log2(ranks[hit] + 2.0)).sum())
            targets += len(wanted)
    return total / targets if targets else None


def about_new(asked: Sequence[Question]) -> list[Question]:
    """Return the questions that have targets which the user has not met, with those alone."""
    kept = [replace(each, targets=each.targets[~np.isin(each.targets, each.history.items)]) for each in asked]
    return [each for each in kept if len(each.targets)]


@dataclass(frozen=True)
class Chosen:
    """The blend, and NDCG@10 between the cuts of it, of the encoder alone and of the counts alone."""

    blend: Blend
    blended: float
    encoder: float
    counts: float


def choose_blend(
    network: Network,
    vectors: ItemVectors,
    asked: Sequence[Question],
    *,
    counted: Counted,
    catalogue: Catalogue,
    settings: RankingSettings,
) -> Chosen | None:
    """Fit the blend with the counts as they stood before each target; None with too few questions.

    Args:
        network: of the fitted stage.
        vectors: its items.
        asked: questions in time order.
        counted: what the counts hold at first, and what is counted while the questions pass.
        catalogue: of the dataset.
        settings: of the counts.
    """
    # Sorting is stable, so a question stays before what was cut from it.
    together = sorted([*((q, False) for q in asked), *((q, True) for q in _cut_short(asked))], key=lambda q: q[0].time)
    users = _ask_all(network, vectors, [question for question, _ in together])
    known = [_Asked(question, cut, user) for (question, cut), user in zip(together, users, strict=True)]
    some = [each for cut in (False, True) for each in [k for k in known if k.cut == cut][::_RESTING_EACH]]
    # Before the counts move on.
    sources = Sources(catalogue, counted.behaviour, settings, Encoder(network, vectors))
    resting = _look(some if counted.live else [], counted, sources, follow=False)
    looks = _look(known, counted, sources, follow=True)
    if len(looks.samples) < LEAST_SAMPLES:
        return None
    blend = fit_blend(looks.samples, looks.short, looks.unmet)
    after = max(_DAY_US, int(np.quantile([sample.silence_us for sample in looks.samples], _USUAL)))
    late = resting.later_than(after)
    if (still := fit_still(blend, late.samples, late.short, late.unmet)) is not None:
        blend = msgspec.structs.replace(blend, still=still, still_after_us=after)
    alone = Blend(encoder=1.0, counts=0.0, popularity=0.0)
    counts = Blend(encoder=0.0, counts=1.0, popularity=0.0)
    return Chosen(blend, *(blend_ndcg(looks.samples, each) for each in (blend, alone, counts)))


@dataclass(frozen=True)
class _Asked:
    """A question, whether its history was cut short, and (D,) what the encoder says of the user."""

    question: Question
    cut: bool
    user: Floats


@dataclass(frozen=True)
class _Looks:
    """Samples of questions as they were asked, of those cut short, and of those for what is new to the user."""

    samples: list[Sample] = field(default_factory=list)
    short: list[Sample] = field(default_factory=list)
    unmet: list[Sample] = field(default_factory=list)

    def later_than(self, silence_us: int) -> _Looks:
        """Return those that were looked at longer after the newest event that was counted."""
        kept = ([s for s in each if s.silence_us > silence_us] for each in (self.samples, self.short, self.unmet))
        return _Looks(*kept)


def _look(asked: Sequence[_Asked], counted: Counted, sources: Sources, *, follow: bool) -> _Looks:
    """Collect a sample of each question, with the counts as they stood before it, or as they stand now for all."""
    rules = standard_rules(sources.catalogue, msgspec.structs.replace(sources.settings, distinct_titles=False))
    looks = _Looks()
    for each in asked:
        question = each.question
        if follow:
            counted.pass_until(question.time)
        request = Request(question.history, _CUTOFF, question.time, seen=counted.seen, user=each.user)
        (sample,) = collect([request], [question.targets], sources=sources, rules=rules)
        (looks.short if each.cut else looks.samples).append(sample)
        if each.cut or counted.seen == "exclude" or not len(question.history):
            continue
        for new in about_new([question]):
            unmet = replace(request, seen="exclude")
            looks.unmet.extend(collect([unmet], [new.targets], sources=sources, rules=rules))
    return looks


def _cut_short(asked: Sequence[Question]) -> list[Question]:
    """Return some of the questions with only the last 1 to `SHORT_HISTORY` events of each history.

    None where short histories are asked about anyway. Where they are not, as in a shop's log of its regulars, the
    weights of long habits would answer the newest visitor.
    """
    lengths = np.array([len(question.history) for question in asked])
    if np.count_nonzero((lengths > 0) & (lengths <= SHORT_HISTORY)) >= _ENOUGH_SHORT:
        return []
    long = [question for question, n in zip(asked, lengths.tolist(), strict=True) if n > SHORT_HISTORY]
    some = long[:: max(1, len(long) // _CUT_QUESTIONS)]
    return [replace(q, history=q.history.last(1 + place % SHORT_HISTORY)) for place, q in enumerate(some)]


class Counted:
    """Counts that follow a log in time."""

    def __init__(self, log: EventLog, first: Bools, *, live: bool, window: int, seen: Seen) -> None:
        """Count the first events.

        Args:
            log: all events.
            first: (N,) what is counted at the start: for each user, the events before some time.
            live: whether later events are counted as time passes; under `leave-one-out` none is.
            window: of the transition counts.
            seen: whether lists hold what the user has met.
        """
        self.seen = seen
        self.live = live
        self.behaviour = Behaviour(window)
        self.behaviour.add_marked(log, first)
        self._log = log
        later = np.flatnonzero(~first) if live else np.empty(0, np.int64)
        self._later = later[np.argsort(log.times[later], kind="stable")]
        self._times = log.times[self._later]
        self._next = 0
        self._starts = log.offsets()

    def pass_until(self, time: int) -> None:
        """Count the events strictly before `time`."""
        end = int(np.searchsorted(self._times, time))
        new = np.sort(self._later[self._next : end])
        self._next = max(self._next, end)
        if not len(new):
            return
        changes = np.flatnonzero(np.diff(self._log.users[new], append=-1))
        ends = new[changes] + 1
        firsts = ends - np.diff(changes, prepend=-1)
        starts = self._starts[self._log.users[firsts]]
        places = ranges(starts, ends)
        self.behaviour.append(self._log.where(places), places >= np.repeat(firsts, ends - starts))


def _ask_all(network: Network, vectors: ItemVectors, asked: Sequence[Question]) -> Floats:
    groups = [asked[start : start + _AT_ONCE] for start in range(0, len(asked), _AT_ONCE)]
    users = [network.users([q.history for q in group], [q.time for q in group], vectors) for group in groups]
    return np.concatenate([np.zeros((0, vectors.outputs.width), np.float32), *users])
