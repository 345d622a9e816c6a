"""The encoder and the query, with either mixer: packed, padded and stepped are one function of the past."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from random_histories import (
    MIXERS,
    SHAPE,
    TOLERANCE,
    WINDOW,
    embed,
    padded,
    random_network,
    some_events,
    states_of,
    user_of,
)

from headrace.core.time_buckets import TIME_BUCKETS
from headrace.model.attention import step_layout, time_buckets
from headrace.model.transformer import Transformer


@pytest.fixture(scope="module", params=MIXERS)
def model(request: pytest.FixtureRequest) -> Transformer:
    return random_network(request.param)


@pytest.fixture(scope="module")
def attending() -> Transformer:
    return random_network("attention")


lengths = st.integers(1, 30)


@given(lengths, st.integers(0, 5))
@settings(max_examples=25, deadline=None)
def test_the_future_changes_nothing_before_it(model: Transformer, n: int, seed: int) -> None:
    events = some_events(n + 7, seed)
    torch.testing.assert_close(states_of(model, events)[:n], states_of(model, events.first(n)), atol=TOLERANCE, rtol=0)


@given(st.lists(lengths, min_size=1, max_size=5))
@settings(max_examples=25, deadline=None)
def test_packing_histories_together_changes_nothing(model: Transformer, sizes: list[int]) -> None:
    histories = [some_events(n, seed) for seed, n in enumerate(sizes)]
    times = torch.cat([each.times for each in histories])
    stream = model.stream(times, torch.repeat_interleave(torch.tensor(sizes)))
    requests = torch.where(torch.arange(len(times)) % 3 == 0, -1, times + 3_600_000_000)
    with torch.no_grad():
        states = model.encoder.packed(torch.cat([embed(model, each) for each in histories]), stream)
        users = model.query.packed(states, times, requests, stream)
    start = 0
    for history, n in zip(histories, sizes, strict=True):
        own = slice(start, start + n)
        torch.testing.assert_close(states[own], states_of(model, history), atol=TOLERANCE, rtol=0)
        last = start + n - 1
        torch.testing.assert_close(users[last], user_of(model, history, int(requests[last])), atol=TOLERANCE, rtol=0)
        start += n


@given(st.lists(st.integers(1, 4), min_size=1, max_size=8), st.randoms(use_true_random=False))
@settings(max_examples=25, deadline=None)
def test_stepping_equals_encoding_at_once(attending: Transformer, pieces: list[int], chance: object) -> None:
    events = some_events(sum(pieces))
    whole = states_of(attending, events)
    slots = torch.zeros(1, SHAPE.layers, 2, WINDOW - 1, SHAPE.width)
    slot_places = torch.full((WINDOW - 1,), -1)
    done = 0
    for n in pieces:
        new = slice(done, done + n)
        held = slot_places >= 0
        ages = torch.where(held, done - slot_places, 0)
        slot_times = torch.where(held, events.times[slot_places.clamp(min=0)], 0)
        layout = step_layout(ages[None], slot_times[None], events.times[None, new], WINDOW)
        with torch.no_grad():
            states, rows = attending.encoder.step(embed(attending, events)[None, new], slots, layout)
        torch.testing.assert_close(states[0], whole[new], atol=TOLERANCE, rtol=0)
        for offset in range(n):
            # A ring buffer: the oldest slot is written over, and slots stand in any order.
            place = done + offset
            slots[:, :, :, place % (WINDOW - 1)] = rows[:, :, :, offset]
            slot_places[place % (WINDOW - 1)] = place
        done += n


def test_the_reach_is_all_that_an_answer_depends_on(attending: Transformer) -> None:
    events = some_events(40)
    request = int(events.times[-1]) + 5_000_000
    whole = user_of(attending, events, request)
    torch.testing.assert_close(user_of(attending, events.last(SHAPE.reach), request), whole, atol=TOLERANCE, rtol=0)
    assert (user_of(attending, events.last(SHAPE.reach - 1), request) - whole).abs().max() > 1e-6


def test_alone_or_in_a_batch_a_history_has_one_answer(model: Transformer) -> None:
    histories = [some_events(n, n) for n in (3, 9, 1)]
    longest = 9
    with torch.no_grad():
        x = torch.stack([padded(embed(model, each), longest) for each in histories])
        times = torch.stack([padded(each.times, longest) for each in histories])
        states = model.encoder(x, times)[0]
        ages = torch.tensor([[len(each.times) - 1 - t for t in range(longest)] for each in histories])
        users = model.query(states, times, ages, torch.tensor([-1, -1, -1]))
    for row, history in enumerate(histories):
        torch.testing.assert_close(users[row], user_of(model, history), atol=TOLERANCE, rtol=0)


def test_an_empty_history_has_the_starting_vector(model: Transformer) -> None:
    with torch.no_grad():
        users = model.query(
            torch.randn(2, 3, SHAPE.width),
            torch.zeros(2, 3, dtype=torch.int64),
            torch.full((2, 3), -1),
            torch.tensor([-1, 5]),
        )
    torch.testing.assert_close(users, model.query.beginning().expand(2, -1))


def test_the_request_time_changes_the_answer_and_hidden_it_does_not_depend_on_the_clock(model: Transformer) -> None:
    events = some_events(5)
    soon, late = int(events.times[-1]) + 1_000_000, int(events.times[-1]) + 10**12
    assert (user_of(model, events, soon) - user_of(model, events, late)).abs().max() > 1e-3
    # Weeks of 7 days: the same hour and day, the same gap bucket.
    week = 7 * 86_400_000_000
    far = int(events.times[-1]) + 4000 * week
    torch.testing.assert_close(user_of(model, events, far), user_of(model, events, far + week))


def test_time_buckets_are_powers_of_two_of_seconds_and_a_clock_that_goes_backwards_counts_as_now() -> None:
    second = 1_000_000
    later = torch.tensor([0, 1, 3, 86_400, 10**12]) * second
    found = time_buckets(later, torch.zeros(5, dtype=torch.int64)).tolist()
    # log2(1 + s) + 0.37, cut to a whole number: 0.37, 1.37, 2.37, 16.77 and, beyond the last border, the last bucket.
    assert found == [0, 1, 2, 16, TIME_BUCKETS - 1]
    assert time_buckets(torch.tensor([5]), torch.tensor([9 * second])).tolist() == [0]
