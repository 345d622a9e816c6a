"""The whole network in one module, and how it starts."""

from __future__ import annotations

from torch import Tensor, nn

from headrace.core.formats import Shape
from headrace.model.dropout import Dropout
from headrace.model.encoder import Encoder
from headrace.model.items import Items
from headrace.model.packed import Stream
from headrace.model.query import Query
from headrace.model.retention import RetentionEncoder, RetentionQuery

_STANDARD_DEVIATION = 0.02


class Transformer(nn.Module):
    """Items, encoder and query. Id vectors are not in here: training keeps them in a table of their own."""

    def __init__(self, shape: Shape, dropout: float = 0.0) -> None:
        super().__init__()
        self.shape = shape
        self.items = Items(shape.width, shape.content, shape.features)
        self.drop = Dropout(dropout)
        retains = shape.mixer == "retention"
        self.encoder = RetentionEncoder(shape, self.drop) if retains else Encoder(shape, self.drop)
        self.query = RetentionQuery(shape, self.drop) if retains else Query(shape, self.drop)
        for name, parameter in self.named_parameters():
            if name.startswith(("encoder.events", "query.time")) and parameter.dim() > 1:
                nn.init.normal_(parameter, std=_STANDARD_DEVIATION)

    def stream(self, times_N: Tensor, segments_N: Tensor) -> Stream:
        """Lay out a packed stream; with retention every place reads its whole history."""
        return Stream.of(times_N, segments_N, len(times_N) if self.shape.mixer == "retention" else self.shape.window)

    def packed_users(self, x_ND: Tensor, times_N: Tensor, segments_N: Tensor, requests_N: Tensor) -> Tensor:
        """Return (N, D): the user vector of every place of a packed stream, asked at `requests_N`; for training."""
        stream = self.stream(times_N, segments_N)
        return self.query.packed(self.encoder.packed(x_ND, stream), times_N, requests_N, stream)
