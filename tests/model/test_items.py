"""Item vectors: id, text and features."""

from __future__ import annotations

import numpy as np
import torch

from headrace.model.dropout import Dropout
from headrace.model.items import ItemContent, Items, new_ids


def test_a_new_item_is_placed_by_one_matrix_as_the_module_would_place_it() -> None:
    torch.manual_seed(1)
    items = Items(8, content=20, features=3)
    for parameter in items.parameters():
        parameter.data.normal_()
    text = torch.nn.functional.normalize(torch.randn(30, 20), dim=1)
    text[4] = 0.0
    items.reduction.fit(text)
    features = torch.randn(30, 3)
    says = ItemContent(items.reduction(text), text.abs().sum(1) > 0, features)
    with torch.no_grad():
        inputs, outputs = items(items.no_id.expand(30, -1), says)
    placed = items.place_matrices()
    found = text @ placed["matrix"] + placed["offset"]
    found[4] = placed["missing"]
    found = found + features @ placed["features"]
    torch.testing.assert_close(found, torch.cat([inputs, outputs], dim=1), atol=1e-4, rtol=1e-4)


def test_twin_items_have_the_same_vectors_when_their_ids_are_dropped() -> None:
    items = Items(8, content=4, features=0)
    text = torch.tensor([[1.0, 0, 0, 0], [1.0, 0, 0, 0], [0, 1.0, 0, 0]])
    items.reduction.fit(text)
    says = ItemContent(items.reduction(text), torch.ones(3, dtype=torch.bool), torch.zeros(3, 0))
    inputs, outputs = items(items.no_id.expand(3, -1), says)
    assert torch.equal(inputs[0], inputs[1])
    assert not torch.equal(outputs[0], outputs[2])


def test_whitened_content_has_about_unit_variance_in_each_direction() -> None:
    torch.manual_seed(0)
    items = Items(8, content=6, features=0)
    text = torch.randn(500, 6) * torch.arange(1.0, 7.0) + 5.0
    items.reduction.fit(text)
    torch.testing.assert_close(items.reduction(text).std(0), torch.ones(6), atol=0.05, rtol=0)


def test_padding_has_no_vector_of_its_own() -> None:
    assert torch.equal(new_ids(5, 4, torch.Generator().manual_seed(1))[0], torch.zeros(4))


def test_dropout_keeps_the_mean_and_rests_without_a_generator() -> None:
    drop = Dropout(0.25)
    x = torch.ones(200, 500)
    assert torch.equal(drop(x), x)
    drop.generator = np.random.default_rng(0)
    dropped = drop(x)
    # 100,000 draws: the standard error of the share is 0.0014.
    assert abs(float((dropped == 0).float().mean()) - 0.25) < 0.006
    assert abs(float(dropped.mean()) - 1.0) < 0.01
