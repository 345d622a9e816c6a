"""The loop of `headrace train --follow`: what a round does, says, keeps and deletes. Here nothing trains or serves."""

from __future__ import annotations

import errno
import stat
from pathlib import Path

import msgspec
import polars as pl
import pytest
from tests.pipeline.small_models import info_of, write_info

from headrace.app.fine_tuning import FineTuning, unlearned_events
from headrace.app.model_versions import ModelVersions
from headrace.core.errors import DataError, HeadraceError, ModelError, SettingsError, StoppedError
from headrace.core.formats import ModelInfo
from headrace.data.dataset import Dataset
from headrace.data.synthetic import ring
from headrace.pipeline.preparation import prepare

EVENTS = ring(5, 10, 5)[0].sort("time")
HOUR_US = 3_600_000_000


def learned_from(dataset: Dataset) -> ModelInfo:
    """Describe a model that learned from all of a dataset."""
    info, times = info_of(dataset, "all"), dataset.log().times
    learned = msgspec.structs.replace(info.learned, until=int(times.max()), events=len(times))
    return msgspec.structs.replace(info, learned=learned)


class World:
    """A source that grows, a trainer that notes what it was asked for, and a service that takes or refuses."""

    def __init__(self, root: Path, begin_with: Path | None = None) -> None:
        self.versions = ModelVersions(root)
        self.rows = 30
        self.homes: list[Path] = []
        self.modes: list[int] = []
        self.trained: list[tuple[str, str | None]] = []
        self.offered: list[str] = []
        self.reading: Exception | None = None
        self.training: Exception | None = None
        self.refusal: HeadraceError | None = None
        self.rounds = FineTuning(
            self.versions, begin_with=begin_with, read=self.read, train=self.train, offer=self.offer
        )

    def read(self, folder: Path) -> Dataset:
        self.homes.append(folder.parent)
        self.modes.append(stat.S_IMODE(folder.parent.stat().st_mode))
        dataset = prepare(EVENTS.head(self.rows), out=folder)
        if self.reading is not None:
            raise self.reading
        return dataset

    def train(self, dataset: Dataset, out: Path, start: Path | None) -> None:
        self.trained.append((out.name, None if start is None else start.name))
        if self.training is not None:
            raise self.training
        write_info(learned_from(dataset), out)

    def offer(self, version: Path) -> str:
        assert not self.left
        self.offered.append(version.name)
        if self.refusal is not None:
            raise self.refusal
        return f"took {version.name}"

    @property
    def left(self) -> list[Path]:
        """What is left of the personal data of the rounds."""
        return [home for home in self.homes if home.exists()]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "live")


def test_each_version_begins_with_the_one_that_was_taken_last(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    for rows in (30, 35, 40):
        world.rows = rows
        world.rounds.round()
    assert world.trained == [("00001", None), ("00002", "00001"), ("00003", "00002")]
    assert world.offered == ["00001", "00002", "00003"]
    out = capsys.readouterr().out
    assert out.count(", 5 of them new") == 2
    assert "took 00003" in out


def test_a_round_without_new_events_trains_nothing_and_says_so(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    world.rounds.round()
    capsys.readouterr()
    world.rounds.round()
    assert world.trained == [("00001", None)]
    assert world.offered == ["00001"]
    assert capsys.readouterr().out == f"No event came since {world.versions.root / '00001'} was trained.\n"


def test_the_first_version_begins_with_the_model_that_is_given(tmp_path: Path) -> None:
    data = prepare(EVENTS.head(20), out=tmp_path / "data")
    first = write_info(learned_from(data), tmp_path / "first")
    world = World(tmp_path / "live", begin_with=first)
    world.rows = 20
    world.rounds.round()
    assert world.trained == []
    world.rows = 30
    world.rounds.round()
    assert world.trained == [("00001", "first")]


def test_a_restart_goes_on_with_the_versions_of_before(world: World) -> None:
    world.rounds.round()
    again = World(world.versions.root, begin_with=Path("first"))
    again.rounds.round()
    assert again.trained == []
    again.rows = 31
    again.rounds.round()
    assert again.trained == [("00002", "00001")]


def test_a_refused_version_is_said_and_the_next_begins_with_the_last_that_was_taken(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    world.rounds.round()
    world.refusal, world.rows = ModelError("its numbers are not finite"), 31
    world.rounds.round()
    err = capsys.readouterr().err
    assert "00002 was not taken" in err
    assert err.endswith("its numbers are not finite\n")
    world.refusal, world.rows = None, 32
    world.rounds.round()
    assert world.trained == [("00001", None), ("00002", "00001"), ("00003", "00001")]
    assert world.versions.taken == world.versions.root / "00003"


def test_a_version_that_nobody_took_is_offered_again_without_training(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    world.refusal = SettingsError("a service must answer, none does")
    world.rounds.round()
    assert world.versions.taken is None
    assert "none does" in capsys.readouterr().err
    world.refusal = None
    world.rounds.round()
    assert world.trained == [("00001", None)]
    assert world.offered == ["00001", "00001"]
    assert world.versions.taken == world.versions.root / "00001"


@pytest.mark.parametrize(
    "fault", [DataError("too little to learn from"), OSError(errno.ENOSPC, "No space left on device")], ids=repr
)
@pytest.mark.parametrize("where", ["reading", "training"])
def test_a_round_that_fails_is_said_leaves_no_personal_data_and_the_next_goes_on(
    world: World, capsys: pytest.CaptureFixture[str], fault: Exception, where: str
) -> None:
    setattr(world, where, fault)
    world.rounds.round()
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert (world.left, world.offered) == ([], [])
    setattr(world, where, None)
    world.rounds.round()
    assert world.offered == ["00001"]


def test_after_weights_that_do_not_fit_the_next_version_begins_from_nothing(world: World) -> None:
    world.rounds.round()
    world.training, world.rows = ModelError("--from needs a model of the same sizes"), 31
    world.rounds.round()
    world.training = None
    world.rounds.round()
    world.rows = 32
    world.rounds.round()
    assert world.trained == [("00001", None), ("00002", "00001"), ("00002", None), ("00003", "00002")]


def test_what_is_not_foreseen_ends_the_loop_and_leaves_no_personal_data(world: World) -> None:
    world.training = ZeroDivisionError()
    with pytest.raises(ZeroDivisionError):
        world.rounds.run(60, lambda _: pytest.fail("waited"))
    assert world.left == []


def test_the_data_of_a_round_is_for_its_owner_only_and_gone_before_the_version_is_offered(world: World) -> None:
    world.rounds.round()
    assert world.modes == [0o700]
    assert world.offered == ["00001"]
    assert sorted(path.name for path in world.versions.root.iterdir()) == ["00001", "current"]


def test_old_versions_are_removed(world: World) -> None:
    for rows in range(30, 36):
        world.rows = rows
        world.rounds.round()
    left = sorted(path.name for path in world.versions.root.iterdir())
    assert left == ["00004", "00005", "00006", "current"]


def test_rounds_begin_at_even_distances_and_at_once_after_a_long_one(world: World) -> None:
    moments = iter([0.0, 10.0, 60.0, 150.0, 150.0, 150.0])
    waits: list[float] = []

    def wait(seconds: float) -> bool:
        waits.append(seconds)
        return len(waits) == 3

    world.rounds.run(60, wait, clock=lambda: next(moments))
    assert waits == [50, 0, 60]


def test_a_training_that_is_stopped_ends_the_loop(world: World) -> None:
    world.training = StoppedError("stopped")
    world.rounds.run(60, lambda _: pytest.fail("waited"))
    assert (world.left, world.offered) == ([], [])


def unlearned(tmp_path: Path, before: pl.DataFrame, now: pl.DataFrame) -> int:
    learned = learned_from(prepare(before, out=tmp_path / "before")).learned
    return unlearned_events(prepare(now, out=tmp_path / "now"), learned)


def test_late_events_count_as_new(tmp_path: Path) -> None:
    assert unlearned(tmp_path, EVENTS.tail(40), EVENTS) == 10


def test_events_count_as_new_after_one_that_was_dated_in_the_future(tmp_path: Path) -> None:
    future = EVENTS.head(1).with_columns(time=EVENTS["time"].max() + 20 * HOUR_US)
    assert unlearned(tmp_path, pl.concat([EVENTS.head(30), future]), pl.concat([EVENTS.head(33), future])) == 3


def test_events_count_as_new_beside_an_erasure(tmp_path: Path) -> None:
    erased = EVENTS.head(1)["user_id"].item()
    assert unlearned(tmp_path, EVENTS.head(40), EVENTS.filter(pl.col("user_id") != erased)) > 0


def test_an_erasure_or_a_changed_catalogue_alone_is_no_new_event(tmp_path: Path) -> None:
    erased = EVENTS.tail(1)["user_id"].item()
    assert unlearned(tmp_path, EVENTS, EVENTS.filter(pl.col("user_id") != erased)) == 0
