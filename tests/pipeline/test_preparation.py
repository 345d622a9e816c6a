"""`prepare` as a whole: sources, accounting, idempotence, parts, bad input."""

from __future__ import annotations

import errno
import json
import sqlite3
from pathlib import Path

import msgspec
import pandas as pd
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headrace.core.errors import DataError, FormatError, SettingsError
from headrace.core.formats import Ties
from headrace.core.settings import DataSettings
from headrace.core.types import Scalar, Scale
from headrace.data import item_cleaning, sweeps
from headrace.data.dataset import Dataset
from headrace.data.synthetic import shop
from headrace.pipeline.preparation import prepare

NOW = 1_800_000_000_000_000
T = 1_700_000_000


def dropped(dataset: Dataset) -> dict[str, int]:
    found: dict[str, int] = {}
    for step in dataset.report.steps:
        if step.rows:
            found[step.step] = found.get(step.step, 0) + step.rows
    return found


def write(path: Path, text: str | bytes) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


CSV = f"user_id,item_id,time\nu,007,{T}\nu,b,{T + 1}\nv,b,{T}\n"


def test_every_kind_of_source_gives_the_same_events(tmp_path: Path) -> None:
    frame = pl.DataFrame({"user_id": ["u", "u", "v"], "item_id": ["007", "b", "b"], "time": [T, T + 1, T]})
    frame.write_parquet(tmp_path / "e.parquet")
    pandas = pd.DataFrame({"user_id": ["u", "u", "v"], "item_id": ["007", "b", "b"]})
    pandas["time"] = pd.to_datetime([T, T + 1, T], unit="s")
    lines = "".join(json.dumps(row) + "\n" for row in frame.to_dicts())
    sources = [
        write(tmp_path / "e.csv", CSV),
        str(write(tmp_path / "e.tsv", CSV.replace(",", "\t"))),
        write(tmp_path / "e.jsonl", lines),
        write(tmp_path / "e.ndjson", lines),
        write(tmp_path / "e.txt", CSV.replace(",", ";")),
        tmp_path / "e.parquet",
        frame,
        frame.lazy(),
        frame.with_columns(pl.from_epoch("time", "s").dt.replace_time_zone("UTC")),
        pandas,
    ]
    datasets = [prepare(source, now=NOW) for source in sources]
    expected = datasets[0].events().collect()
    assert expected.sort("user_id", "time").select("user_id", "item_id", "type", "value", "time").rows() == [
        ("u", "007", "interaction", None, T * 1_000_000),
        ("u", "b", "interaction", None, (T + 1) * 1_000_000),
        ("v", "b", "interaction", None, T * 1_000_000),
    ]
    for dataset in datasets[1:]:
        assert dataset.events().collect().equals(expected)
        assert dataset.report.fingerprint == datasets[0].report.fingerprint


def test_a_movielens_folder_brings_its_movies(tmp_path: Path) -> None:
    write(tmp_path / "ratings.csv", f"userId,movieId,rating,timestamp\n1,31,2.5,{T}\n1,9,4.0,{T}\n2,31,5.0,{T}\n")
    write(
        tmp_path / "movies.csv",
        'movieId,title,genres\n31,"Minds, Dangerous (1995)",Drama|War\n8,Tom,(no genres listed)\n',
    )
    write(tmp_path / "tags.csv", "userId,movieId,tag,timestamp\n")
    dataset = prepare(tmp_path, now=NOW)
    assert dataset.items().select("item_id", "title", "categories", "available").rows() == [
        ("31", "Minds, Dangerous (1995)", ["Drama", "War"], True),
        ("8", "Tom", [], True),
        ("9", None, None, None),
    ]
    assert dataset.report.scale == Scale(2.5, 5.0, 0.5)
    assert dataset.report.types == ["rating"]
    lacking = {step.step: step.reason for step in dataset.report.steps}["items the catalogue lacks"]
    assert "1 events of 1 items" in lacking


def test_a_dat_folder_and_a_dataset_folder_are_sources(tmp_path: Path) -> None:
    folder = tmp_path / "dat"
    folder.mkdir()
    write(folder / "ratings.dat", f"1::007::8::{T}\n2::007::3::{T}\n")
    write(folder / "movies.dat", "007::Heat (1995)::Action|Crime\n")
    first = prepare(folder, now=NOW, out=tmp_path / "one")
    second = prepare(first.path, now=NOW, out=tmp_path / "two")
    assert second.events().collect().equals(first.events().collect())
    assert second.items().equals(first.items())
    assert first.items()["title"].to_list() == ["Heat (1995)"]


def test_a_store_is_a_source(tmp_path: Path) -> None:
    path = tmp_path / "shop.db"
    with sqlite3.connect(path) as store:
        store.executescript(
            f"""
            CREATE TABLE users (key INTEGER PRIMARY KEY, user_id TEXT);
            CREATE TABLE items (key INTEGER PRIMARY KEY, item_id TEXT, state INTEGER, title TEXT, text TEXT,
                categories TEXT, price REAL, available BOOLEAN, image TEXT, audio TEXT, attributes TEXT);
            CREATE TABLE events (sequence INTEGER PRIMARY KEY, user_key INTEGER, item_key INTEGER, type TEXT,
                value REAL, time INTEGER, event_id TEXT, recommendation_id TEXT, context TEXT);
            CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT);
            INSERT INTO users VALUES (1, 'u'), (2, 'v');
            INSERT INTO items VALUES (1, 'a', 1, 'Tea', NULL, '["Hot"]', 2.5, 0, NULL, NULL, '{{"brand":"x"}}'),
                (2, 'b', 0, NULL, NULL, NULL, NULL, 1, NULL, NULL, NULL);
            INSERT INTO events VALUES (1, 1, 1, 'rating', 4, {T * 10**6}, 'e1', NULL, '{{"page":"home"}}'),
                (2, 1, 2, 'view', NULL, 5, NULL, 'r1', NULL), (3, 2, 1, 'rating', 3, {T * 10**6}, NULL, NULL, NULL);
            INSERT INTO meta VALUES ('scale', '{{"low":1,"high":5,"step":1}}');
            """
        )
    store.close()
    for source in (path, f"sqlite:///{path}"):
        dataset = prepare(source, now=NOW)
        rows = dataset.events().collect().sort("user_id", "time")
        assert rows["time"].to_list() == [5, T * 10**6, T * 10**6]
        assert rows["context"].to_list() == [None, '{"page":"home"}', None]
        assert rows["event_id"].to_list() == [None, "e1", None]
        assert dataset.report.scale == Scale(1.0, 5.0, 1.0)
        assert dataset.items().select("item_id", "title", "categories", "price", "available", "attributes").rows() == [
            ("a", "Tea", ["Hot"], 2.5, False, '{"brand":"x"}'),
            ("b", None, None, None, None, None),
        ]


def test_a_database_that_is_no_store_and_a_store_that_is_not_there_are_told_apart(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "other.db") as other:
        other.execute("CREATE TABLE x (y)")
    other.close()
    with pytest.raises(DataError, match="must be a Headrace store"):
        prepare(tmp_path / "other.db")
    with pytest.raises(DataError, match="the store must exist") as caught:
        prepare(f"sqlite:///{tmp_path}/none.db")
    assert "none.db" in str(caught.value)
    assert not (tmp_path / "none.db").exists()


DIRTY = [
    ("u", "a", f"{T}", "4", "e1"),
    ("u", "a", f"{T}", "4", "e1"),  # an exact duplicate
    ("u", "b", f"{T + 5}", "4", "e1"),  # a retry
    ("", "a", f"{T}", "4", ""),  # no user
    ("u", "x" * 300, f"{T}", "4", ""),
    ("u", "c\x01", f"{T}", "4", ""),
    ("u", "a", f"{T + 1}", "nan", ""),
    ("u", "a", f"{T + 2}", "four", ""),
    ("u", "a", "-5", "4", ""),
    ("u", "a", "9999999999", "4", ""),
    ("u", "a", "", "4", ""),
    ("u", "a", "yesterday", "4", ""),
    ("v", "a", f"{T}", "5", "e2"),
    ("v", "b", f"{T}", "3.5", "e1"),  # another user's retry
]


def dirty(path: Path) -> Path:
    lines = ["user,item,ts,rating,event_id", *(",".join(row) for row in DIRTY), "short,line"]
    return write(path, "\n".join(lines) + "\n")


def test_every_dropped_row_has_its_reason_and_stands_in_quarantine(tmp_path: Path) -> None:
    dataset = prepare(dirty(tmp_path / "events.csv"), now=NOW)
    report = dataset.report
    assert dropped(dataset) == {
        "unreadable rows": 1,
        "missing ids": 1,
        "bad ids": 2,
        "bad values": 2,
        "impossible times": 4,
        "exact duplicates": 1,
        "retries": 2,
    }
    assert (report.read, report.kept, report.dropped) == (15, 2, 13)
    quarantine = dataset.quarantine()
    assert quarantine.columns == ["source", "row", "reason", "raw"]
    assert quarantine["row"].to_list() == [2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 14, 15]
    raw = dict(quarantine.select("row", "raw").rows())
    assert raw[15] == "short,line"
    assert json.loads(raw[8]) == {"user": "u", "item": "a", "ts": str(T + 2), "rating": "four", "event_id": None}
    assert report.scale == Scale(4.0, 5.0, 1.0), "the retry of 3.5 is no rating"


def test_many_parts_give_what_one_part_gives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events, items = shop(n_users=150, seed=2)
    more = pl.DataFrame({"user_id": ["user1", "bad\n"], "item_id": ["item1", "item2"], "type": ["view", "view"]})
    events = pl.concat([events, more, events.head(30)], how="diagonal").with_columns(
        event_id=pl.int_range(pl.len()).floordiv(2).cast(pl.String)
    )
    events.drop("value").write_csv(tmp_path / "events.csv")
    one = prepare(
        tmp_path / "events.csv", items=items, now=NOW, settings=DataSettings(min_user_events=3, min_item_events=2)
    )
    for rows in (700, 100):
        many = prepare(
            tmp_path / "events.csv",
            items=items,
            now=NOW,
            settings=DataSettings(min_user_events=3, min_item_events=2, partition_rows=rows),
        )
        assert many.events().collect().equals(one.events().collect())
        assert many.items().equals(one.items())
        assert many.quarantine().equals(one.quarantine())
        assert many.report == one.report
    assert dropped(one)["rare users and items"] > 0
    assert dropped(one)["retries"] > 0


ids = st.sampled_from(["a", "b", "c", "d", "", "x" * 300])
rows = st.fixed_dictionaries(
    {
        "user_id": ids,
        "item_id": ids,
        "type": st.sampled_from([None, "rating", "view"]),
        "value": st.sampled_from([None, 1.0, 2.0, 5.0, float("nan")]),
        "time": st.sampled_from([None, T, T + 1, T + 60, -1, 10**10]),
        "event_id": st.sampled_from([None, "e", "f", "g"]),
    }
)
SCHEMA = {
    "user_id": pl.String,
    "item_id": pl.String,
    "type": pl.String,
    "value": pl.Float64,
    "time": pl.Int64,
    "event_id": pl.String,
}


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    table=st.lists(rows, min_size=1, max_size=25),
    ties=st.sampled_from(["hash", "file"]),
    timed=st.booleans(),
    core=st.integers(0, 2),
)
def test_cleaning_what_is_clean_changes_nothing(
    tmp_path: Path, table: list[dict[str, object]], ties: Ties, timed: bool, core: int
) -> None:
    frame = pl.DataFrame(
        [{"user_id": "a", "item_id": "a", "type": "view", "value": None, "time": T}] * 2 + table, SCHEMA
    )
    frame = frame if timed else frame.drop("time")
    choice = DataSettings(ties=ties, min_user_events=core, min_item_events=core, bot_visits_per_hour=2)
    try:
        once = prepare(frame, out=tmp_path / "once", now=NOW, settings=choice)
    except DataError as error:
        assert "holds none" in str(error)  # noqa: PT017  # nothing but the k-core may empty the table
        assert core
        return
    twice = prepare(once.path, out=tmp_path / "twice", now=NOW, settings=choice)
    assert twice.events().collect().equals(once.events().collect())
    assert twice.items().equals(once.items())
    assert twice.report.dropped == 0
    assert twice.report.fingerprint == once.report.fingerprint
    assert once.report.read == frame.height == once.report.kept + once.report.dropped
    assert once.quarantine().height == once.report.dropped


def test_equal_times_follow_the_hash_or_the_file(tmp_path: Path) -> None:
    frame = pl.DataFrame({"user": ["u"] * 6, "item": list("fedcba"), "time": [T] * 6})
    by_file = prepare(frame, settings=DataSettings(ties="file"), now=NOW).events().collect()["item_id"].to_list()
    by_hash = prepare(frame, now=NOW).events().collect()["item_id"].to_list()
    assert by_file == list("fedcba")
    assert by_hash == prepare(frame.reverse(), now=NOW).events().collect()["item_id"].to_list()
    assert by_hash not in (by_file, by_file[::-1])


def test_without_times_the_order_of_the_file_stays_and_is_said(tmp_path: Path) -> None:
    dataset = prepare(write(tmp_path / "e.csv", "user,item\nu,b\nv,x\nu,a\nu,a\n"), now=NOW)
    rows = dataset.events().filter(pl.col("user_id") == "u").collect()
    assert rows.select("item_id", "time").rows() == [("b", 0), ("a", 1), ("a", 2)]
    assert not dataset.report.has_times
    assert "--protocol time" in " ".join(dataset.report.notes)
    assert not dataset.log().has_times


def test_bots_are_marked_kept_and_left_out_of_the_log() -> None:
    frame = pl.DataFrame({"user": ["bot"] * 20 + ["u"], "item": ["a"] * 21, "time": [T + n for n in range(21)]})
    dataset = prepare(frame, now=NOW, settings=DataSettings(bot_visits_per_hour=10))
    assert dataset.report.kept == 21
    assert dropped(dataset) == {"bots": 20}
    assert len(dataset.log()) == 1
    assert len(dataset.log(include_bots=True)) == 21
    log = dataset.log()
    assert dataset.user_vocabulary().ids[log.users[0] - 1] == "u"


def test_ratings_off_a_declared_scale_leave() -> None:
    frame = pl.DataFrame({"user": ["u"] * 3, "item": ["a", "b", "c"], "rating": [1.0, 2.25, 7.0], "time": [T] * 3})
    dataset = prepare(frame, now=NOW, settings=DataSettings(rating_low=1, rating_high=5, rating_step=0.5))
    assert dataset.report.scale == Scale(1.0, 5.0, 0.5)
    assert dropped(dataset) == {"values off the scale": 2}
    for wrong in (DataSettings(rating_low=5, rating_high=1), DataSettings(rating_step=0.5)):
        with pytest.raises(SettingsError, match="rating_high"):
            prepare(frame, settings=wrong)


def test_pandas_writes_a_missing_value_as_nan() -> None:
    nothing = float("nan")
    frame = pd.DataFrame({"user": ["u", "u"], "item": [1, 2], "rating": [4.0, nothing], "time": [T, T]})
    assert dropped(prepare(frame, now=NOW)) == {"bad values": 1}
    typed = frame.assign(type=["rating", "view"])
    assert dropped(prepare(typed, now=NOW)) == {}


def test_the_log_reads_back_what_stands_in_the_folder() -> None:
    events, items = shop(n_users=20, seed=1)
    dataset = prepare(events, items=items, now=NOW)
    log = dataset.log()
    stored = dataset.events().collect()
    assert [dataset.user_vocabulary().ids[user - 1] for user in log.users] == stored["user_id"].to_list()
    assert [dataset.item_vocabulary().ids[item - 1] for item in log.items] == stored["item_id"].to_list()
    assert [dataset.report.types[kind] for kind in log.types] == stored["type"].to_list()
    assert log.times.tolist() == stored["time"].to_list()
    assert (log.n_users, log.n_items) == (20, items.height)
    assert (log.users[1:] >= log.users[:-1]).all()
    assert dataset.item_vocabulary().ids == items["item_id"].to_list()


@pytest.mark.parametrize(
    ("name", "content", "part"),
    [
        ("e.csv", b"", "empty"),
        ("e.csv", b"\n \n", "empty"),
        ("e.csv", b"user_id,item_id\n", "at least one good event"),
        ("e.csv", bytes(range(256)) * 20, "binary"),
        ("e.csv", "user_id,item_id\nu,i\n".encode("utf-16"), "UTF-16"),
        ("e.csv", b"\x1f\x8b\x08rest", "gzip"),
        ("e.csv.xz", b"\xfd7zXZ\x00\x00\x04", "xz"),
        ("E.PARQUET", b"user_id,item_id\n", "does not begin like one"),
        ("e.csv", b"user,item,time\nu,i,20200616\n", "such as 20200616"),
        ("e.csv", b"who,what\nu,i\n", "'who', 'what'.*--user"),
        ("e.csv", b"user_id,what\nu,i\n", "--item"),
        ("e.parquet", b"PAR1 and no more", "whole Parquet"),
        ("e.parquet", b"user_id,item_id\n", "does not begin like one"),
        ("e.jsonl", b"[]", "one array"),
        ("e.csv", f"user,item,time\nu,i,{T}\nu,i,{T * 1000}\n".encode(), "one unit"),
        ("e.csv", b"user,item,time\nu,i,-4\nu,,5\n", "1 item_id must not be empty"),
    ],
)
def test_bad_files_are_refused_and_leave_nothing(tmp_path: Path, name: str, content: bytes, part: str) -> None:
    source = write(tmp_path / name, content)
    with pytest.raises(DataError, match=part):
        prepare(source, out=tmp_path / "out", now=NOW)
    assert sorted(path.name for path in tmp_path.iterdir()) == [name]


def test_a_truncated_parquet_file_is_refused(tmp_path: Path) -> None:
    events, _ = shop(n_users=20, seed=1)
    events.write_parquet(tmp_path / "whole.parquet")
    whole = (tmp_path / "whole.parquet").read_bytes()
    with pytest.raises(DataError, match="cut short"):
        prepare(write(tmp_path / "cut.parquet", whole[: len(whole) // 2]))
    damaged = whole[:100] + b"\xff" * 400 + whole[500:]
    with pytest.raises(DataError, match="cannot be read"):
        prepare(write(tmp_path / "damaged.parquet", damaged))


def test_a_column_that_is_not_there_lists_those_that_are(tmp_path: Path) -> None:
    source = write(tmp_path / "e.csv", CSV)
    with pytest.raises(DataError, match=r"'who'.*'user_id', 'item_id', 'time'.*--user"):
        prepare(source, columns={"user": "who"})
    with pytest.raises(DataError, match="columns may be named for"):
        prepare(source, columns={"colour": "who"})
    renamed = write(tmp_path / "r.csv", CSV.replace("user_id", "who").replace("time", "when"))
    assert prepare(renamed, columns={"user": "who", "time": "when"}, now=NOW).report.kept == 3


def test_one_column_cannot_be_two_things() -> None:
    frame = pl.DataFrame({"who": ["u"], "what": ["i"]})
    with pytest.raises(DataError, match=r"'who'.*user_id and item_id.*--item"):
        prepare(frame, columns={"user": "who", "item": "who"})


def test_two_columns_of_one_name_are_refused() -> None:
    frame = pd.DataFrame([["u", "a", "b"]], columns=["user_id", "item_id", "item_id"])
    with pytest.raises(DataError, match="stands twice"):
        prepare(frame)


def test_a_key_that_only_looks_like_an_id_costs_no_line(tmp_path: Path) -> None:
    row = {"_id": {"$oid": "5f"}, "user": {"name": "x"}, "user_id": "u", "item": [1], "item_id": "i"}
    dataset = prepare(write(tmp_path / "e.jsonl", json.dumps(row) + "\n"))
    assert dataset.events().select("user_id", "item_id").collect().rows() == [("u", "i")]


def test_a_control_character_in_a_small_file_is_a_fault_of_its_row(tmp_path: Path) -> None:
    dataset = prepare(write(tmp_path / "e.csv", "user,item\nu,a\x01\nu,b\n"))
    assert dropped(dataset) == {"bad ids": 1}


def test_a_dat_file_is_one_by_its_lines(tmp_path: Path) -> None:
    assert prepare(write(tmp_path / "R.DAT", f"1::2,3::4::{T}\n"), now=NOW).report.types == ["rating"]
    assert prepare(write(tmp_path / "tabs.dat", "user\titem\n1\t2\n")).report.kept == 1


def test_a_column_called_bot_is_none_of_ours() -> None:
    dataset = prepare(pl.DataFrame({"user": ["u"], "item": ["a"], "bot": [True]}))
    assert len(dataset.log()) == 1
    assert "columns of the events left out: bot" in dataset.report.notes


def test_numbers_without_a_unit_are_told() -> None:
    dataset = prepare(pl.DataFrame({"user": ["u"], "item": ["a"], "day": [3]}), columns={"time": "day"})
    assert "seconds since 1970" in " ".join(dataset.report.notes)


def test_a_catalogue_may_be_whatever_brings_items(tmp_path: Path) -> None:
    events = pl.DataFrame({"user": ["u"], "item": ["i"]})
    first = prepare(events, items=pl.DataFrame({"item_id": ["i", "j"], "title": ["I", "J"]}), out=tmp_path / "first")
    again = prepare(events, items=first.path)
    assert again.items().equals(first.items())
    with pytest.raises(DataError, match="does not exist"):
        prepare(events, items=tmp_path / "none.csv")
    write(tmp_path / "shop" / "events.csv", CSV)
    with pytest.raises(DataError, match="must bring items"):
        prepare(events, items=tmp_path / "shop")


@pytest.mark.parametrize("url", ["postgresql://host:port/x", "sqlite+none:///x.db", "postgresql+none://host/x"])
def test_a_url_that_cannot_be_opened_is_refused(url: str) -> None:
    with pytest.raises(DataError, match=r"a store must be named by a URL such as"):
        prepare(url)


def test_a_source_without_a_name_is_not_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "events.csv", CSV)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match="its name is empty"):
        prepare("")


def test_a_source_that_is_no_file_is_refused() -> None:
    with pytest.raises(DataError, match="read twice"):
        prepare("/dev/null")


def test_float_ids_are_refused() -> None:
    with pytest.raises(DataError, match=r"whole numbers.*Float64"):
        prepare(pl.DataFrame({"user": [1.0], "item": ["a"]}))


def test_a_column_of_a_type_that_has_no_reading_is_refused() -> None:
    frame = pl.DataFrame({"user": ["u"], "item": ["a"], "time": [[1]], "value": [[2]]})
    with pytest.raises(DataError, match=r"time.*List"):
        prepare(frame.drop("value"))
    with pytest.raises(DataError, match=r"value.*List"):
        prepare(frame.drop("time"))


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ({"page": "home"}, {"page": "home"}),
        ({"page": "home", "tags": ["a"]}, {"page": "home", "tags": '["a"]'}),
        (["home"], {"context": '["home"]'}),
        (3, {"context": 3}),
        ("mobile", {"context": "mobile"}),
        ('{"b": {"c": 1}, "a": null}', {"a": None, "b": '{"c":1}'}),
        ("[1]", {"context": "[1]"}),
        ("null", None),
        ("", None),
        (None, None),
    ],
)
def test_a_context_becomes_an_object_of_plain_values(given: object, kept: dict[str, Scalar] | None) -> None:
    frame = pl.DataFrame({"user": ["u"], "item": ["a"], "context": [given]})
    pandas = pd.DataFrame({"user": ["u"], "item": ["a"], "context": pd.Series([given], dtype=object)})
    for source in (frame, pandas):
        text = prepare(source).events().collect()["context"].item()
        assert (text and msgspec.json.decode(text, type=dict[str, Scalar])) == kept


def test_no_such_source_and_a_folder_of_something_else(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        prepare(tmp_path / "none.csv")
    write(tmp_path / "letter.docx", "x")
    with pytest.raises(DataError, match=r"it holds letter\.docx"):
        prepare(tmp_path)
    with pytest.raises(DataError, match="got list"):
        prepare([1, 2])  # type: ignore[arg-type]  # what a user may do


def test_a_folder_of_something_else_is_not_written_over(tmp_path: Path) -> None:
    write(tmp_path / "thesis.txt", "years of work")
    with pytest.raises(FormatError, match="name another"):
        prepare(pl.DataFrame({"user": ["u"], "item": ["i"]}), out=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_the_current_folder_is_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FormatError, match="current one"):
        prepare(pl.DataFrame({"user": ["u"], "item": ["i"]}), out=".")
    assert list(tmp_path.iterdir()) == []


def test_a_link_to_a_dataset_stays_a_link(tmp_path: Path) -> None:
    first = prepare(pl.DataFrame({"user": ["u"], "item": ["i"]}), out=tmp_path / "out")
    link = tmp_path / "link"
    link.symlink_to(first.path)
    prepare(pl.DataFrame({"user": ["u", "v"], "item": ["i", "i"]}), out=link)
    assert link.is_symlink()
    assert Dataset.open(tmp_path / "out").report.kept == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "out"]


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "No space left on device"), pl.exceptions.ComputeError("No space left")]
)
def test_a_full_disk_leaves_no_half_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def full(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(sweeps.Sweeps, "write_quarantine", full)
    with pytest.raises(DataError, match="full; free some"):
        prepare(pl.DataFrame({"user": ["u"], "item": ["i"]}), out=tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_preparing_again_into_the_same_folder_replaces_it(tmp_path: Path) -> None:
    first = prepare(pl.DataFrame({"user": ["u"], "item": ["i"]}), out=tmp_path / "out")
    again = prepare(first.path, out=first.path)
    assert again.report.kept == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]


def test_a_catalogue_row_that_was_dropped_stands_in_quarantine_too() -> None:
    items = pl.DataFrame({"item_id": ["i", "i"], "title": ["old", "new"]})
    dataset = prepare(pl.DataFrame({"user": ["u"], "item": ["i"]}), items=items)
    assert dataset.items()["title"].to_list() == ["new"]
    assert dataset.quarantine().select("source", "row").rows() == [("a frame of items", 1)]
    assert {step.step: step.rows for step in dataset.report.items}["duplicate ids"] == 1
    assert dataset.items().schema == pl.Schema(item_cleaning.ITEM_SCHEMA)
