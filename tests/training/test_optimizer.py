"""The row-wise Adam against PyTorch's."""

from __future__ import annotations

import torch

from headrace.training.optimizer import BETAS, RowAdam


def test_rows_of_every_step_move_as_with_adam_and_the_others_rest() -> None:
    torch.manual_seed(0)
    start, used = torch.randn(900, 8), torch.arange(0, 900, 3)
    table = start.clone()
    row_adam = RowAdam(table)
    parameter = torch.nn.Parameter(start[used].clone())
    adam = torch.optim.Adam([parameter], lr=1.0, betas=BETAS, eps=0.0)
    for number, rate in enumerate((0.1, 0.05, 0.2), 1):
        gradient = torch.randn(len(used), 8)
        row_adam.step(used, gradient, rate=rate, number=number)
        parameter.grad = gradient
        adam.param_groups[0]["lr"] = rate
        adam.step()
    torch.testing.assert_close(table[used], parameter.detach(), atol=1e-5, rtol=1e-5)
    rests = torch.ones(900, dtype=torch.bool)
    rests[used] = False
    assert torch.equal(table[rests], start[rests])
