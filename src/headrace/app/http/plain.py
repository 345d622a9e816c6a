"""The two requests that nearly all are, read from their bytes: the form in which clients send them, and no other."""

from __future__ import annotations

import hmac
import re
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

from headrace.app.http.messages import ASK, QUESTION, TELL

_LARGEST_HEAD = 16_384
_QUESTION = re.compile(
    rb"GET /v1/users/([^/?#\s]+)/recommendations"
    rb"(?:\?(?:k=([1-9]\d{0,8})(?:&at_least=(\d{1,18}))?|at_least=(\d{1,18}))?)? HTTP/1\.1"
)
_EVENTS = b"POST /v1/events HTTP/1.1"
_HEADER = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*([\x21-\x7e\x80-\xff](?:[\t\x20-\x7e\x80-\xff]*))?")
_NOT_PLAIN = frozenset((b"origin", b"transfer-encoding", b"expect", b"upgrade", b"te", b"trailer"))


class Plain(NamedTuple):
    """A plain request: its kind, `ASK` or `TELL`; the body of its message; the bytes that it takes of what was sent."""

    kind: int
    body: bytes
    size: int


class More(NamedTuple):
    """What was sent may become a plain request once there is more of it."""


def plain_request(sent: bytes, expected: bytes | None, largest: int) -> Plain | More | None:
    """Return the plain request that what was sent begins with; None if it begins with another one.

    Args:
        sent: by a client, from the beginning of a request on.
        expected: the value of the header `Authorization` that every request must have; None asks for none.
        largest: bytes of a body.
    """
    end = sent.find(b"\r\n\r\n")
    if end < 0:
        return More() if len(sent) < _LARGEST_HEAD else None
    first, *lines = sent[:end].split(b"\r\n")
    headers: dict[bytes, bytes] = {}
    for line in lines:
        header = _HEADER.fullmatch(line)
        if header is None or (name := header[1].lower()) in headers or name in _NOT_PLAIN:
            return None
        headers[name] = (header[2] or b"").rstrip()
    if headers.get(b"connection", b"keep-alive").lower() != b"keep-alive":
        return None
    if expected is not None and not hmac.compare_digest(headers.get(b"authorization", b""), expected):
        return None
    if first == _EVENTS:
        return _events(sent, end + 4, headers, largest)
    if headers.get(b"content-length", b"0") != b"0":
        return None
    return _question(first, end + 4)


def _question(line: bytes, size: int) -> Plain | None:
    asked = _QUESTION.fullmatch(line)
    if asked is None:
        return None
    part, k, with_k, alone = asked.groups()
    user_id = unquote_to_bytes(part) if b"%" in part else part
    try:
        user_id.decode()
    except UnicodeDecodeError:
        return None
    return Plain(ASK, QUESTION.pack(int(k or 10), int(with_k or alone or 0)) + user_id, size)


def _events(sent: bytes, start: int, headers: dict[bytes, bytes], largest: int) -> Plain | More | None:
    length = headers.get(b"content-length", b"")
    if headers.get(b"content-type") != b"application/json" or not length.isdigit() or len(length) > 5:
        return None
    end = start + int(length)
    if int(length) > largest:
        return None
    return Plain(TELL, sent[start:end], end) if len(sent) >= end else More()
