"""PyTorch equals ONNX, on all three graphs and the rating head."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import onnxruntime
import pytest
import torch
from training_cases import SHAPE

from headrace.core.formats import ENCODE_FILE, QUERY_FILE, RATING_FILE, STEP_FILE
from headrace.model.attention import step_layout
from headrace.model.encoder import Encoder
from headrace.model.rating_head import RATING_FEATURES, RatingHead
from headrace.model.transformer import Transformer
from headrace.training.export import export_network, export_rating_head

TOLERANCE = 1e-4


@pytest.fixture(scope="module", params=["attention", "retention"])
def model(request: pytest.FixtureRequest) -> Transformer:
    torch.manual_seed(5)
    network = Transformer(msgspec.structs.replace(SHAPE, mixer=request.param)).eval()
    for parameter in network.parameters():
        parameter.data.add_(torch.randn_like(parameter) * 0.1)
    return network


@pytest.fixture(scope="module")
def folder(model: Transformer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("graphs")
    export_network(model, path)
    return path


def session(path: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options)


def events(batch: int, n: int, seed: int = 0) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(seed)
    gaps = generator.choice([0, 900_000, 10**9, 10**13], (batch, n))
    return {
        "items": generator.normal(size=(batch, n, SHAPE.width)).astype(np.float32),
        "types": generator.integers(-1, 2, (batch, n)),
        "values": generator.choice([-1.0, 0.0, 0.4, 1.0], (batch, n)).astype(np.float32),
        "times": 10**15 + np.cumsum(gaps, axis=1),
    }


@pytest.mark.parametrize(("batch", "n"), [(1, 1), (3, 7), (2, 120)])
def test_encoding_and_asking_are_the_same_in_both(model: Transformer, folder: Path, batch: int, n: int) -> None:
    given = events(batch, n)
    states, kept = session(folder / ENCODE_FILE).run(None, given)
    inputs = {name: torch.from_numpy(array) for name, array in given.items()}
    with torch.no_grad():
        x = model.encoder.events(inputs["items"], inputs["types"], inputs["values"])
        expected, expected_kept = model.encoder(x, inputs["times"])
    np.testing.assert_allclose(states, expected.numpy(), atol=TOLERANCE)
    np.testing.assert_allclose(kept, expected_kept.numpy(), atol=TOLERANCE)
    ages = np.tile(np.arange(n - 1, -1, -1), (batch, 1))
    requests = np.where(np.arange(batch) % 2 == 0, -1, given["times"][:, -1] + 10**10)
    (users,) = session(folder / QUERY_FILE).run(
        ["users"], {"states": states, "times": given["times"], "ages": ages, "requests": requests}
    )
    with torch.no_grad():
        asked = model.query(expected, inputs["times"], torch.from_numpy(ages), torch.from_numpy(requests))
    np.testing.assert_allclose(users, asked.numpy(), atol=TOLERANCE)


def test_every_hour_of_every_day_is_read_alike_in_both_and_as_the_calendar_says(
    model: Transformer, folder: Path
) -> None:
    hours = np.concatenate([np.arange(200), np.arange(380_000, 380_200), np.arange(490_000, 1_100_000, 997)])
    requests = np.concatenate([hours * 3_600_000_000 + shift for shift in (0, 1, 3_599_999_999)])
    n = len(requests)
    given = {
        "states": np.tile(np.random.default_rng(1).normal(size=(1, 1, SHAPE.width)).astype(np.float32), (n, 1, 1)),
        "times": requests[:, None],
        "ages": np.zeros((n, 1), np.int64),
        "requests": requests,
    }
    (users,) = session(folder / QUERY_FILE).run(["users"], given)
    with torch.no_grad():
        expected = model.query(*(torch.from_numpy(array) for array in given.values())).numpy()
    np.testing.assert_allclose(users, expected, atol=TOLERANCE)
    moments = requests.astype("datetime64[us]")
    hour = (moments.astype("datetime64[h]") - moments.astype("datetime64[D]").astype("datetime64[h]")).astype(int)
    day = moments.astype("datetime64[D]").astype(int) % 7
    for place in range(24 * 7):
        same = (hour * 7 + day) == place
        assert np.ptp(expected[same], axis=0).max() < TOLERANCE
    assert len(np.unique(expected.round(3), axis=0)) == 24 * 7


def test_stepping_is_the_same_in_both_and_goes_on_from_what_encoding_cached(model: Transformer, folder: Path) -> None:
    given = events(2, 9)
    first = {name: array[:, :6] for name, array in given.items()}
    rest = {name: array[:, 6:] for name, array in given.items()}
    whole, kept_after = session(folder / ENCODE_FILE).run(None, given)
    _, kept = session(folder / ENCODE_FILE).run(None, first)
    ages = np.tile(np.arange(6, 0, -1), (2, 1))
    of_attention = {"slots": kept, "slot_ages": ages, "slot_times": first["times"]}
    attends = isinstance(model.encoder, Encoder)
    cached = of_attention if attends else {"kept": kept, "last": first["times"][:, -1]}
    states, after = session(folder / STEP_FILE).run(None, {**rest, **cached})
    np.testing.assert_allclose(states, whole[:, 6:], atol=TOLERANCE)
    np.testing.assert_allclose(after, kept_after[..., 6:, :] if attends else kept_after, atol=TOLERANCE)
    with torch.no_grad():
        tensors = {name: torch.from_numpy(array) for name, array in {**rest, **cached}.items()}
        x = model.encoder.events(tensors["items"], tensors["types"], tensors["values"])
        if isinstance(model.encoder, Encoder):
            layout = step_layout(tensors["slot_ages"], tensors["slot_times"], tensors["times"], SHAPE.window)
            expected, expected_after = model.encoder.step(x, tensors["slots"], layout)
        else:
            expected, expected_after = model.encoder.step(x, tensors["kept"], tensors["times"], tensors["last"])
    np.testing.assert_allclose(states, expected.numpy(), atol=TOLERANCE)
    np.testing.assert_allclose(after, expected_after.numpy(), atol=TOLERANCE)


def test_both_graphs_that_encode_name_what_is_kept_alike(model: Transformer, folder: Path) -> None:
    named = [[out.name for out in session(folder / name).get_outputs()] for name in (ENCODE_FILE, STEP_FILE)]
    assert named == [["states", "caches" if isinstance(model.encoder, Encoder) else "matrices"]] * 2


def test_the_rating_head_is_the_same_in_both(tmp_path: Path) -> None:
    torch.manual_seed(2)
    head = RatingHead(SHAPE.width).eval()
    for parameter in head.parameters():
        parameter.data.normal_()
    export_rating_head(head, SHAPE.width, tmp_path)
    sizes = {"users": SHAPE.width, "items": SHAPE.width, "features": RATING_FEATURES}
    given = {name: np.random.default_rng(1).normal(size=(4, size)).astype(np.float32) for name, size in sizes.items()}
    (residuals,) = session(tmp_path / RATING_FILE).run(["residuals"], given)
    with torch.no_grad():
        expected = head(*(torch.from_numpy(array) for array in given.values()))
    np.testing.assert_allclose(residuals, expected.numpy(), atol=TOLERANCE)
