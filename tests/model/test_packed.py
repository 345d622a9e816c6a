"""Attention over a packed stream against the same attention as matrices."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from headrace.core.time_buckets import UNKNOWN_BUCKET
from headrace.model.attention import RelativeBias, attend, split_heads, time_buckets, window_layout
from headrace.model.packed import Stream, attend_packed

HEADS, WIDTH, WINDOW = 2, 12, 5


def bias_of() -> RelativeBias:
    bias = RelativeBias(HEADS, WINDOW)
    for table in bias.parameters():
        table.data.normal_()
    return bias


def moments(n: int) -> Tensor:
    gaps = torch.tensor([0, 500_000, 60_000_000, 86_400_000_000, 10**13])
    return 10**15 + torch.cumsum(gaps[torch.randint(0, 5, (n,))], 0)


def as_matrices(inputs: list[Tensor], bias: RelativeBias, times: Tensor, requests: Tensor) -> Tensor:
    """Attend within one history, asked at `requests`."""
    buckets = time_buckets(requests[:, None], times[None, :]).masked_fill((requests < 0)[:, None], UNKNOWN_BUCKET)
    ages = torch.arange(len(times))[:, None] - torch.arange(len(times))[None, :]
    layout = window_layout(ages, buckets[None], torch.ones_like(buckets[None], dtype=torch.bool), WINDOW)
    return attend(*(split_heads(x[None], HEADS) for x in inputs), bias(layout))[0]


@pytest.mark.parametrize("sizes", [[1], [3, 1, 9], [40, 2, 17], [300, 400]])
@pytest.mark.parametrize("threads", [1, 2])
def test_values_and_gradients_are_those_of_matrices(sizes: list[int], threads: int) -> None:
    torch.manual_seed(sum(sizes))
    total, bias = sum(sizes), bias_of()
    times = torch.cat([moments(n) for n in sizes])
    requests = torch.where(torch.arange(total) % 3 == 0, -1, times + 3_600_000_000)
    inputs = [torch.randn(total, WIDTH, requires_grad=True) for _ in range(3)]
    stream = Stream.of(times, torch.repeat_interleave(torch.tensor(sizes)), WINDOW).at(requests)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        found = attend_packed(*inputs, bias, stream)
        weight = torch.randn_like(found)
        leaves = [*inputs, bias.age, bias.time]
        gradients = torch.autograd.grad(found, leaves, weight)
    finally:
        torch.set_num_threads(before)
    rows = zip(*(x.split(sizes) for x in (*inputs, times, requests)), strict=True)
    expected = torch.cat([as_matrices([q, k, v], bias, own, asked) for q, k, v, own, asked in rows])
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    for one, other in zip(gradients, torch.autograd.grad(expected, leaves, weight), strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)


def test_a_stream_without_events_gives_nothing() -> None:
    nothing = torch.zeros(0, dtype=torch.int64)
    x = torch.zeros(0, WIDTH, requires_grad=True)
    assert attend_packed(x, x, x, bias_of(), Stream.of(nothing, nothing, WINDOW)).shape == (0, WIDTH)
