"""`headrace recommend` and `headrace predict` with a real, tiny model: what they write is what the model says."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl
import pytest

from headrace.app.command_line import main
from headrace.core.settings import ContentSettings, ServingSettings, Settings, TrainingSettings
from headrace.data.dataset import Dataset
from headrace.data.synthetic import ring
from headrace.pipeline.fitting import train
from headrace.pipeline.model import Model
from headrace.pipeline.preparation import prepare
from headrace.serving.service import Service

ITEMS, USERS = 12, 30


class Shop(NamedTuple):
    dataset: Path
    model: Path
    store: str


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """Ratings of 1 to 5 of a ring of items: a dataset, a model of it and a store that holds it."""
    folder = tmp_path_factory.mktemp("rated")
    events, items = ring(ITEMS, USERS, 8)
    values = np.random.default_rng(0).integers(1, 6, events.height).astype(float)
    rated = events.with_columns(type=pl.lit("rating"), value=pl.Series(values))
    dataset = prepare(rated, items=items, out=folder / "data")
    training = TrainingSettings(preset="tiny", steps=3, threads=1)
    settings = Settings(training=training, content=ContentSettings(text_model="none"))
    train(dataset, out=folder / "model", settings=settings, protocol="all")
    store = f"sqlite:///{folder / 'shop.db'}"
    Service.open(Settings(serving=ServingSettings(store=store)), history=folder / "data").close()
    return Shop(folder / "data", folder / "model", store)


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def run(*arguments: str | Path) -> int:
    with pytest.raises(SystemExit) as left:
        main([str(argument) for argument in arguments])
    assert left.value.code is None or isinstance(left.value.code, int)
    return left.value.code or 0


def read(path: str) -> pl.DataFrame:
    """Read what a command wrote; numbers of a CSV as they were."""
    if path.endswith(".parquet"):
        return pl.read_parquet(path)
    numbers = {"rank": pl.Int32, "score": pl.Float32, "rating": pl.Float32, "low": pl.Float32, "high": pl.Float32}
    return pl.read_csv(path, schema_overrides=numbers)


@pytest.mark.parametrize("name", ["lists.csv", "lists.parquet"])
def test_the_lists_of_all_users_are_the_models(name: str, shop: Shop) -> None:
    assert run("recommend", shop.model, "--history", shop.dataset, "--users", "all", "--out", name, "-k", "4") == 0
    expected = Model.open(shop.model).recommend_users(Dataset.open(shop.dataset), k=4)
    assert read(name).equals(expected)
    assert expected.height == 4 * USERS


def test_a_file_of_users_names_whose_lists_are_written_and_in_which_order(shop: Shop) -> None:
    Path("users.csv").write_text("other,user_id\nx,user7\ny,nobody\nz,user2\nz,user7\n")
    assert run("recommend", shop.model, "--history", shop.dataset, "--users", "users.csv", "--out", "some.csv") == 0
    wanted = ["user7", "nobody", "user2"]
    expected = Model.open(shop.model).recommend_users(Dataset.open(shop.dataset), users=wanted)
    assert read("some.csv").equals(expected)
    assert expected["user_id"].unique(maintain_order=True).to_list() == wanted


def test_one_user_is_shown_with_titles_and_reasons(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("recommend", shop.model, "--history", shop.dataset, "--user", "user3", "-k", "3") == 0
    shown = [[cell.strip() for cell in line.split("│")[1:-1]] for line in capsys.readouterr().out.splitlines()]
    lists = Model.open(shop.model).recommend_users(Dataset.open(shop.dataset), k=3, users=["user3"])
    assert [row for row in shown if row and row[0].isdigit()] == [
        [str(rank), item, item.replace("item", "ring item "), reason, f"{score:.3f}"]
        for rank, item, reason, score in lists.select("rank", "item_id", "reason", "score").iter_rows()
    ]


def test_an_unknown_user_gets_the_list_of_a_new_one_and_is_told_so(
    shop: Shop, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("recommend", shop.model, "--history", shop.dataset, "--user", "nobody", "--out", "list.csv") == 0
    assert "nobody" in capsys.readouterr().err
    new = Model.open(shop.model).recommend([])
    assert [*read("list.csv").select("item_id", "reason").iter_rows()] == [
        (found.item_id, found.reason) for found in new
    ]


def test_a_user_who_has_met_everything_is_told_why_the_list_is_empty(
    tmp_path: Path, shop: Shop, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, _ = ring(ITEMS, 1, ITEMS)
    prepare(whole, out=tmp_path / "whole")
    (tmp_path / "headrace.toml").write_text('[ranking]\nseen = "exclude"\n')
    assert run("recommend", shop.model, "--history", "whole", "--user", "user0") == 0
    assert "has met every item" in capsys.readouterr().err


def test_ratings_are_the_models_on_the_scale_of_the_dataset(shop: Shop) -> None:
    pairs = pl.DataFrame({"item_id": ["item3", "item0", "stranger"], "user_id": ["user1", "nobody", "user1"]})
    pairs.write_csv("pairs.csv")
    assert run("predict", shop.model, "pairs.csv", "--history", shop.dataset, "--out", "ratings.csv") == 0
    found = read("ratings.csv")
    assert found.columns == ["user_id", "item_id", "rating", "low", "high"]
    assert found.equals(Model.open(shop.model).predict(pairs, Dataset.open(shop.dataset)))
    for column in ("rating", "low", "high"):
        assert found[column].is_between(1, 5).all()


def test_a_store_answers_as_the_dataset_that_it_holds(shop: Shop) -> None:
    Path("pairs.csv").write_text("user_id,item_id\nuser1,item3\nuser2,item9\nnobody,item1\n")
    for name, option, source in (("a", "--history", str(shop.dataset)), ("b", "--store", shop.store)):
        assert run("recommend", shop.model, option, source, "--users", "all", "--out", f"{name}.csv") == 0
        assert run("predict", shop.model, "pairs.csv", option, source, "--out", f"{name}-ratings.csv") == 0
    order = ["user_id", "rank"]
    assert read("a.csv").sort(order).equals(read("b.csv").sort(order))
    assert read("a-ratings.csv").equals(read("b-ratings.csv"))


def test_a_model_without_a_rating_head_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    events, _ = ring(5, 10, 5)
    dataset = prepare(events, out=tmp_path / "data")
    training = TrainingSettings(preset="tiny", steps=1, threads=1)
    train(dataset, out=tmp_path / "model", settings=Settings(training=training))
    Path("pairs.csv").write_text("user_id,item_id\nuser1,item3\n")
    assert run("predict", "model", "pairs.csv", "--history", "data", "--out", "ratings.csv") == 1
    assert "no rating head" in capsys.readouterr().err


@pytest.mark.parametrize("sources", [[], ["--history", "data", "--store", "sqlite:///shop.db"]])
def test_the_users_come_from_one_place(sources: list[str], shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("recommend", shop.model, "--user", "user1", *sources) == 2
    err = capsys.readouterr().err
    assert "--history" in err
    assert "--store" in err


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("pairs.csv", "user_id,item_id\nuser1,item1\nuser1,\n", "row 2"),
        ("pairs.jsonl", '{"user_id": "user1", "item_id": ["item1", "item2"]}\n', "item_id holds lists"),
        ("pairs.jsonl", '{"user_id": "user1", "item_id": null}\n', "row 1"),
    ],
)
def test_a_pair_that_names_no_item_is_refused(
    name: str, text: str, told: str, shop: Shop, capsys: pytest.CaptureFixture[str]
) -> None:
    Path(name).write_text(text)
    assert run("predict", shop.model, name, "--history", shop.dataset, "--out", "ratings.csv") == 2
    assert told in capsys.readouterr().err
    assert not Path("ratings.csv").exists()


def test_a_folder_is_no_place_for_ratings(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    Path("ratings.csv").mkdir()
    assert run("predict", shop.model, "pairs.csv", "--history", shop.dataset, "--out", "ratings.csv") == 2
    assert "it is a folder" in capsys.readouterr().err


def test_an_output_below_a_file_is_one_message(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    Path("pairs.csv").write_text("user_id,item_id\nuser1,item3\n")
    assert run("predict", shop.model, "pairs.csv", "--history", shop.dataset, "--out", "pairs.csv/ratings.csv") == 2
    assert "pairs.csv must be a folder" in capsys.readouterr().err
