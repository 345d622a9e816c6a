"""The loop learns a ring, and a stopped training goes on to the very same numbers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from training_cases import SHAPE, log_of, ring_log, sequences_of, training_of

from headrace.core.errors import FormatError, ModelError
from headrace.core.formats import Shape
from headrace.model.items import ItemContent
from headrace.model.transformer import Transformer
from headrace.training import batches
from headrace.training.asking import users_at_places
from headrace.training.batches import Sequences
from headrace.training.checkpoint import read_checkpoint, write_checkpoint
from headrace.training.learner import Learner, Noise
from headrace.training.loop import LoopState, Training
from headrace.training.negatives import NegativeSampler
from headrace.training.optimizer import Schedule

SHAPES = [
    pytest.param(SHAPE, id="attention"),
    pytest.param(msgspec.structs.replace(SHAPE, mixer="retention"), id="retention"),
]


def ignore(_: Training) -> None:
    pass


@pytest.mark.parametrize("shape", SHAPES)
def test_a_ring_is_learned_to_a_recall_of_one(shape: Shape) -> None:
    items = 12
    log = ring_log(items, 60, 15)
    training = training_of(log, steps=150, shape=shape)
    training.run(150, ignore)
    known = torch.arange(items + 1) > 0
    inputs, outputs = training.learner.vectors(known)
    sequences = Sequences(log, np.full(len(log), -1, np.float32), shape=shape, batch_events=4096, ties="file")
    users = users_at_places(training.learner.model, inputs, sequences)[1:]
    best = (users @ outputs.numpy().T)[:, 1:].argmax(1) + 1
    assert np.array_equal(best, log.items % items + 1)


@pytest.mark.parametrize("shape", SHAPES)
def test_parts_of_a_batch_on_a_core_each_teach_what_the_whole_does(
    monkeypatch: pytest.MonkeyPatch, shape: Shape
) -> None:
    monkeypatch.setattr(batches, "LEAST_EVENTS", 20)
    log = ring_log(12, 60, 15)
    learned = []
    for threads in (1, 3):
        training = training_of(log, steps=6, shape=shape)
        training.learner.noise = Noise(0.0, 0.0)
        training.learner.model.drop.share = 0.0
        torch.set_num_threads(threads)
        try:
            training.run(6, ignore)
            assert torch.get_num_threads() == threads
        finally:
            torch.set_num_threads(1)
        learned.append((training.loss, training.learner.ids))
    (loss, ids), (other_loss, other_ids) = learned
    assert other_loss == pytest.approx(loss, abs=1e-5)
    assert not torch.equal(ids, other_ids)  # sums in another order
    torch.testing.assert_close(other_ids, ids, atol=2e-4, rtol=0)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_stopped_training_goes_on_to_the_very_same_numbers(tmp_path: Path, shape: Shape) -> None:
    log = ring_log(12, 60, 15)
    whole = training_of(log, steps=20, shape=shape)
    whole.run(20, ignore)
    first = training_of(log, steps=20, shape=shape)
    first.run(7, ignore)
    first.check(0.5)
    write_checkpoint(tmp_path / "stage.safetensors", first.tensors(), first.state)
    second = training_of(log, steps=20, shape=shape)
    tensors, state = read_checkpoint(tmp_path / "stage.safetensors", LoopState)
    second.load(tensors, state)
    second.run(20, ignore)
    assert second.loss == whole.loss
    assert second.state.best_step == 7
    for name, tensor in whole.learner.state().items():
        assert torch.equal(tensor, second.learner.state()[name]), name


def test_the_best_weights_come_back() -> None:
    training = training_of(ring_log(6, 10, 5), steps=6)
    training.run(3, ignore)
    training.check(0.9)
    kept = training.learner.ids.clone()
    training.run(6, ignore)
    training.check(0.1)
    assert not torch.equal(training.learner.ids, kept)
    training.take_best()
    assert torch.equal(training.learner.ids, kept)


def test_a_loss_that_is_no_number_stops_with_what_to_try() -> None:
    training = training_of(ring_log(6, 10, 5), steps=6)
    training.learner.noise = Noise(0.0, 0.0)  # a dropped id would hide it
    training.run(2, ignore)
    training.learner.ids[3] = float("nan")
    before = training.learner.model.query.ask.weight.clone()
    with pytest.raises(ModelError, match="half the learning_rate") as told:
        training.run(6, ignore)
    assert "--resume" not in str(told.value)  # it would come to the very same number
    assert torch.equal(training.learner.model.query.ask.weight, before)


def test_a_damaged_checkpoint_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "stage.safetensors"
    with pytest.raises(FormatError, match="without --resume"):
        read_checkpoint(path, LoopState)
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(FormatError, match="cannot be read"):
        read_checkpoint(path, LoopState)


def test_a_catalogue_of_one_item_and_one_user_trains() -> None:
    training = training_of(ring_log(1, 1, 5), steps=3)
    training.run(3, ignore)
    assert training.loss == 0.0


def test_the_rate_rises_then_falls_to_a_fiftieth() -> None:
    schedule = Schedule(peak=1.0, steps=100, warmup=10)
    assert schedule.rate(5) == pytest.approx(0.5)
    assert schedule.rate(10) == pytest.approx(1.0)
    assert schedule.rate(55) == pytest.approx(0.51)
    assert schedule.rate(100) == pytest.approx(0.02)


def test_content_places_items_that_nobody_has_met() -> None:
    """Two tribes: even users meet even items, odd ones odd items; the last four items have no event."""
    generator = np.random.default_rng(0)
    log = log_of([(generator.integers(0, 10, 8) * 2 + 1 + user % 2).tolist() for user in range(60)])
    items = 24
    log = replace(log, n_items=items)
    text = torch.zeros(items + 1, 3)
    text[1:, 0] = 1.0
    text[1::2, 1] = 1.0
    text[2::2, 2] = 1.0
    shape = Shape(width=32, layers=1, heads=2, window=50, content=3, types=["interaction"])
    torch.manual_seed(1)
    model = Transformer(shape)
    model.items.reduction.fit(text)
    says = ItemContent(model.items.reduction(text), text.any(1), torch.zeros(items + 1, 0))
    learner = Learner(model, says, noise=Noise(ids=0.3), seed=1)
    training = Training(learner, sequences_of(log, shape=shape), NegativeSampler(log, 64), Schedule(5e-3, 120, 20))
    training.run(120, ignore)
    known = torch.from_numpy(np.bincount(log.items, minlength=items + 1) > 0)
    inputs, outputs = learner.vectors(known)
    users = users_at_places(model, inputs, sequences_of(log, shape=shape))[1:]
    scores = users @ outputs.numpy().T
    odd, even = scores[:, [21, 23]].mean(1), scores[:, [22, 24]].mean(1)
    assert not known[21:].any()
    assert np.mean((odd > even) == (log.items % 2 == 1)) > 0.98
