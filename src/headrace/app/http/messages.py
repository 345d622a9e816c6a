"""What the front and the service say to each other, over a pair of sockets: short messages behind one another."""

from __future__ import annotations

import struct
from collections.abc import Iterator

ASK, TELL, GONE, STOP = range(4)
"""Kinds of messages: a question, events, a client that has gone; and to the front: take no more connections."""

MESSAGE = struct.Struct("<IQHH")
"""Before each message: the bytes that follow, the number of the request, and two numbers more.

To the service these are the kind, and nothing; to the front the status (or `STOP`), and the seconds of `Retry-After`.
"""
QUESTION = struct.Struct("<IQ")
"""Before the user's id: `k` and `at_least`."""
PIECE = struct.Struct("<QB")
"""Before each piece of what a handed-over connection has sent: its number, and 1 if it is the last; see `front`."""
PIECE_BYTES = 32_768


def message(number: int, first: int, second: int, body: bytes = b"") -> bytes:
    """Return a message as it is sent."""
    return MESSAGE.pack(len(body), number, first, second) + body


class Messages:
    """Cuts a stream into messages."""

    def __init__(self) -> None:
        self._left = b""

    def of(self, data: bytes) -> Iterator[tuple[int, int, int, bytes]]:
        """Yield the messages that have come whole: the number, the two numbers more, and the body."""
        data, start = self._left + data, 0
        while len(data) - start >= MESSAGE.size:
            size, number, first, second = MESSAGE.unpack_from(data, start)
            end = start + MESSAGE.size + size
            if end > len(data):
                break
            yield number, first, second, data[start + MESSAGE.size : end]
            start = end
        self._left = data[start:]
