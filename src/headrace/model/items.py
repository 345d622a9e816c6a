"""Item vectors: what people do with an item (its id) plus what it says (its content).

Shapes: V items (row 0 is padding), n items of a step, C content width, P reduced content width, D width, L `LIKENESS`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

MAX_REDUCED = 128
LIKENESS = 64
"""Principal components in which items are compared by what they say."""


class ContentReduction(nn.Module):
    """Whitened principal components of the content vectors; fixed, fitted on the catalogue.

    Vectors of a text encoder share most of their length in one direction; whitening spreads them, and 128 numbers
    an item instead of 384 make the projection three times cheaper.
    """

    mean: Tensor
    components: Tensor

    def __init__(self, content: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(content))
        self.register_buffer("components", torch.zeros(content, min(content, MAX_REDUCED)))

    def fit(self, content_nC: Tensor) -> None:
        """Fit to the rows that have content (some number is not zero)."""
        rows = content_nC[content_nC.abs().sum(1) > 0].double()
        if len(rows) < 2:
            return
        mean = rows.mean(0)
        centred = rows - mean
        values, vectors = torch.linalg.eigh(centred.T @ centred / len(rows))
        order = torch.argsort(values, descending=True)[: self.components.shape[1]]
        # The floor keeps a direction in which items hardly differ from being blown up to noise.
        spread = values[order].clamp(min=float(values.max()) * 1e-3 + 1e-12).sqrt()
        self.mean.copy_(mean)
        self.components.copy_(vectors[:, order] / spread)

    def forward(self, content_nC: Tensor) -> Tensor:
        """Return (n, P), about unit variance in each direction."""
        return (content_nC - self.mean) @ self.components

    def axes(self) -> Tensor:
        """Return (C, at most 64) the first principal components, of unit length: what `forward` gives, not whitened."""
        return F.normalize(self.components, dim=0)[:, :LIKENESS]


class Items(nn.Module):
    """From ids and content to input vectors (read in histories) and output vectors (scored)."""

    def __init__(self, width: int, content: int, features: int) -> None:
        super().__init__()
        self.content = content
        self.features = features
        self.no_id = nn.Parameter(torch.zeros(width))
        self.no_content = nn.Parameter(torch.zeros(2 * width))
        if content:
            reduced = min(content, MAX_REDUCED)
            self.reduction = ContentReduction(content)
            self.project = nn.Linear(reduced, 2 * width, bias=False)  # input, output
            nn.init.normal_(self.project.weight, std=0.3 / (reduced * width) ** 0.5)
        if features:
            self.project_features = nn.Linear(features, 2 * width, bias=False)
            nn.init.zeros_(self.project_features.weight)

    def forward(self, ids_nD: Tensor, says: ItemContent) -> tuple[Tensor, Tensor]:
        """Return input and output vectors, (n, D) each.

        Args:
            ids_nD: id vectors, `no_id` where an item has none or its id is dropped.
            says: what the n items say.
        """
        added = self.no_content.expand(len(ids_nD), -1)
        if self.content:
            added = torch.where(says.has_text_n.unsqueeze(-1), self.project(says.text_nP), added)
        if self.features:
            added = added + self.project_features(says.features_nF)
        says_in, says_out = added.chunk(2, dim=-1)
        return ids_nD + says_in, ids_nD + says_out

    @torch.no_grad()
    def place_matrices(self) -> dict[str, Tensor]:
        """Return what places an item that was never trained.

        `matrix` (C, 2 D), `offset` (2 D), `missing` (2 D), `features` (F, 2 D): input, output = text @ matrix + offset,
        or `missing` without a text; plus features @ `features`. The no-id vector is in `offset` and in `missing`.
        (text - `mean`) @ `components`, (C, L), at unit length is what `contents` gives.
        """
        no_id = self.no_id.repeat(2)
        width = len(no_id)
        placed = {"missing": no_id + self.no_content, "features": torch.zeros(0, width)}
        if self.features:
            placed["features"] = self.project_features.weight.T
        if not self.content:
            unread = {"matrix": torch.zeros(0, width), "mean": torch.zeros(0), "components": torch.zeros(0, 0)}
            return {**placed, **unread, "offset": placed["missing"].clone()}
        mean, matrix = self.reduction.mean, self.reduction.components @ self.project.weight.T
        placed |= {"mean": mean, "components": self.reduction.axes()}
        return {**placed, "matrix": matrix, "offset": no_id - mean @ matrix}

    @torch.no_grad()
    def contents(self, says: ItemContent) -> Tensor:
        """Return (n, L) the principal components of texts at unit length, to compare items by; zeros without a text."""
        if not self.content:
            return torch.zeros(len(says.has_text_n), 0)
        lengths = self.reduction.components.norm(dim=0).clamp(min=1e-12)
        parts = (says.text_nP / lengths)[:, :LIKENESS]
        return F.normalize(parts, dim=1) * says.has_text_n.unsqueeze(1)


@dataclass(frozen=True)
class ItemContent:
    """What n items say.

    Args:
        text_nP: (n, P) reduced text vectors; not read where the model reads no text.
        has_text_n: (n,) bool.
        features_nF: (n, F) normalised numeric features, 0 where missing.
    """

    text_nP: Tensor
    has_text_n: Tensor
    features_nF: Tensor

    def of(self, rows: Tensor) -> ItemContent:
        """Return what the items of `rows` say."""
        return ItemContent(self.text_nP[rows], self.has_text_n[rows], self.features_nF[rows])


def new_ids(items: int, width: int, generator: torch.Generator) -> Tensor:
    """Return (V + 1, D) id vectors to start from; scores against a normed user vector then spread by about 0.3."""
    ids = torch.randn(items + 1, width, generator=generator).mul_(0.3 / width**0.5)
    ids[0] = 0.0
    return ids
