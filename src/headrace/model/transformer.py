"""The whole network in one module, and how it starts."""

from __future__ import annotations

from torch import Tensor, nn

from headrace.core.formats import Shape
from headrace.model.dropout import Dropout
from headrace.model.encoder import Encoder
from headrace.model.items import Items
from headrace.model.packed import Stream
from headrace.model.query import Query

_STANDARD_DEVIATION = 0.02


class Transformer(nn.Module):
    """Items, encoder and query attention. Id vectors are not in here: training keeps them in a table of their own."""

    def __init__(self, shape: Shape, dropout: float = 0.0) -> None:
        super().__init__()
        self.shape = shape
        self.items = Items(shape.width, shape.content, shape.features)
        self.drop = Dropout(dropout)
        self.encoder = Encoder(shape, self.drop)
        self.query = Query(shape, self.drop)
        for name, parameter in self.named_parameters():
            if name.startswith(("encoder.events", "query.time")) and parameter.dim() > 1:
                nn.init.normal_(parameter, std=_STANDARD_DEVIATION)

    def packed_users(self, x_ND: Tensor, times_N: Tensor, segments_N: Tensor, requests_N: Tensor) -> Tensor:
        """Return (N, D): the user vector of every place of a packed stream, asked at `requests_N`; for training."""
        stream = Stream.of(times_N, segments_N, self.shape.window)
        return self.query.packed(self.encoder.packed(x_ND, stream), times_N, requests_N, stream)
