"""The arena: whatever was asked, evicted, late or changed before, a user's vector is that of the whole history."""

from __future__ import annotations

import tracemalloc
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from random_networks import ITEMS, NOW, TOLERANCE, joined, some_events, world
from safetensors.torch import save_file

from headrace.core.errors import FormatError
from headrace.core.formats import Mixer, Shape
from headrace.data.log import EMPTY_HISTORY, History
from headrace.ranking.item_vectors import Placed
from headrace.ranking.state_kernels import PAGE
from headrace.ranking.stepping import Precision, load_stepper
from headrace.serving.arena import SEAT_BYTES, Asked


class EveryWay(RuleBasedStateMachine):
    """Events come, some of them late, users are forgotten, items get content, and pages are too few for everybody."""

    mixer: Mixer = "attention"
    seeds = st.integers(0, 10**6)
    keys = st.integers(1, 6)

    @initialize(pages=st.integers(1, 9))
    def begin(self, pages: int) -> None:
        self.world = world(mixer=self.mixer)
        self.arena = self.world.arena(pages)
        whole_user = -(-self.world.stepper.slots // PAGE)
        self.most = max(pages, whole_user) * self.world.page_bytes("full")
        self.histories: dict[int, History] = defaultdict(lambda: EMPTY_HISTORY)

    @rule(key=keys, n=st.integers(1, 50), seed=seeds)
    def append(self, key: int, n: int, seed: int) -> None:
        before = self.histories[key]
        start = int(before.times[-1]) if len(before) else 10**15
        self.histories[key] = joined(before, some_events(n, seed, start))
        self.arena.changed(key, len(before))

    @rule(key=keys, back=st.integers(1, 40), n=st.integers(1, 3), seed=seeds)
    def come_late(self, key: int, back: int, n: int, seed: int) -> None:
        before = self.histories[key]
        place = max(0, len(before) - back)
        head, tail = before.part(0, place), before.part(place, len(before))
        late = replace(some_events(n, seed), times=np.full(n, tail.times[0] if len(tail) else 10**15))
        self.histories[key] = joined(joined(head, late), tail)
        self.arena.changed(key, place)

    @rule(key=keys)
    def forget(self, key: int) -> None:
        self.histories.pop(key, None)
        self.arena.forget(key)

    @rule(item=st.integers(ITEMS - 4, ITEMS), seed=seeds)
    def say_something(self, item: int, seed: int) -> None:
        vector = np.random.default_rng(seed).normal(size=(1, 16)).astype(np.float32)
        placed = Placed(vector, vector, np.zeros((1, 0), np.float32))
        self.arena.inputs_changed(self.world.vectors.change(np.array([item], np.int32), placed))

    @rule(asked=st.lists(st.tuples(st.none() | keys, st.sampled_from([NOW, NOW + 10**12, None])), max_size=12))
    def ask(self, asked: list[tuple[int | None, int | None]]) -> None:
        rows = [Asked(key, some_events(20) if key is None else self.histories[key], time) for key, time in asked]
        found = self.arena.users(rows)
        whole = self.world.whole([row.history for row in rows], [row.time for row in rows])
        np.testing.assert_allclose(found, whole, atol=TOLERANCE)

    @invariant()
    def stay_within(self) -> None:
        if hasattr(self, "arena"):
            assert self.arena.bytes <= self.most


class EveryWayWithRetention(EveryWay):
    mixer = "retention"


TestEveryWay = EveryWay.TestCase
TestEveryWay.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
TestEveryWayWithRetention = EveryWayWithRetention.TestCase
TestEveryWayWithRetention.settings = TestEveryWay.settings


@pytest.fixture(params=["attention", "retention"])
def mixer(request: pytest.FixtureRequest) -> Mixer:
    found: Mixer = request.param
    return found


@pytest.mark.parametrize(
    ("width", "layers", "heads", "window"),
    [(64, 2, 2, 200), (128, 2, 4, 100), (10, 1, 2, 3), (6, 3, 1, 17), (8, 1, 8, 1)],
)
def test_any_size_of_network_steps_as_it_encodes(
    width: int, layers: int, heads: int, window: int, mixer: Mixer
) -> None:
    of = world(width, layers, heads, window, mixer=mixer)
    arena, history = of.arena(), some_events(3 * window + 40)
    for end in sorted({0, 1, 2, PAGE, PAGE + 1, window, window + PAGE, 2 * window + 1, len(history)}):
        asked = [history.part(0, end)]
        found = arena.users([Asked(7, asked[0], NOW)])
        np.testing.assert_allclose(found, of.whole(asked, [NOW]), atol=TOLERANCE)


@pytest.mark.parametrize("window", [5, 30])
def test_a_late_event_is_read_wherever_it_comes(window: int, mixer: Mixer) -> None:
    of = world(window=window, mixer=mixer)
    history = some_events(120)
    for back in (0, 1, 2, 7, 15, 16, 17, 18, 19, 20, 27, 33, 47, 48, 49, 60, 120):
        arena = of.arena()
        for end in (100, 116, 120):
            arena.users([Asked(1, history.part(0, end), NOW)])
        place = len(history) - back
        late = joined(joined(history.part(0, place), some_events(1, seed=5)), history.part(place, len(history)))
        arena.changed(1, place)
        np.testing.assert_allclose(arena.users([Asked(1, late, NOW)]), of.whole([late], [NOW]), atol=TOLERANCE)


def test_an_item_that_gets_its_first_text_is_read_anew_by_those_who_met_it(mixer: Mixer) -> None:
    of = world(mixer=mixer)
    arena, history = of.arena(), some_events(10)
    with_it = replace(history, items=np.where(np.arange(10) == 7, np.int32(ITEMS), history.items))
    before = arena.users([Asked(1, with_it, NOW), Asked(2, history.part(0, 3), NOW)])
    vector = np.ones((1, 16), np.float32)
    placed = Placed(vector, vector, np.zeros((1, 0), np.float32))
    arena.inputs_changed(of.vectors.change(np.array([ITEMS], np.int32), placed))
    rebuilt = arena.rebuilt
    found = arena.users([Asked(1, with_it, NOW), Asked(2, history.part(0, 3), NOW)])
    np.testing.assert_allclose(found[:1], of.whole([with_it], [NOW]), atol=TOLERANCE)
    assert np.abs(found[0] - before[0]).max() > TOLERANCE
    assert arena.rebuilt == rebuilt + 1


@pytest.mark.parametrize("window", [5, 30])
def test_a_user_asked_about_twice_at_once_is_read_once(window: int, mixer: Mixer) -> None:
    of = world(window=window, mixer=mixer)
    history = some_events(60)
    arena = of.arena()
    found = arena.users([Asked(1, history, NOW), Asked(2, history, NOW), Asked(1, history, NOW)])
    np.testing.assert_allclose(found, of.whole([history] * 3, [NOW] * 3), atol=TOLERANCE)
    assert arena.rebuilt == 2


def test_a_network_without_times_reads_none(mixer: Mixer) -> None:
    of = world(times=False, mixer=mixer)
    history = some_events(30)
    moved = replace(history, times=history.times * 2)
    found = of.arena().users([Asked(1, history, NOW), Asked(2, moved, None)])
    np.testing.assert_allclose(found[0], found[1], atol=1e-6)
    np.testing.assert_allclose(found[:1], of.whole([history], [NOW]), atol=TOLERANCE)


def test_half_precision_moves_a_vector_little() -> None:
    of = world(64, 2, 2, 50)
    histories = [some_events(n, seed=n) for n in range(1, 120, 7)]
    found = of.arena(precision="half").users([Asked(n, history, NOW) for n, history in enumerate(histories)])
    moved = np.abs(found - of.whole(histories, [NOW] * len(histories)))
    assert 0 < moved.mean() < 1e-3
    assert moved.max() < 1e-2


def test_who_was_not_asked_about_for_longest_leaves_first() -> None:
    of = world()
    arena = of.arena(pages=3)
    histories = {key: some_events(10, seed=key) for key in (1, 2, 3, 4)}

    def ask(key: int) -> bool:
        """Ask about a user; say whether they had to be read anew."""
        before = arena.rebuilt
        arena.users([Asked(key, histories[key], NOW)])
        return arena.rebuilt > before

    assert [ask(key) for key in (1, 2, 3)] == [True, True, True]
    assert not ask(1)
    assert ask(4)  # takes the pages of 2
    assert [ask(key) for key in (1, 3, 4)] == [False, False, False]
    assert ask(2)
    assert len(arena) == 3


def test_only_new_events_are_read() -> None:
    of = world()
    arena, history = of.arena(), some_events(40)
    read = []
    extend = of.stepper.extend
    of.stepper.extend = lambda pages, events: (read.append(len(events.places)), extend(pages, events))[1]  # type: ignore[method-assign]
    arena.users([Asked(1, history.part(0, 35), NOW)])
    arena.users([Asked(1, history.part(0, 35), NOW), Asked(1, history.part(0, 35), None)])
    assert sum(read) == 13, "a new user's last events that count: (L + 1)(W - 1) + 1"
    arena.users([Asked(1, history, NOW)])
    assert sum(read) == 13 + 5


def test_a_page_of_another_user_that_held_no_numbers_does_no_harm(mixer: Mixer) -> None:
    of = world(mixer=mixer)
    arena = of.arena(pages=2)
    arena.users([Asked(1, some_events(30), NOW)])
    arena._pages.rows[arena._seats[1].pages] = np.nan
    arena.forget(1)
    found = arena.users([Asked(2, some_events(3), NOW)])
    np.testing.assert_allclose(found, of.whole([some_events(3)], [NOW]), atol=TOLERANCE)


def test_what_was_not_read_to_the_end_is_read_again(mixer: Mixer) -> None:
    of = world(mixer=mixer)
    arena, history = of.arena(), some_events(30)
    arena.users([Asked(1, history.part(0, 20), NOW)])
    extend = of.stepper.extend

    def fail(*_: object) -> None:
        raise MemoryError

    of.stepper.extend = fail  # type: ignore[method-assign]
    with pytest.raises(MemoryError):
        arena.users([Asked(1, history, NOW), Asked(None, history, NOW)])
    of.stepper.extend = extend  # type: ignore[method-assign]
    assert arena.bytes == 0
    np.testing.assert_allclose(arena.users([Asked(1, history, NOW)]), of.whole([history], [NOW]), atol=TOLERANCE)


@pytest.mark.parametrize("precision", ["half", "full"])
def test_the_memory_is_what_the_formula_says(precision: Precision) -> None:
    of = world(64, 2, 2, 100)
    users, events = 3000, 7 * PAGE
    history = some_events(events)
    arena = of.arena(pages=users * 8, precision=precision)
    arena.users([Asked(0, history, NOW)])
    tracemalloc.start()
    before = arena.bytes
    for first in range(1, users, 50):
        arena.users([Asked(key, history, NOW) for key in range(first, first + 50)])
    objects, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # docs/design/engine.md: keys and values of L + 1 layers, for whole pages of 16 events; the pages' memory is
    # allocated before, so that what tracemalloc sees are the objects.
    numbers = 3 * 2 * 64 * (2 if precision == "half" else 4)
    pages = of.stepper.pages(100, precision)
    assert sum(array.nbytes for array in pages) == 100 * of.stepper.page_bytes(precision)
    assert arena.bytes - before == pytest.approx((users - 1) * events * numbers, rel=0.1)
    assert objects < (users - 1) * SEAT_BYTES


@pytest.mark.parametrize("precision", ["half", "full"])
def test_with_retention_a_user_takes_one_page_whatever_their_history(precision: Precision) -> None:
    of = world(64, 2, 2, 20, mixer="retention")
    arena = of.arena(pages=10, precision=precision)
    for key, events in ((1, 1), (2, 16), (3, 500)):
        arena.users([Asked(key, some_events(events), NOW)])
    # docs/design/engine.md: 3 layers x 4 heads x 16 x 16, the last state, its time and the number of the page.
    numbers = 3 * 4 * 16 * 16 * 4 + 64 * 4 + 8 + 4
    assert arena.bytes == 3 * (numbers + SEAT_BYTES)
    assert sum(array.nbytes for array in of.stepper.pages(100, precision)) == 100 * numbers


def test_the_errors_of_retention_do_not_add_up_over_a_thousand_questions() -> None:
    of = world(window=200, mixer="retention")
    arena, history = of.arena(precision="half"), some_events(1000)
    for end in range(1, 1000):
        arena.users([Asked(1, history.part(0, end), NOW)])
    found = arena.users([Asked(1, history, NOW)])
    np.testing.assert_allclose(found, of.whole([history], [NOW]), atol=TOLERANCE)


def test_a_folder_of_another_network_is_refused(tmp_path: Path, mixer: Mixer) -> None:
    save_file({"model.query.start": torch.zeros(16)}, tmp_path / "weights.safetensors")
    shape = Shape(width=16, layers=2, heads=2, window=5, content=0, types=["a"], mixer=mixer)
    with pytest.raises(FormatError, match=r"must hold the weights of this model.*headrace train"):
        load_stepper(tmp_path, shape)
