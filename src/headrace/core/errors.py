"""Every error that Headrace raises on purpose, and what each means to a shell and to an HTTP client.

    HeadraceError
    ├── DataError           the data breaks a rule: a column, a row, a value
    ├── SettingsError       headrace.toml, an environment variable or a flag
    ├── FormatError         a folder or a store of another format, or not one of ours
    ├── ModelError          a model that cannot be trained, checked or taken
    ├── StoppedError        a training, or a swap, that was asked to stop
    ├── LeakError           scoring a model on events that it has learned from
    ├── NotReadyError       nothing here can answer that yet
    ├── NotFoundError       no such user, item or answer
    ├── ConflictError       the same id came with other content
    ├── OverloadedError     the queue is full; try again
    ├── LateError           what was asked for did not come in time
    └── StoreError          the store could not keep what it was given

A message states the rule, then what came, then what to do.
"""

from __future__ import annotations

from typing import ClassVar


class HeadraceError(Exception):
    """The parent of all errors below. `exit_code` is for a shell, `status` for HTTP (RFC 9110)."""

    exit_code: ClassVar[int] = 1
    status: ClassVar[int] = 500


class DataError(HeadraceError):
    """The data breaks a rule."""

    exit_code = 2
    status = 422


class SettingsError(HeadraceError):
    """A setting is unknown, has the wrong type or is out of range."""

    exit_code = 2
    status = 400


class FormatError(HeadraceError):
    """A folder or a store is of another format, or is not one of ours."""

    exit_code = 2
    status = 422


class ModelError(HeadraceError):
    """A model cannot be trained, checked or taken."""

    exit_code = 1
    status = 422


class StoppedError(HeadraceError):
    """A training was asked to stop, and left a checkpoint from which it goes on; or the service was, amid a swap."""

    exit_code = 130
    status = 503


class LeakError(HeadraceError):
    """The model has learned from the events it would be scored on."""

    exit_code = 2
    status = 409


class NotReadyError(HeadraceError):
    """Nothing here can answer that yet."""

    exit_code = 1
    status = 409


class NotFoundError(HeadraceError):
    """No such user, item or answer."""

    exit_code = 1
    status = 404


class ConflictError(HeadraceError):
    """The same id came with other content."""

    exit_code = 1
    status = 409


class OverloadedError(HeadraceError):
    """The queue is full; the client should wait and try again."""

    exit_code = 1
    status = 429


class LateError(HeadraceError):
    """What was asked for did not come in time; the client may ask again."""

    exit_code = 1
    status = 503


class StoreError(HeadraceError):
    """The store could not keep what it was given; nothing was acknowledged."""

    exit_code = 1
    status = 503
