"""How long calls take: what Headrace and a peer are timed with alike, each in its own environment."""

from __future__ import annotations

from collections.abc import Callable
from statistics import median
from time import perf_counter, process_time
from typing import TypeVar

ROUNDS = 5

Ready = TypeVar("Ready")
Row = dict[str, str | float]


def timed(what: str, users: int, ready: Callable[[int], Ready], call: Callable[[Ready], object], calls: int) -> Row:
    """Time calls for so many users each; return milliseconds per user, the median of the rounds and their range.

    `cpu_ms` is what all threads of the process took of the processors, likewise per user.

    Args:
        what: is timed.
        users: of each call.
        ready: makes what a call is given, untimed.
        call: does it.
        calls: of a round, whose figure is their mean; the calls of one more round come first and do not count.
    """
    walls: list[float] = []
    cpus: list[float] = []
    for _ in range(ROUNDS + 1):
        wall = cpu = 0.0
        for _ in range(calls):
            given = ready(users)
            began, used = perf_counter(), process_time()
            call(given)
            wall, cpu = wall + perf_counter() - began, cpu + process_time() - used
        walls.append(1e3 * wall / calls / users)
        cpus.append(1e3 * cpu / calls / users)
    kept = walls[1:]
    row: Row = {"what": what, "users": users, "ms": round(median(kept), 3)}
    return row | {"least": round(min(kept), 3), "most": round(max(kept), 3), "cpu_ms": round(median(cpus[1:]), 3)}
