"""An HTTP client that sends at fixed moments, whether or not answers come (open loop), and costs next to nothing.

    python -m load.client PORT CONNECTIONS REQUESTS ANSWERS

One thread over keep-alive connections, compiled by Numba, in a process of its own. A request whose moment has come
while every connection is busy waits for one, and its latency counts from its moment.
"""

from __future__ import annotations

import ctypes
import json
import resource
import socket
import sys
import time
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numba import njit
from numpy.typing import NDArray

Longs: TypeAlias = NDArray[np.int64]

ROOM = 1 << 20
"""Bytes of the longest reply."""
PATIENCE_NS = 30_000_000_000
"""How long after the last moment the replies are waited for."""
POLLIN = 1 << 32
MONOTONIC = 1

_LIBC = ctypes.CDLL(None)


def _function(name: str, result: object, *arguments: object) -> ctypes._CFuncPtr:
    function = getattr(_LIBC, name)
    function.restype, function.argtypes = result, arguments
    return function


_send = _function("send", ctypes.c_ssize_t, ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
_receive = _function("recv", ctypes.c_ssize_t, ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
_poll = _function("ppoll", ctypes.c_int, ctypes.c_void_p, ctypes.c_ulong, ctypes.c_void_p, ctypes.c_void_p)
_clock = _function("clock_gettime", ctypes.c_int, ctypes.c_int, ctypes.c_void_p)


@njit
def _now(moment: Longs) -> int:
    _clock(MONOTONIC, moment.ctypes)
    return moment[0] * 1_000_000_000 + moment[1]


@njit
def _status_of(reply: NDArray[np.uint8], have: int) -> int:
    """Return the status of a reply whose bytes are all here, 0 while some are still to come."""
    end = -1
    for place in range(have - 3):
        if reply[place] == 13 and reply[place + 1] == 10 and reply[place + 2] == 13 and reply[place + 3] == 10:
            end = place + 4
            break
    if end < 0:
        return 0
    name, length = b"\ncontent-length:", 0
    for place in range(end - len(name)):
        same = True
        for each in range(len(name)):
            letter = reply[place + each]
            if letter | 32 != name[each] | 32:
                same = False
                break
        if same:
            digit = place + len(name)
            while reply[digit] == 32:
                digit += 1
            while 48 <= reply[digit] <= 57:
                length, digit = length * 10 + reply[digit] - 48, digit + 1
            break
    if have < end + length:
        return 0
    return (reply[9] - 48) * 100 + (reply[10] - 48) * 10 + reply[11] - 48


@njit
def play(
    sockets: Longs,
    requests: NDArray[np.uint8],
    offsets: Longs,
    moments: Longs,
    latencies: Longs,
    statuses: Longs,
    sizes: Longs,
) -> None:
    """Send request i at moments[i] (ns); write its latency (ns), its status (0: none came) and its reply's bytes."""
    n, c = len(moments), len(sockets)
    doing, have = np.full(c, -1), np.zeros(c, np.int64)
    replies = np.zeros((c, ROOM), np.uint8)
    idle, first, free = np.arange(c), 0, c  # a ring: each connection has its turn, so that none is closed for silence
    polled, clock, pause = np.zeros(c, np.int64), np.zeros(2, np.int64), np.zeros(2, np.int64)
    mask = np.zeros(16, np.int64)  # no signal is held back
    polled[:] = sockets | POLLIN
    sent = done = 0
    begun = _now(clock)
    while done < n:
        now = _now(clock) - begun
        if now > moments[n - 1] + PATIENCE_NS:
            return
        while sent < n and free > 0 and moments[sent] <= now:
            which = idle[first]
            first, free = (first + 1) % c, free - 1
            request = requests[offsets[sent] : offsets[sent + 1]]
            if _send(sockets[which], request.ctypes, len(request), 0) != len(request):
                return
            doing[which], have[which] = sent, 0
            sent += 1
            now = _now(clock) - begun
        wait = moments[sent] - now if sent < n and free > 0 else 1_000_000_000
        wait = max(0, wait)
        pause[0], pause[1] = wait // 1_000_000_000, wait % 1_000_000_000
        polled &= 0xFFFFFFFFFFFF
        _poll(polled.ctypes, c, pause.ctypes, mask.ctypes)
        for which in range(c):
            if polled[which] >> 48 == 0:
                continue
            request = doing[which]
            rest = replies[which, have[which] :]
            got = _receive(sockets[which], rest.ctypes, len(rest), 0)
            if got <= 0 or request < 0:
                return
            have[which] += got
            status = _status_of(replies[which], have[which])
            if status:
                latencies[request] = _now(clock) - begun - moments[request]
                statuses[request], sizes[request] = status, have[which]
                doing[which] = -1
                idle[(first + free) % c] = which
                free += 1
                done += 1


def main() -> None:
    """Play the requests of a file and write what became of them to another, with this process's CPU seconds."""
    port, connections, source, target = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]), Path(sys.argv[4])
    given: dict[str, NDArray[np.generic]] = dict(np.load(source))
    n = len(given["moments"])
    found = np.zeros(n, np.int64), np.zeros(n, np.int64), np.zeros(n, np.int64)
    none = np.zeros(0, np.int64)
    play(none, given["requests"], given["offsets"], none, none, none, none)  # compiles
    opened = [socket.create_connection(("127.0.0.1", port)) for _ in range(connections)]
    for one in opened:
        one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sockets = np.array([one.fileno() for one in opened], np.int64)
    _LIBC.prctl(29, 1, 0, 0, 0)  # PR_SET_TIMERSLACK: wake within a nanosecond of the moment, not 50 us
    before, started = resource.getrusage(resource.RUSAGE_SELF), time.monotonic()
    play(sockets, given["requests"], given["offsets"], given["moments"], *found)
    after = resource.getrusage(resource.RUSAGE_SELF)
    np.savez(target, latencies=found[0], statuses=found[1], sizes=found[2])
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    wall = time.monotonic() - started
    print(json.dumps({"cpu_s": round(cpu, 3), "wall_s": round(wall, 3), "started": started}))


if __name__ == "__main__":
    main()
