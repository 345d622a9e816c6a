"""The learned part of a rating: what user and item vectors add to the damped means.

Shapes: P pairs, D width, F features.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

RATING_FEATURES = 4
"""User offset, item offset, log(1 + ratings of the user), log(1 + ratings of the item); see `ranking/ratings.py`."""

_FACTORS = 16
_HIDDEN = 32


class RatingHead(nn.Module):
    """A small network over the two vectors, their product in a few learned factors, and the features."""

    def __init__(self, width: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.user = nn.Linear(width, _FACTORS)
        self.item = nn.Linear(width, _FACTORS)
        self.hidden = nn.Sequential(
            nn.Linear(3 * _FACTORS + RATING_FEATURES, _HIDDEN), nn.GELU(), nn.Dropout(dropout), nn.Linear(_HIDDEN, 1)
        )
        last = self.hidden[-1]
        assert isinstance(last, nn.Linear)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)

    def forward(self, users_PD: Tensor, items_PD: Tensor, features_PF: Tensor) -> Tensor:
        """Return (P,), to be added to the damped means, on the unit scale."""
        user, item = self.user(users_PD), self.item(items_PD)
        joined = torch.cat([user, item, user * item, features_PF], dim=-1)
        residual: Tensor = self.hidden(joined).squeeze(-1)
        return residual
