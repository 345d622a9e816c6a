"""The command line: what it prints, what it refuses, with which exit code. Each runs in this process through `main`."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from headrace.app.command_line import main
from headrace.app.commands.frames import read_columns, write_frame
from headrace.app.commands.judging import show_scores
from headrace.app.commands.serving_command import check_reach
from headrace.app.listening import address_of, is_loopback, listen
from headrace.core.errors import DataError, SettingsError
from headrace.data.dataset import Dataset

COMMANDS = ("prepare", "train", "tune", "evaluate", "predict", "recommend", "serve", "swap", "demo", "config")


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HEADRACE_API_KEY", raising=False)
    return tmp_path


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as left:
        main(arguments)
    assert left.value.code is None or isinstance(left.value.code, int)
    return left.value.code or 0


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--help") == 0
    out = capsys.readouterr().out
    assert [name for name in COMMANDS if f" {name} " not in out] == []


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(command, "--help") == 0
    assert "Usage" in capsys.readouterr().out


def test_the_version_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--version") == 0
    assert capsys.readouterr().out.startswith("headrace ")


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "from headrace.app.command_line import main\n"
        "try:\n    main(['--help'])\n"
        "except SystemExit:\n    pass\n"
        "heavy = ('torch', 'polars', 'numba', 'numpy', 'litestar', 'sqlalchemy', 'optuna')\n"
        "sys.exit(any(m in sys.modules for m in heavy))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, capture_output=True).returncode == 0


def test_config_tells_where_each_setting_came_from(
    own_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (own_folder / "headrace.toml").write_text("[serving]\nport = 9001\nmax_k = 50\n")
    monkeypatch.setenv("HEADRACE_SERVING__PORT", "9002")
    assert run("config") == 0
    rows = {line.split("│")[1].strip(): line for line in capsys.readouterr().out.splitlines() if "│" in line}
    assert "9002" in rows["serving.port"]
    assert "environment" in rows["serving.port"]
    assert "file" in rows["serving.max_k"]
    assert "default" in rows["serving.host"]


def test_an_unknown_setting_is_one_message_and_exit_code_2(
    own_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (own_folder / "odd.toml").write_text("[training]\nlearning_rat = 1\n")
    assert run("config", "--config", "odd.toml") == 2
    err = capsys.readouterr().err
    assert "learning_rat" in err
    assert "odd.toml" in err
    assert "Traceback" not in err


def test_an_unforeseen_error_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("headrace.app.commands.configuring.explain_settings", fail)
    with pytest.raises(ZeroDivisionError):
        main(["config"])


def test_serve_refuses_other_hosts_without_a_key(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("serve", "--host", "0.0.0.0") == 2
    err = capsys.readouterr().err
    assert "HEADRACE_API_KEY" in err
    assert "--insecure" in err


def test_a_key_or_insecure_opens_the_service_to_other_hosts() -> None:
    check_reach("0.0.0.0", "secret", insecure=False)
    check_reach("0.0.0.0", None, insecure=True)
    check_reach("127.0.0.1", None, insecure=False)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.8", "::1", "localhost"])
def test_loopback_is_recognised(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.4", "localhost.example.com"])
def test_other_hosts_are_not_loopback(host: str) -> None:
    assert not is_loopback(host)


def test_a_port_in_use_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert run("serve", "--port", str(port)) == 2
    err = capsys.readouterr().err
    assert str(port) in err
    assert "--port" in err


def test_port_0_takes_a_free_port_and_says_which() -> None:
    with listen("127.0.0.1", 0) as bound:
        assert address_of(bound) == f"http://127.0.0.1:{bound.getsockname()[1]}"


def test_swap_says_when_no_service_answers(own_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with listen("127.0.0.1", 0) as bound:
        url = address_of(bound)
    assert run("swap", "model", "--url", url) == 2
    assert "headrace serve" in capsys.readouterr().err


def test_recommend_needs_one_user_or_many(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("recommend", "model", "--history", "dataset") == 2
    assert "--user" in capsys.readouterr().err
    assert run("recommend", "model", "--history", "dataset", "--users", "all") == 2
    assert "--out" in capsys.readouterr().err


def test_predict_refuses_an_ending_it_cannot_write_before_it_works(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("predict", "model", "pairs.csv", "--out", "ratings.xlsx", "--history", "dataset") == 2
    assert ".parquet" in capsys.readouterr().err


def test_a_missing_model_is_one_message(own_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (own_folder / "pairs.csv").write_text("user_id,item_id\n1,2\n")
    assert run("predict", "nowhere", "pairs.csv", "--out", "ratings.csv", "--history", "dataset") == 2
    err = capsys.readouterr().err
    assert "nowhere" in err
    assert "headrace train" in err


@pytest.mark.parametrize("ending", ["csv", "tsv", "jsonl", "parquet"])
def test_ids_stay_text_in_every_format(ending: str, own_folder: Path) -> None:
    frame = pl.DataFrame({"user_id": ["007", "8"], "item_id": ["01", "x"]})
    path = own_folder / f"pairs.{ending}"
    match ending:
        case "csv":
            frame.write_csv(path)
        case "tsv":
            frame.write_csv(path, separator="\t")
        case "jsonl":
            frame.write_ndjson(path)
        case _:
            frame.write_parquet(path)
    assert read_columns(path, ["user_id", "item_id"]).equals(frame)


def test_pairs_without_a_column_are_refused(own_folder: Path) -> None:
    (own_folder / "pairs.csv").write_text("user,item_id\n1,2\n")
    with pytest.raises(DataError, match="user_id"):
        read_columns(own_folder / "pairs.csv", ["user_id", "item_id"])


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_a_frame_is_written_as_its_ending_says(ending: str, own_folder: Path) -> None:
    frame = pl.DataFrame({"user_id": ["007"], "rating": ["4.5"]})
    path = own_folder / f"out.{ending}"
    write_frame(frame, path)
    assert read_columns(path, ["user_id", "rating"]).equals(frame)
    assert [p.name for p in own_folder.iterdir()] == [path.name]


def test_a_wrong_address_is_refused() -> None:
    from headrace.app.calling import call

    with pytest.raises(SettingsError, match="http"):
        call("GET", "file:///etc/passwd", None)


def test_scores_are_shown_best_first_for_each_protocol(capsys: pytest.CaptureFixture[str]) -> None:
    row = {"slice": "all", "metric": "ndcg", "k": 10, "low": 0.1, "high": 0.3, "n": 9}
    rows = [
        row | {"method": "popular", "protocol": "time-live", "value": 0.125},
        row | {"method": "headrace", "protocol": "time-live", "value": 0.25},
        row | {"method": "headrace", "protocol": "time-live", "value": 9.0, "k": 5},
        row | {"method": "headrace", "protocol": "time-live", "value": 9.0, "slice": "new-users"},
        row | {"method": "counts", "protocol": "time-frozen", "value": 0.5, "low": None, "high": None},
    ]
    show_scores(pl.DataFrame(rows))
    out = capsys.readouterr().out
    assert out.index("0.2500 (0.1000-0.3000)") < out.index("0.1250")
    assert out.index("time-live") < out.index("time-frozen") < out.index("0.5000")
    assert "9.0" not in out


def test_prepare_takes_the_names_of_columns_and_shows_the_report(
    own_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [f"u{n % 5},i{n % 7},2024-03-01 12:{n % 60:02}:00,click" for n in range(60)]
    (own_folder / "log.csv").write_text("\n".join(["who,what,at,did", *rows, ",i1,2024-03-01 12:00:00,click"]))
    columns = ["--user", "who", "--item", "what", "--time", "at", "--type", "did", "--timezone", "Europe/Berlin"]
    assert run("prepare", "log.csv", *columns, "--out", "dataset") == 0
    out = capsys.readouterr().out
    assert "missing ids" in out
    dataset = Dataset.open("dataset")
    assert (dataset.report.read, dataset.report.kept, dataset.report.types) == (61, 60, ["click"])
    first = dataset.events().select(pl.col("time").min()).collect().item()
    assert first == 1_709_290_800_000_000  # 11:00 UTC, an hour before Berlin's noon


def test_prepare_of_a_file_that_is_not_there_is_one_message(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("prepare", "nothing.csv", "--out", "dataset") == 2
    err = capsys.readouterr().err
    assert "nothing.csv" in err
    assert "Traceback" not in err


def test_train_refuses_minutes_and_steps_together(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("train", "dataset", "--out", "model", "--minutes", "1", "--steps", "5") == 2
    assert "--steps" in capsys.readouterr().err


def test_train_refuses_an_unknown_preset(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("train", "dataset", "--out", "model", "--preset", "huge") == 2
    assert "preset" in capsys.readouterr().err


@pytest.mark.parametrize(
    "option", [["--protocol", "all"], ["--minutes", "1"], ["--steps", "5"], ["--preset", "tiny"], ["--from", "model"]]
)
def test_resume_takes_no_other_choice(option: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run("train", "dataset", "--out", "model", "--resume", *option) == 2
    assert option[0] in capsys.readouterr().err


@pytest.mark.parametrize("out", ["", ".", "/"])
def test_train_needs_a_folder_of_its_own(out: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("train", "dataset", "--out", out) == 2
    assert "--out" in capsys.readouterr().err


def test_evaluate_refuses_an_output_before_it_works(
    own_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (own_folder / "scores").mkdir()
    for option in ("--json", "--report"):
        assert run("evaluate", "model", "dataset", option, "scores") == 2
        assert "it is a folder" in capsys.readouterr().err
    monkeypatch.setattr("headrace.app.commands.judging.find_spec", lambda _: None)
    assert run("evaluate", "model", "dataset", "--report", "scores.html") == 1
    assert "headrace[report]" in capsys.readouterr().err


def test_train_of_what_is_no_dataset_names_the_command_that_makes_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("train", "dataset", "--out", "model") == 2
    assert "headrace prepare" in capsys.readouterr().err
