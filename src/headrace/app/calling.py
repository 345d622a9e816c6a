"""Calls from a command to a running service; the few that there are need no HTTP library."""

from __future__ import annotations

import http.client
import urllib.error
import urllib.request
from pathlib import Path

import msgspec

from headrace.core.errors import ModelError, SettingsError

_SWAP_TIMEOUT_S = 900.0
"""Building the state of every recent user for a new model may take minutes."""


def request_swap(url: str, model: Path, key: str | None) -> str:
    """Ask the service at `url` to take a model; return what it said, as text.

    Raises:
        SettingsError: nobody answers there.
        ModelError: the service refused, with its reason.
    """
    body = msgspec.json.encode({"path": str(model.resolve())})
    answer = call("POST", f"{url.rstrip('/')}/v1/models", key, body, timeout_s=_SWAP_TIMEOUT_S)
    return f"The service at {url} answers with model {msgspec.json.decode(answer, type=dict[str, str])['model']} now."


def call(method: str, url: str, key: str | None, body: bytes | None = None, *, timeout_s: float = 10.0) -> bytes:
    """Send one request and return the body of the answer.

    Raises:
        SettingsError: not an address, or nobody answers there.
        ModelError: the service refused.
    """
    if not url.startswith(("http://", "https://")):
        raise SettingsError(f"the service's address must begin with http:// or https://, got {url!r}")
    try:
        request = urllib.request.Request(url, data=body, method=method, headers={"Content-Type": "application/json"})
    except ValueError as error:
        raise SettingsError(f"the service's address must be one, {url!r} is not: {error}") from None
    if key is not None:
        request.add_header("Authorization", f"Bearer {key}")
    try:
        with urllib.request.urlopen(request, timeout=timeout_s) as answer:
            return bytes(answer.read())
    except urllib.error.HTTPError as error:
        raise ModelError(f"{url} refused with {error.code}: {_detail(error.read())}") from None
    except (OSError, http.client.HTTPException) as error:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        raise SettingsError(
            f"a service must answer at {url}, none does ({reason}); start one with `headrace serve`"
        ) from None


def _detail(body: bytes) -> str:
    try:
        problem = msgspec.json.decode(body, type=dict[str, object])
    except msgspec.DecodeError:
        return body.decode(errors="replace")[:500]
    return str(problem.get("detail") or problem.get("title") or problem)
