"""Forgetting a user: rows, state and counts by the writer and the engine, then the bytes left in the store's files."""

from __future__ import annotations

import time
from uuid import uuid4

from sqlalchemy import select

from headrace.core.errors import NotFoundError, StoreError
from headrace.serving import schema
from headrace.serving.replies import Erasure
from headrace.serving.store import Store
from headrace.serving.writer import Writer

PATIENCE_S = 10.0
"""How long an erasure waits for readers of the store, such as a `headrace prepare` beside the service."""
_PAUSE_S = 0.1


class Eraser:
    """Forgets users; safe from any thread. It waits in the thread of who asks, so that events go on being stored."""

    def __init__(self, store: Store, writer: Writer) -> None:
        self._store = store
        self._writer = writer
        self._unfinished: dict[str, int] = {}

    def forget(self, user_id: str) -> Erasure:
        """Erase a user from log, state and counts.

        Raises:
            NotFoundError: no such user.
            StoreError: the store could not be written, or readers keep what was erased in its files; erase again.
        """
        first = self._unfinished.get(user_id)
        try:
            erased = self._writer.forget(user_id).result()
        except NotFoundError:
            if first is None:
                raise
        else:
            first = erased.first if first is None else min(first, erased.first)
            self._unfinished[user_id] = first
            erased.forgotten.result()
        self.finish()
        with self._store.engine.connect() as connection:
            query = select(schema.models.c.version).where(schema.models.c.until >= first)
            learned = list(connection.execute(query.order_by(schema.models.c.taken)).scalars())
        return Erasure(uuid4().hex, learned)

    def finish(self) -> None:
        """Clean the files after every erasure that is not finished, if there is one.

        Raises:
            StoreError: readers keep the write-ahead log.
        """
        cleaned = list(self._unfinished)
        if not cleaned:
            return
        for copy in schema.copies(self._store.path):
            copy.unlink(missing_ok=True)
        _empty_log(self._store)
        for user_id in cleaned:
            self._unfinished.pop(user_id, None)


def _empty_log(store: Store) -> None:
    """Empty the write-ahead log, so that no erased byte is left in it or in the file."""
    deadline = time.monotonic() + PATIENCE_S
    while not store.empty_log():
        if time.monotonic() > deadline:
            raise StoreError(
                "the user is forgotten, but a reader of the store keeps what was erased in its write-ahead log; "
                "erase the user again, or wait: the log is emptied once the reader has gone"
            )
        time.sleep(_PAUSE_S)  # SQLite tells nobody when a reader lets go
