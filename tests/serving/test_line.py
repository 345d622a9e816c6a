"""What waits for the engine: its order, its limits, and the second thread."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from headrace.core.errors import OverloadedError
from headrace.serving.batch import Commit
from headrace.serving.line import Line, Taken, Task
from headrace.serving.questions import Question, Waiting
from headrace.serving.stage import Stage


def test_a_question_stands_behind_the_commits_before_it_and_never_behind_a_later_task() -> None:
    line, order = Line(limit=9, wait_s=1), list[str]()
    asked = [Waiting(Question(str(n))) for n in range(3)]
    commits = [Commit(), Commit()]
    line.admit(asked[0])
    line.tell(commits[0])
    line.admit(asked[1])
    line.tell(commits[1])
    line.tell(lambda: order.append("task"))
    line.admit(asked[2])
    assert line.take(9, None) == Taken(commits, asked[:2])
    task = line.take(9, None)
    assert callable(task)
    assert line.take(9, None) == Taken([], asked[2:])
    assert line.take(9, timeout=0) is None


def test_no_more_questions_are_taken_than_may_be_answered_together() -> None:
    line = Line(limit=9, wait_s=1)
    asked = [Waiting(Question(str(n))) for n in range(3)]
    for one in asked:
        line.admit(one)
    line.tell(Commit())
    assert line.take(2, None) == Taken([], asked[:2])
    assert len(line) == 2
    assert line._questions == 1


def test_a_question_that_would_wait_too_long_is_refused() -> None:
    line = Line(limit=1000, wait_s=0.1)
    for _ in range(100):
        line.took(0.4, 10)  # 40 ms each
    for _ in range(3):
        line.admit(Waiting(Question("ann")))
    with pytest.raises(OverloadedError, match="a question may wait 100 ms at most, 3 before it take 120 ms"):
        line.admit(Waiting(Question("ann")))
    line.take(9, None)
    line.admit(Waiting(Question("ann")))


def test_one_batch_that_was_held_up_leads_to_no_refusal() -> None:
    line = Line(limit=1000, wait_s=0.25)
    for _ in range(50):
        line.took(0.002, 2)
    line.took(0.1, 1)
    for _ in range(60):  # what came meanwhile, at 600 a second
        line.admit(Waiting(Question("ann")))
    assert line._questions == 60


def test_the_writer_waits_while_many_commits_are_not_counted() -> None:
    line = Line(limit=9, wait_s=1)
    for _ in range(33):
        line.tell(Commit())
    waiter = threading.Thread(target=line.catch_up, args=(lambda: True,))
    waiter.start()
    waiter.join(0.05)
    assert waiter.is_alive()
    line.counted(1)
    waiter.join(5)
    assert not waiter.is_alive()


def test_works_are_done_in_their_order_and_a_fault_stops_none() -> None:
    stage, done = Stage("test"), list[int]()
    stage.start()

    def work(n: int) -> None:
        time.sleep(0.001)
        done.append(n)
        if n == 3:
            raise RuntimeError("a fault that nobody foresaw")

    for n in range(20):
        stage.do(lambda n=n: work(n))  # type: ignore[misc]
    stage.settle()
    assert stage.idle
    assert done == list(range(20))
    stage.do(lambda: work(20))
    stage.stop()
    assert done == list(range(21))


def test_only_some_works_wait_for_the_second_thread() -> None:
    stage, hold = Stage("test"), threading.Event()
    stage.start()
    stage.do(hold.wait)
    tasks: list[Task] = []
    giver = threading.Thread(target=lambda: [stage.do(lambda: tasks.append(print)) for _ in range(10)])
    giver.start()
    giver.join(0.05)
    assert giver.is_alive()
    hold.set()
    giver.join(5)
    stage.stop()
    assert len(tasks) == 10


def test_a_long_work_lets_what_was_asked_meanwhile_go_first() -> None:
    line, done = Line(limit=9, wait_s=1), list[str]()

    def work() -> Iterator[None]:
        for part in ("first", "second"):
            done.append(part)
            yield
        done.append("last")

    future = line.proceed(work())
    asked = Waiting(Question("ann"))
    for expected in (["first"], ["first", "second"], ["first", "second", "last"]):
        task = line.take(9, None)
        assert callable(task)
        task()
        assert done == expected
        assert future.done() == (expected[-1] == "last")
        if expected == ["first"]:
            line.admit(asked)  # behind the second portion, before the last
        elif expected == ["first", "second"]:
            assert line.take(9, None) == Taken([], [asked])
    assert line.take(9, timeout=0) is None


def test_a_long_work_that_fails_tells_who_waits() -> None:
    line = Line(limit=9, wait_s=1)

    def work() -> Iterator[None]:
        yield
        raise RuntimeError("a fault that nobody foresaw")

    future = line.proceed(work())
    for _ in range(2):
        task = line.take(9, None)
        assert callable(task)
        task()
    with pytest.raises(RuntimeError):
        future.result(0)
    assert len(line) == 0
