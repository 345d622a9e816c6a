"""Retention: the recurrence against its matrices, one event at a time against all at once, and what is forgotten."""

from __future__ import annotations

import msgspec
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from random_histories import SHAPE, TOLERANCE, embed, random_network, some_events, states_of, user_of
from torch import Tensor

from headrace.core.formats import RETENTION_HEAD as HEAD
from headrace.core.time_buckets import TIME_BUCKETS
from headrace.model.attention import split_heads, time_buckets
from headrace.model.packed import Stream
from headrace.model.retention import Decay, RetentionEncoder, gap_buckets, retain
from headrace.model.retention_packed import retain_packed
from headrace.model.transformer import Transformer

HEADS = 3


@pytest.fixture(scope="module")
def model() -> Transformer:
    return random_network("retention")


def one_by_one(inputs: list[Tensor], decays: Tensor, times: Tensor) -> Tensor:
    """Read one history as the definition says, in double precision."""
    queries, keys, values = (split_heads(x, HEADS) for x in inputs)
    kept, found = torch.zeros(HEADS, HEAD, HEAD, dtype=torch.float64), []
    for place in range(len(times)):
        bucket = time_buckets(times[place], times[max(0, place - 1)])
        kept = decays[:, bucket].exp()[:, None, None] * kept + keys[place].unsqueeze(2) * values[place].unsqueeze(1)
        found.append((queries[place].unsqueeze(1) @ kept / HEAD**0.5).flatten())
    return torch.stack(found)


def leaves_of(n: int) -> list[Tensor]:
    """Return random queries, keys, values and decays, some of which forget nearly all."""
    inputs = [torch.randn(n, HEADS * HEAD) for _ in range(3)]
    return [x.requires_grad_() for x in (*inputs, -(torch.rand(HEADS, TIME_BUCKETS) ** 4) * 20)]


@pytest.mark.parametrize("sizes", [[1], [3, 1, 9], [40, 2, 17], [300, 400]])
@pytest.mark.parametrize("threads", [1, 2])
def test_values_and_gradients_are_those_of_the_definition(sizes: list[int], threads: int) -> None:
    torch.manual_seed(sum(sizes))
    times = torch.cat([some_events(n, n).times for n in sizes])
    leaves = leaves_of(sum(sizes))
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        found = retain_packed(*leaves, Stream.of(times, torch.repeat_interleave(torch.tensor(sizes)), len(times)))
        weight = torch.randn_like(found)
        gradients = torch.autograd.grad(found, leaves, weight)
    finally:
        torch.set_num_threads(before)
    exact = [x.detach().double().requires_grad_() for x in leaves]
    rows = zip(*(x.split(sizes) for x in (*exact[:3], times)), strict=True)
    expected = torch.cat([one_by_one([q, k, v], exact[3], own) for q, k, v, own in rows])
    torch.testing.assert_close(found.double(), expected, atol=1e-4, rtol=1e-5)
    *ours, by_decay = zip(gradients, torch.autograd.grad(expected, exact, weight.double()), strict=True)
    for one, other in ours:
        torch.testing.assert_close(one.double(), other, atol=1e-4, rtol=1e-4)
    # A sum over all later places, of numbers that cancel out.
    torch.testing.assert_close(by_decay[0].double(), by_decay[1], atol=1e-5 * float(by_decay[1].abs().max()), rtol=1e-3)


def test_a_stream_without_events_gives_nothing() -> None:
    nothing = torch.zeros(0, dtype=torch.int64)
    assert retain_packed(*leaves_of(0), Stream.of(nothing, nothing, 1)).shape == (0, HEADS * HEAD)


def test_the_matrices_are_the_definition_for_a_thousand_events_and_fast_decays() -> None:
    torch.manual_seed(1)
    *inputs, decays = (x.detach() for x in leaves_of(1000))
    times = some_events(1000).times
    along = decays.index_select(1, gap_buckets(times[None], times[:1])[0]).T[None]
    split = [split_heads(x[None], HEADS) for x in inputs]
    found, _ = retain(*split, along, torch.zeros(1, HEADS, HEAD, HEAD))
    expected = one_by_one([x.double() for x in inputs], decays.double(), times)
    torch.testing.assert_close(found[0].flatten(1).double(), expected, atol=TOLERANCE, rtol=0)


@given(st.lists(st.integers(1, 4), min_size=1, max_size=8), st.integers(0, 5))
@settings(max_examples=25, deadline=None)
def test_stepping_equals_encoding_at_once(model: Transformer, pieces: list[int], seed: int) -> None:
    events = some_events(sum(pieces), seed)
    encoder = model.encoder
    assert isinstance(encoder, RetentionEncoder)
    kept, last, done = (
        torch.zeros(1, SHAPE.layers, SHAPE.retention_heads, HEAD, HEAD),
        torch.zeros(1, dtype=torch.int64),
        0,
    )
    for n in pieces:
        new = slice(done, done + n)
        with torch.no_grad():
            states, kept = encoder.step(embed(model, events)[None, new], kept, events.times[None, new], last)
        torch.testing.assert_close(states[0], states_of(model, events)[new], atol=TOLERANCE, rtol=0)
        last, done = events.times[new][-1:], done + n
    with torch.no_grad():
        whole = encoder(embed(model, events)[None], events.times[None])[1]
    torch.testing.assert_close(kept, whole, atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize(("layers", "window"), [(1, 2), (2, 20), (4, 7)])
@pytest.mark.parametrize("noise", [0.0, 0.2, 0.4])
@pytest.mark.parametrize("seed", [0, 1])
def test_what_lies_beyond_the_reach_changes_nothing_even_if_no_head_wants_to_forget(
    layers: int, window: int, noise: float, seed: int
) -> None:
    torch.manual_seed(seed)
    shape = msgspec.structs.replace(SHAPE, layers=layers, window=window, mixer="retention")
    network = Transformer(shape).eval()
    for name, parameter in network.named_parameters():
        parameter.data.add_(torch.randn_like(parameter) * noise)
        if name.endswith("decay.base"):
            parameter.data.fill_(50.0)
    events = some_events(2 * shape.reach, seed)
    events.items[: shape.reach] = 3 * torch.randn(shape.width)  # all alike, so that they add up
    user = user_of(network, events)
    torch.testing.assert_close(user_of(network, events.last(shape.reach)), user, atol=TOLERANCE, rtol=0)
    assert (user_of(network, events.last(window)) - user).abs().max() > TOLERANCE


def test_more_time_forgets_more_where_that_was_learned_and_never_all_or_nothing() -> None:
    decay = Decay(HEADS, 10)
    decay.time.data[:, 20:] = -3.0
    left = decay().exp()
    assert (left[:, 20:] < left[:, :20].min(1, keepdim=True).values).all()
    decay.base.data[:] = torch.tensor([-1e4, 0.0, 1e4])
    left = decay().exp()
    assert (left >= 0).all()
    assert left.max() <= 10 / 12


def test_the_last_head_may_reach_beyond_the_width() -> None:
    torch.manual_seed(2)
    network = Transformer(msgspec.structs.replace(SHAPE, width=10, mixer="retention")).eval()
    events = some_events(9)
    events.items.resize_(9, 10)
    times = events.times
    with torch.no_grad():
        x = embed(network, events)
        stream = network.stream(times, torch.zeros(9, dtype=torch.int64))
        torch.testing.assert_close(network.encoder.packed(x, stream), states_of(network, events), atol=1e-5, rtol=0)
