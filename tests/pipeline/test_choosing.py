"""The blend is fitted for long histories and, where nobody has a short one, for visitors of few events too."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
import pytest

from headrace.core.formats import SHORT_HISTORY, Blend
from headrace.core.settings import RankingSettings
from headrace.core.types import Seen
from headrace.data.log import EventLog, Floats, History
from headrace.pipeline.choosing import Counted, about_new, choose_blend
from headrace.pipeline.stages import Question, questions
from headrace.ranking.blending import Sample, fit_blend
from headrace.ranking.catalogue import Catalogue
from headrace.ranking.item_vectors import ItemVectors, Placed
from headrace.ranking.network import Network

DAY_US = 86_400_000_000
ITEMS = 60
USERS = 150


class Ignorant(Network):
    """A network to which all users and items are the same."""

    def __init__(self) -> None:
        self.asked: list[History] = []

    def users(self, histories: Sequence[History], times: Sequence[int | None], vectors: ItemVectors) -> Floats:
        self.asked += histories
        return np.ones((len(histories), 2), np.float32)


def regulars(events: int) -> EventLog:
    """Everybody buys what they have bought before; one in three events is followed by the item's partner."""
    chance = np.random.default_rng(2)
    items = list[int]()
    for _ in range(USERS):
        staples = chance.integers(1, ITEMS, 3)
        for place in range(events):
            follows = place and chance.random() < 0.3
            items.append(items[-1] % ITEMS + 1 if follows else int(chance.choice(staples)))
    n = len(items)
    users = np.repeat(np.arange(1, USERS + 1), events).astype(np.int32)
    times = np.tile(np.arange(events, dtype=np.int64), USERS)
    nothing = np.full(n, np.nan, np.float32)
    return EventLog(users, np.array(items, np.int32), np.zeros(n, np.int32), nothing, times, USERS, ITEMS)


def fashions(days: int) -> EventLog:
    """Each week has its fashion, which most buy; the others buy the partner of what they bought the day before."""
    chance = np.random.default_rng(3)
    fashion = chance.permutation(np.arange(1, ITEMS + 1))
    items = np.zeros((USERS, days), np.int32)
    items[:, 0] = chance.integers(1, ITEMS + 1, USERS)
    for day in range(1, days):
        follows = chance.random(USERS) < 0.2
        items[:, day] = np.where(follows, items[:, day - 1] % ITEMS + 1, fashion[day // 7])
    n = items.size
    users = np.repeat(np.arange(1, USERS + 1), days).astype(np.int32)
    times = (DAY_US * np.arange(days) + chance.integers(0, DAY_US, (USERS, days))).ravel()
    nothing = np.full(n, np.nan, np.float32)
    return EventLog(users, items.ravel(), np.zeros(n, np.int32), nothing, times, USERS, ITEMS)


def choose(
    log: EventLog, asked: list[Question], seen: Seen = "include", *, live_from: int | None = None
) -> tuple[Blend, Ignorant]:
    network = Ignorant()
    nothing = np.ones((ITEMS + 1, 2), np.float32)
    placed = Placed(nothing, nothing, np.zeros((ITEMS + 1, 0), np.float32))
    vectors = ItemVectors.of(placed, np.ones(ITEMS + 1, np.int32), np.zeros(1, np.int32))
    last = np.array([question.time for question in asked]).max()
    first = log.times < (last if live_from is None else live_from)
    counted = Counted(log, first, live=live_from is not None, window=20, seen=seen)
    catalogue = Catalogue.of_items(pl.DataFrame({"item_id": [str(item) for item in range(1, ITEMS + 1)]}))
    chosen = choose_blend(network, vectors, asked, counted=counted, catalogue=catalogue, settings=RankingSettings())
    assert chosen is not None
    return chosen.blend, network


def test_a_log_of_regulars_teaches_what_to_show_a_visitor_of_few_events() -> None:
    log = regulars(20)
    asked = questions(log, log.times == log.times.max(), "hash", most=1000, seed=0)
    blend, network = choose(log, asked)
    assert blend.short is not None
    lengths = [len(each) for each in network.asked]
    assert sorted(set(lengths)) == [*range(1, SHORT_HISTORY + 1), 19]
    cut = [each for each in network.asked if len(each) <= SHORT_HISTORY]
    ends = {tuple(question.history.items[-len(each) :].tolist()) for each in cut for question in asked}
    assert all(tuple(each.items.tolist()) in ends for each in cut)


@pytest.mark.parametrize("events", [4, SHORT_HISTORY])
def test_where_short_histories_are_asked_about_the_common_weights_are_theirs(events: int) -> None:
    log = regulars(events)
    asked = questions(log, log.times == log.times.max(), "hash", most=1000, seed=0)
    blend, network = choose(log, asked)
    assert blend.short is None
    assert len(network.asked) == len(asked)


def test_lists_of_what_is_new_are_fitted_to_what_was_new() -> None:
    """Who comes back to staples meets a new item only as the partner of the last one: habit tells nothing of it."""
    log = regulars(8)
    asked = questions(log, log.times == log.times.max(), "hash", most=1000, seed=0)
    blend, _ = choose(log, asked)
    assert blend.unmet is not None
    assert blend.repeat > 0 == blend.unmet.repeat
    # What was just met is on no such list, so that nothing is to be said against it.
    assert blend.other > 0 == blend.unmet.other
    led = {name: getattr(blend.unmet, name) for name in ("counts", "last", "association")}
    assert max(led.values()) > max(blend.unmet.popularity, blend.unmet.recent, blend.unmet.content)


def test_where_lists_never_repeat_there_is_one_rule_for_what_is_new() -> None:
    log = regulars(8)
    asked = questions(log, log.times == log.times.max(), "hash", most=1000, seed=0)
    blend, _ = choose(log, asked, "exclude")
    assert blend.unmet is None


def test_counts_that_rest_are_weighed_by_what_they_still_say() -> None:
    """What is in fashion is known while counts go on; when they rest, it has changed, and habit is still true."""
    log, cut = fashions(70), 49 * DAY_US
    asked = questions(log, log.times >= cut, "hash", most=1000, seed=0)
    blend, _ = choose(log, asked, live_from=cut)
    assert blend.still is not None
    assert blend.still_after_us == DAY_US
    assert blend.trending > 0 == blend.still.trending
    assert blend.repeat == 0 < blend.still.repeat
    assert blend.short is not None
    assert blend.still.short is not None
    assert blend.short.trending > 0 == blend.still.short.trending


def test_counts_that_never_rest_for_a_day_have_one_blend() -> None:
    log, cut = fashions(70), 69 * DAY_US
    asked = questions(log, log.times >= cut, "hash", most=1000, seed=0)
    blend, _ = choose(log, asked, live_from=cut)
    assert blend.still is None


def test_under_leave_one_out_counts_always_rest_and_there_is_one_blend() -> None:
    log = fashions(70)
    asked = questions(log, log.times >= 49 * DAY_US, "hash", most=1000, seed=0)
    blend, _ = choose(log, asked)
    assert blend.still is None


def test_questions_about_what_is_new_ask_for_nothing_that_the_user_has_met() -> None:
    log = regulars(20)
    asked = questions(log, log.times == log.times.max(), "hash", most=1000, seed=0)
    new = about_new(asked)
    assert 0 < len(new) < len(asked)
    for question in new:
        assert len(question.targets)
        assert not np.isin(question.targets, question.history.items).any()
    by_user = {id(question.history): question for question in asked}
    assert all(np.isin(q.targets, by_user[id(q.history)].targets).all() for q in new)


def test_questions_cut_short_teach_nothing_about_what_is_new(monkeypatch: pytest.MonkeyPatch) -> None:
    log = regulars(20)
    asked = questions(log, log.times == log.times.max(), "hash", most=1000, seed=0)
    fitted: list[list[int]] = []

    def counting(*kinds: Sequence[Sample]) -> Blend:
        fitted.append([len(samples) for samples in kinds])
        return fit_blend(*kinds)

    monkeypatch.setattr("headrace.pipeline.choosing.fit_blend", counting)
    choose(log, asked)
    ((all_of_them, short, unmet),) = fitted
    assert all_of_them == len(asked)
    assert short > 0
    assert unmet == len(about_new(asked)) < len(asked)
