"""Evaluation of a model folder: the tables of the contract, and what it refuses."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec
import numpy as np
import polars as pl
import pytest
from small_models import info_of, network_of, write_info

from headrace.core.errors import DataError, FormatError, LeakError
from headrace.core.formats import FITTED_FOLDER, METRICS_FILE, ModelInfo, Stage, Ties
from headrace.core.settings import DataSettings
from headrace.data.dataset import Dataset
from headrace.data.log import History, Ints
from headrace.data.splits import cuts
from headrace.data.synthetic import ring
from headrace.pipeline.assessment import compare_baselines, evaluate
from headrace.pipeline.preparation import prepare
from headrace.pipeline.report import Report
from headrace.ranking.evaluation import Lists
from headrace.ranking.item_vectors import ItemVectors
from headrace.ranking.network import Network
from headrace.ranking.questions import Task
from headrace.ranking.ratings import RatingModel, Ratings

NOW = 1_900_000_000_000_000
METHODS = {"popular", "popular-7d", "user-knn", "item-knn", "content", "markov", "counts"}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    events, items = ring(n_items=30, n_users=60, length=12)
    return prepare(events, items=items, out=tmp_path_factory.mktemp("data") / "ring", now=NOW)


def pretend(monkeypatch: pytest.MonkeyPatch, dataset: Dataset, info: ModelInfo) -> None:
    def load(folder: Path, stage: Stage = "refitted", *, threads: int = 1) -> Network:
        return network_of(dataset, info)

    monkeypatch.setattr(Network, "load", load)


def value(report: Report, method: str, protocol: str, metric: str, k: int | None) -> float:
    (found,) = [
        row.value
        for row in report.rows
        if (row.method, row.protocol, row.slice, row.metric, row.k) == (method, protocol, "all", metric, k)
    ]
    return found


def test_a_model_is_scored_beside_every_traditional_method(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    info = info_of(dataset, second_cut=cuts(dataset.log())[1])
    pretend(monkeypatch, dataset, info)
    folder = write_info(info, tmp_path / "model")
    (folder / FITTED_FOLDER).mkdir()
    (folder / FITTED_FOLDER / METRICS_FILE).write_text('{"curve": [{"step": 5, "loss": 2.5, "metric": 0.3}]}')
    told: list[str] = []
    report = evaluate(folder, dataset, tell=told.append)

    assert {row.method for row in report.rows} == METHODS | {"headrace", "encoder"}
    assert {row.protocol for row in report.rows} == {
        f"time-{clock}{twin}" for clock in ("frozen", "live") for twin in ("", "-no-time")
    }
    assert [point.step for point in report.curve] == [5]
    assert any("time-live" in line for line in told)
    # Every question with a history has a certain answer; one without may be answered by luck.
    log, cut = dataset.log(), info.learned.second_cut
    asked = log.times >= (cut or 0)
    first_of_user = np.diff(log.users, prepend=0) != 0
    share = 1 - (asked & first_of_user).sum() / asked.sum()
    assert value(report, "encoder", "time-frozen", "recall", 5) >= share
    for method in ("headrace", "counts", "markov"):
        assert value(report, method, "time-live", "recall", 5) >= share


def test_the_lists_of_every_method_are_handed_out_with_their_task(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    info = info_of(dataset, second_cut=cuts(dataset.log())[1])
    pretend(monkeypatch, dataset, info)
    kept: dict[str, tuple[Task, Mapping[str, Lists]]] = {}
    evaluate(
        write_info(info, tmp_path / "model"),
        dataset,
        keep=lambda table, task, lists: kept.update({table: (task, lists)}),
    )
    assert set(kept) == {"time-frozen", "time-live"}
    for task, lists in kept.values():
        assert set(lists) == METHODS | {"headrace", "encoder"}
        targets = (task.questions.untils - task.questions.ends).sum()
        assert targets == (dataset.log().times >= (info.learned.second_cut or 0)).sum()
        assert all(len(found.with_time) == len(task.questions) for found in lists.values())


def test_leave_one_out_scores_both_stages(dataset: Dataset, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    info = info_of(dataset, "leave-one-out")
    pretend(monkeypatch, dataset, info)
    report = evaluate(write_info(info, tmp_path), dataset)
    assert {row.protocol for row in report.rows} == {
        f"leave-one-out-{stage}{twin}" for stage in ("fitted", "refitted") for twin in ("", "-no-time")
    }
    assert value(report, "headrace", "leave-one-out-fitted", "ndcg", 10) == 1
    assert value(report, "encoder", "leave-one-out-refitted-no-time", "mrr", 5) == 1


def test_a_model_that_learned_from_everything_is_refused_with_the_command_that_would_do(
    dataset: Dataset, tmp_path: Path
) -> None:
    folder = write_info(info_of(dataset, "all", second_cut=1), tmp_path)
    with pytest.raises(LeakError, match=rf"headrace train {dataset.path} --out MODEL --protocol time"):
        evaluate(folder, dataset)


def test_the_command_that_would_do_fits_a_dataset_without_times_and_a_path_with_spaces(tmp_path: Path) -> None:
    events, _ = ring(n_items=12, n_users=20, length=6)
    dataset = prepare(events.sort("time").drop("time"), out=tmp_path / "my data", now=NOW)
    folder = write_info(info_of(dataset, "all"), tmp_path / "model")
    with pytest.raises(LeakError, match=r"headrace train '\S+/my data' --out MODEL --protocol leave-one-out`"):
        evaluate(folder, dataset)


def test_a_dataset_whose_times_moved_may_hold_what_was_learned_from_behind_the_cut(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    cut = cuts(dataset.log())[1]
    info = info_of(dataset, second_cut=cut)
    events = int((dataset.log().times < cut).sum())
    info = msgspec.structs.replace(info, learned=msgspec.structs.replace(info.learned, events=events))
    folder = write_info(info, tmp_path / "model")
    hour = 3_600_000_000
    moved = ring(n_items=30, n_users=60, length=12)[0].with_columns(pl.col("time") + 24 * hour)
    with pytest.raises(LeakError, match="goes on from it"):
        evaluate(folder, prepare(moved, out=tmp_path / "moved", now=NOW))
    longer = pl.concat([ring(n_items=30, n_users=60, length=12)[0], moved]).unique(maintain_order=True)
    later = prepare(longer, out=tmp_path / "later", now=NOW)
    pretend(monkeypatch, later, info)
    assert any("not the dataset" in note for note in evaluate(folder, later).notes)


def test_damaged_metrics_are_named(dataset: Dataset, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    info = info_of(dataset, "leave-one-out")
    pretend(monkeypatch, dataset, info)
    folder = write_info(info, tmp_path)
    (folder / FITTED_FOLDER).mkdir()
    (folder / FITTED_FOLDER / METRICS_FILE).write_text('{"curve": [')
    with pytest.raises(FormatError, match=METRICS_FILE):
        evaluate(folder, dataset)


def test_leave_one_out_is_refused_on_another_dataset(dataset: Dataset, tmp_path: Path) -> None:
    info = info_of(dataset, "leave-one-out")
    other = msgspec.structs.replace(info, learned=msgspec.structs.replace(info.learned, fingerprint="another"))
    with pytest.raises(LeakError, match="--protocol leave-one-out"):
        evaluate(write_info(other, tmp_path), dataset)


def test_a_dataset_without_later_events_is_refused(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    info = info_of(dataset, second_cut=NOW)
    pretend(monkeypatch, dataset, info)
    with pytest.raises(DataError, match="after the cut"):
        evaluate(write_info(info, tmp_path), dataset)


def test_a_dataset_without_times_is_refused_under_time_and_compared_under_leave_one_out(tmp_path: Path) -> None:
    events, items = ring(n_items=12, n_users=20, length=6)
    dataset = prepare(events.sort("time").drop("time"), items=items, out=tmp_path / "data", now=NOW)
    with pytest.raises(DataError, match="no times"):
        evaluate(write_info(info_of(dataset, second_cut=1), tmp_path / "model"), dataset)
    with pytest.raises(DataError, match="leave-one-out"):
        compare_baselines(dataset)
    report = compare_baselines(dataset, "leave-one-out")
    assert {row.method for row in report.rows} == METHODS - {"popular-7d"}
    assert any("popular-7d is left out" in note for note in report.notes)
    assert value(report, "markov", "leave-one-out-refitted", "recall", 5) == 1


def test_file_order_parts_the_events_of_one_moment(tmp_path: Path) -> None:
    order = {"user_id": [], "item_id": [], "time": []}  # type: dict[str, list[str | int]]
    for user in range(20):
        for place in range(6):
            order["user_id"].append(f"u{user:02}")
            order["item_id"].append(f"i{(user + place) % 12:02}")
            order["time"].append(1_700_000_000)
    scores = {}
    choices: tuple[Ties, ...] = ("file", "hash")
    for ties in choices:
        chosen = DataSettings(ties=ties)
        dataset = prepare(pl.DataFrame(order), out=tmp_path / ties, settings=chosen, now=NOW)
        scores[ties] = value(compare_baselines(dataset, "leave-one-out"), "markov", "leave-one-out-refitted", "mrr", 5)
    # In the order of the file each item leads to the next; as one basket, nothing leads anywhere.
    assert scores["file"] == 1
    assert scores["hash"] < 1


class Fives:
    """A rating head that says 5 of everything."""

    @classmethod
    def load(cls, folder: Path, stage: Stage = "refitted", *, threads: int = 1) -> Fives:
        return cls()

    def rate(self, users: Ints, histories: list[History], rows: Ints, items: Ints, vectors: ItemVectors) -> Ratings:
        assert len(users) == len(histories) > rows.max()
        fives = np.full(len(items), 5, np.float32)
        return Ratings(fives, fives, fives)


def test_ratings_are_compared_with_damped_means(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    events, items = ring(n_items=30, n_users=60, length=12)
    rated = events.with_columns(
        type=pl.lit("rating"), value=pl.col("user_id").str.extract(r"(\d+)").cast(pl.Float64) % 5 + 1
    )
    dataset = prepare(rated, items=items, out=tmp_path / "data", now=NOW)
    info = msgspec.structs.replace(info_of(dataset, second_cut=cuts(dataset.log())[1]), has_rating_head=True)
    pretend(monkeypatch, dataset, info)
    monkeypatch.setattr(RatingModel, "load", Fives.load)
    report = evaluate(write_info(info, tmp_path / "model"), dataset)
    log = dataset.log()
    tested = log.values[log.times >= cuts(log)[1]]
    assert value(report, "headrace", "time-frozen", "mae", None) == pytest.approx(np.mean(5 - tested), rel=1e-6)
    assert value(report, "user-item-means", "time-frozen", "rmse", None) < value(
        report, "headrace", "time-frozen", "rmse", None
    )
