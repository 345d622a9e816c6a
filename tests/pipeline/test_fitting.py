"""A training from a dataset to a model folder: rings, twins, stopping and going on, and data that is too little."""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec
import numpy as np
import polars as pl
import pytest
import torch
from safetensors.numpy import load_file, save_file

from headrace.content.text_onnx import OnnxTextEncoder
from headrace.core.errors import DataError, FormatError, ModelError, StoppedError
from headrace.core.formats import FITTED_FOLDER, METRICS_FILE, ModelInfo, Protocol
from headrace.core.settings import ContentSettings, Settings, Targets, TrainingSettings
from headrace.data.dataset import Dataset
from headrace.data.log import History
from headrace.data.synthetic import ring, twins
from headrace.pipeline.fitting import can_resume, resume, train
from headrace.pipeline.model_folder import Metrics
from headrace.pipeline.preparation import prepare
from headrace.ranking.behaviour import Behaviour
from headrace.ranking.network import Network
from headrace.ranking.ratings import RatingModel
from headrace.training.progress import Progress

RING = 12
NO_TEXT = ContentSettings(text_model="none")


class Recorder:
    """Remembers the progress, and stops after so many steps of a stage."""

    def __init__(self, stage: str = "", step: int = 0) -> None:
        self.seen: list[Progress] = []
        self._stop = (stage, step)

    def report(self, progress: Progress) -> None:
        self.seen.append(progress)

    def stopped(self) -> bool:
        return bool(self.seen) and (self.seen[-1].stage, self.seen[-1].step) == self._stop


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> None:
    torch.set_num_threads(1)


def settings_for(steps: int, content: ContentSettings = NO_TEXT) -> Settings:
    return Settings(training=TrainingSettings(preset="tiny", steps=steps, batch_events=512), content=content)


@pytest.fixture(scope="module")
def twin_model(tmp_path_factory: pytest.TempPathFactory) -> tuple[Dataset, Path]:
    folder = tmp_path_factory.mktemp("twins")
    events, items = twins(RING, 60, 15)
    dataset = prepare(events, items=items, out=folder / "data")
    content = ContentSettings(cache=str(folder / "cache"))
    train(dataset, out=folder / "model", settings=settings_for(150, content), protocol="all")
    return dataset, folder / "model"


@pytest.fixture(scope="module")
def rated(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    folder = tmp_path_factory.mktemp("rated")
    events, _ = ring(RING, 40, 12)
    chance = np.random.default_rng(0)
    generous = {user: chance.normal(0, 1) for user in events["user_id"].unique().sort().to_list()}
    good = {item: chance.normal(0, 1) for item in events["item_id"].unique().sort().to_list()}
    values = [
        float(np.clip(np.round(3 + generous[u] + good[i] + chance.normal(0, 0.3)), 1, 5))
        for u, i in events.select("user_id", "item_id").iter_rows()
    ]
    return prepare(events.with_columns(type=pl.lit("rating"), value=pl.Series(values)), out=folder / "data")


def history_of(items: list[int]) -> History:
    n = len(items)
    times = 10**15 + np.arange(n, dtype=np.int64) * 3_600_000_000
    return History(np.array(items, np.int32), np.zeros(n, np.int32), np.full(n, np.nan, np.float32), times)


def test_a_ring_is_answered_with_a_recall_of_one(twin_model: tuple[Dataset, Path]) -> None:
    network = Network.load(twin_model[1])
    vectors = network.own_vectors
    index = {text: place for place, text in enumerate(network.vocabulary.ids, 1)}
    ring_items = [index[f"item{number}"] for number in range(RING)]
    walks = [[ring_items[(start + step) % RING] for step in range(4)] for start in range(RING)]
    users = network.users([history_of(walk) for walk in walks], [None] * RING, vectors)
    scores = vectors.outputs.scores(users)
    best = [ring_items[int(place)] for place in scores[:, ring_items].argmax(1)]
    assert best == [ring_items[(start + 4) % RING] for start in range(RING)]


def test_a_twin_with_a_new_id_is_placed_by_its_text(twin_model: tuple[Dataset, Path]) -> None:
    dataset, folder = twin_model
    network = Network.load(folder)
    encoder = OnnxTextEncoder(folder / "text")
    titles = dict(dataset.items().select("item_id", "title").iter_rows())
    content = np.zeros((RING + 1, network.content_width), np.float32)
    categories = dict(dataset.items().select("item_id", "categories").iter_rows())
    texts = [". ".join([titles[f"item{n}"], ", ".join(categories[f"item{n}"] or [])]) for n in range(RING)]
    content[1:] = encoder.encode(texts)
    vectors = network.adapt([f"new{n}" for n in range(RING)], content)
    own = network.own_vectors
    assert not vectors.known.any()
    index = {text: place for place, text in enumerate(network.vocabulary.ids, 1)}
    walks = [[index[f"item{(start + step) % RING}"] for step in range(4)] for start in range(RING)]
    users = network.users([history_of(walk) for walk in walks], [None] * RING, own)
    best = (vectors.outputs.scores(users))[:, 1:].argmax(1)
    assert np.mean(best == (np.arange(RING) + 4) % RING) >= 0.9


def test_items_map_by_the_text_of_their_ids(twin_model: tuple[Dataset, Path]) -> None:
    network = Network.load(twin_model[1])
    vectors = network.adapt(["stranger", "item3", "item0"], types=["unheard of", network.info.shape.types[0]])
    own = network.own_vectors
    place = network.vocabulary.index("item3")
    assert np.array_equal(vectors.outputs.wide()[2], own.outputs.wide()[place])
    assert vectors.rows.tolist() == [0, 0, place, network.vocabulary.index("item0")]
    assert vectors.types.tolist() == [-1, 0]
    assert not vectors.outputs.wide()[0].any()


def test_a_new_item_is_appended_and_can_be_scored_and_read(twin_model: tuple[Dataset, Path]) -> None:
    network = Network.load(twin_model[1])
    vectors = network.adapt(["item0"])
    vectors.append(network.place(np.zeros((3, network.content_width), np.float32)))
    assert len(vectors) == 5
    assert vectors.known.tolist() == [False, True, False, False, False]
    assert not vectors.placed[2:].any()
    users = network.users([history_of([1, 4]), history_of([1, 99])], [None, None], vectors)
    assert np.isfinite(users).all()
    np.testing.assert_allclose(users[0], users[1], atol=1e-5)


def test_one_history_has_one_answer_alone_or_among_others(twin_model: tuple[Dataset, Path]) -> None:
    network = Network.load(twin_model[1])
    vectors = network.own_vectors
    chance = np.random.default_rng(3)
    histories = [history_of(chance.integers(1, RING, n).tolist()) for n in (0, 1, 7, 300, 60)]
    times = [None, 2 * 10**15, None, 3 * 10**15, None]
    together = network.users(histories, times, vectors)
    for row, (history, time) in enumerate(zip(histories, times, strict=True)):
        np.testing.assert_allclose(network.users([history], [time], vectors)[0], together[row], atol=1e-4)
    assert network.users([], [], vectors).shape == (0, network.info.shape.width)


def test_a_model_folder_holds_what_it_should_and_no_user(twin_model: tuple[Dataset, Path]) -> None:
    dataset, folder = twin_model
    names = {
        "README.md", "counts.safetensors", "encode.onnx", "items.parquet", "metrics.json", "model.json", "query.onnx",
        "step.onnx", "vectors.safetensors", "weights.safetensors",
    }  # fmt: skip
    assert {path.name for path in folder.iterdir()} == names | {"fitted", "text"}
    assert {path.name for path in (folder / "fitted").iterdir()} == names
    users = [user.encode() for user in dataset.user_vocabulary().ids]
    for path in folder.rglob("*"):
        if path.is_file() and path.parent.name != "text":
            held = path.read_bytes()
            assert not any(user in held for user in users if len(user) > 3), path
    info = msgspec.json.decode((folder / "model.json").read_bytes(), type=ModelInfo)
    assert info.learned.stage == "refitted"
    assert info.learned.events == 60 * 15
    fitted = msgspec.json.decode((folder / "fitted" / "model.json").read_bytes(), type=ModelInfo)
    assert fitted.learned.stage == "fitted"
    assert fitted.learned.events < info.learned.events
    counts = Behaviour.from_state(load_file(folder / "counts.safetensors"))
    assert int(counts.popularity.totals(2 * RING).sum()) == 60 * 15
    metrics = msgspec.json.decode((folder / "metrics.json").read_bytes())
    assert set(metrics["validation"]) == {"headrace", "encoder", "counts"}
    assert not list(folder.parent.glob(".model*"))


@pytest.mark.parametrize(("stage", "step"), [("fitted", 5), ("refitted", 3)])
def test_a_stopped_training_goes_on_to_the_very_same_model(
    rated: Dataset, tmp_path: Path, stage: str, step: int, whole_rated: Path
) -> None:
    out = tmp_path / "model"
    with pytest.raises(StoppedError, match="--resume"):
        train(rated, out=out, settings=settings_for(12), watcher=Recorder(stage, step))
    assert not out.exists()
    assert can_resume(out)
    resume(rated, out=out)
    assert not can_resume(out)
    for name in ("weights.safetensors", "fitted/weights.safetensors", "vectors.safetensors"):
        found, expected = load_file(out / name), load_file(whole_rated / name)
        assert found.keys() == expected.keys()
        assert all(np.array_equal(found[key], expected[key]) for key in expected)


@pytest.fixture(scope="module")
def whole_rated(rated: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("whole") / "model"
    recorder = Recorder()
    train(rated, out=out, settings=settings_for(12), watcher=recorder)
    shares = [progress.share for progress in recorder.seen]
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    return out


def test_minutes_become_steps_that_repeat_the_run(rated: Dataset, tmp_path: Path) -> None:
    timed = Settings(training=TrainingSettings(preset="tiny", minutes=0.01, batch_events=512), content=NO_TEXT)
    info = train(rated, out=tmp_path / "timed", settings=timed)
    assert info.steps == info.settings["training"]["steps"] == 20
    again = train(rated, out=tmp_path / "again", settings=settings_for(info.steps))
    assert again.steps == info.steps
    found, expected = (load_file(tmp_path / name / "weights.safetensors") for name in ("again", "timed"))
    assert all(np.array_equal(found[key], expected[key]) for key in expected)


def test_ratings_lie_on_the_scale_and_are_nearer_than_the_mean(rated: Dataset, whole_rated: Path) -> None:
    network, ratings = Network.load(whole_rated), RatingModel.load(whole_rated)
    log = rated.log()
    vectors = network.adapt(rated.item_vocabulary().ids, types=rated.report.types)
    second = network.info.learned.second_cut
    assert second is not None
    offsets = log.offsets()
    histories, items, given = [], [], []
    for place in np.flatnonzero(log.times >= second).tolist():
        start = int(offsets[log.users[place]])
        own = slice(start, place)
        histories.append(History(log.items[own], log.types[own], log.values[own], log.times[own]))
        items.append(log.items[place])
        given.append(log.values[place])
    users = network.users(histories, [None] * len(histories), vectors)
    rows = np.arange(len(items), dtype=np.int32)
    found = ratings.rate(users, histories, rows, np.array(items, np.int32), vectors)
    error = np.sqrt(np.mean((found.ratings - given) ** 2))
    before = log.times < second
    assert error < np.sqrt(np.mean((log.values[before].mean() - np.array(given)) ** 2))
    assert (found.low <= found.ratings).all()
    assert (found.ratings <= found.high).all()
    assert found.low.min() >= 1
    assert found.high.max() <= 5


def test_an_unknown_item_gets_what_the_user_gives_and_a_new_user_what_everyone_gives(whole_rated: Path) -> None:
    network, ratings = Network.load(whole_rated), RatingModel.load(whole_rated)
    flat = RatingModel.load(whole_rated)
    flat.fit = msgspec.structs.replace(ratings.fit, weight=0.0)
    vectors = network.own_vectors
    empty = history_of([])
    users = network.users([empty], [None], vectors)
    found = flat.rate(users, [empty], np.zeros(2, np.int32), np.array([0, 10_000], np.int32), vectors)
    mean = ratings.fit.mean * (ratings.scale.high - ratings.scale.low) + ratings.scale.low
    np.testing.assert_allclose(found.ratings, [mean, mean], rtol=1e-5)


@pytest.mark.parametrize("name", ["encode.onnx", "query.onnx", "vectors.safetensors", "items.parquet", "model.json"])
def test_a_damaged_folder_is_refused_with_the_name_of_the_file(whole_rated: Path, tmp_path: Path, name: str) -> None:
    folder = tmp_path / "model"
    shutil.copytree(whole_rated, folder)
    (folder / name).write_bytes((folder / name).read_bytes()[:50])
    with pytest.raises(FormatError, match=f"{name}|missing or damaged"):
        Network.load(folder)
    (folder / name).unlink()
    with pytest.raises(FormatError):
        Network.load(folder)


def test_a_weight_that_is_no_number_is_refused(whole_rated: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(whole_rated, folder)
    tables = load_file(folder / "vectors.safetensors")
    tables["outputs"][1, 0] = np.nan
    save_file(tables, folder / "vectors.safetensors")
    with pytest.raises(ModelError, match="every weight must be a number"):
        Network.load(folder)


def test_another_dataset_cannot_go_on_with_a_training(rated: Dataset, tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="--resume"):
        resume(rated, out=tmp_path / "model")
    with pytest.raises(StoppedError):
        train(rated, out=tmp_path / "model", settings=settings_for(12), watcher=Recorder("fitted", 2))
    events, _ = ring(5, 10, 5)
    other = prepare(events, out=tmp_path / "other")
    with pytest.raises(DataError, match="dataset that the training began with"):
        resume(other, out=tmp_path / "model")


def events_of(rows: list[tuple[str, str, int]]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=["user_id", "item_id", "time"], orient="row")


HOURS = [1_600_000_000 + 3600 * n for n in range(12)]
SMALL: dict[str, list[tuple[str, str, int]]] = {
    "ten events": [(f"u{n % 3}", f"i{n % 4}", HOURS[n]) for n in range(10)],
    "one user": [("u", f"i{n}", HOURS[n]) for n in range(12)],
    "one item": [(f"u{n}", "i", HOURS[n]) for n in range(12)],
}


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("protocol", ["time", "leave-one-out", "all"])
def test_very_little_data_trains(name: str, protocol: Protocol, tmp_path: Path) -> None:
    dataset = prepare(events_of(SMALL[name]), out=tmp_path / "data")
    info = train(dataset, out=tmp_path / "model", settings=settings_for(3), protocol=protocol)
    network = Network.load(tmp_path / "model")
    vectors = network.own_vectors
    assert np.isfinite(network.users([history_of([1])], [None], vectors) @ vectors.outputs.wide().T).all()
    assert info.learned.protocol == protocol


@pytest.mark.parametrize(("length", "targets", "judged"), [(6, "new", True), (12, "new", False), (12, "all", True)])
def test_a_network_that_learns_what_is_new_is_judged_by_what_is_new(
    length: int, targets: Targets, judged: bool, tmp_path: Path
) -> None:
    """On a ring of six items the last event but one of a second round is nothing new to anybody."""
    dataset = prepare(ring(6, 20, length)[0], out=tmp_path / "data")
    settings = Settings(training=TrainingSettings(preset="tiny", steps=3, targets=targets), content=NO_TEXT)
    train(dataset, out=tmp_path / "model", settings=settings, protocol="leave-one-out")
    metrics = msgspec.json.decode((tmp_path / "model" / FITTED_FOLDER / METRICS_FILE).read_bytes(), type=Metrics)
    assert {point.metric is not None for point in metrics.curve} == {judged}


def test_all_events_at_one_second_are_refused_with_what_to_do(tmp_path: Path) -> None:
    dataset = prepare(events_of([(f"u{n % 3}", f"i{n}", HOURS[0]) for n in range(12)]), out=tmp_path / "data")
    with pytest.raises(DataError, match="leave-one-out"):
        train(dataset, out=tmp_path / "model", settings=settings_for(3))
    train(dataset, out=tmp_path / "model", settings=settings_for(3), protocol="leave-one-out")


def test_a_file_without_times_is_learned_from_in_its_order(tmp_path: Path) -> None:
    rows = [(f"u{n}", f"i{(n + step) % 5}") for n in range(20) for step in range(5)]
    dataset = prepare(pl.DataFrame(rows, schema=["user_id", "item_id"], orient="row"), out=tmp_path / "data")
    with pytest.raises(DataError, match="times"):
        train(dataset, out=tmp_path / "model", settings=settings_for(3))
    info = train(dataset, out=tmp_path / "model", settings=settings_for(3), protocol="leave-one-out")
    assert not info.shape.times
    network = Network.load(tmp_path / "model")
    vectors = network.own_vectors
    soon, late = (network.users([history_of([1, 2])], [time], vectors) for time in (None, 2 * 10**15))
    assert np.array_equal(soon, late)


def test_an_output_that_is_not_ours_stays_untouched(rated: Dataset, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(FormatError, match="must be a new folder"):
        train(rated, out=tmp_path, settings=settings_for(3))
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_a_training_begins_with_the_weights_of_another_model(rated: Dataset, whole_rated: Path, tmp_path: Path) -> None:
    before = Network.load(whole_rated).own_vectors.outputs.wide()
    train(rated, out=tmp_path / "model", settings=settings_for(1), from_model=whole_rated)
    after = Network.load(tmp_path / "model").own_vectors.outputs.wide()
    fresh_distance = np.abs(before).mean()
    assert np.abs(after - before).mean() < 0.2 * fresh_distance


def test_each_stage_begins_with_the_same_stage_of_the_other_model(
    rated: Dataset, whole_rated: Path, tmp_path: Path
) -> None:
    """The stage that chooses between the cuts must not begin with weights that have learned what it is asked there."""
    training = TrainingSettings(preset="tiny", steps=1, batch_events=512, learning_rate=1e-9)
    settings = Settings(training=training, content=NO_TEXT)
    train(rated, out=tmp_path / "model", settings=settings, protocol="all", from_model=whole_rated)
    for stage in ("", FITTED_FOLDER):
        before, after = (
            Network.load(model / stage).own_vectors.outputs.wide() for model in (whole_rated, tmp_path / "model")
        )
        assert np.allclose(after, before, atol=1e-5)
