"""Many users are read by one statement, and each is who they are read alone."""

from __future__ import annotations

import math

import numpy as np

from headrace.core.types import Event
from headrace.serving.service import Service
from headrace.serving.states import Histories, canonical_log, states_of
from headrace.serving.user_rows import keys_of, rows_of

IDS = ["ann", "007", 'o"neill', "été", "\N{GRINNING FACE}", "1.0", "null"]


def filled(service: Service) -> None:
    """Store some events of each user, out of order, with values of all sizes and with none."""
    values = [None, 1.5, -1e300, 3e38, 0.0]
    service.add_events(
        [
            Event(user_id=user, item_id="abcde"[(n + place) % 5], value=values[n], time=1000 * ((7 * n) % 5))
            for n in range(5)
            for place, user in enumerate(IDS)
        ]
    ).result()


def test_all_users_at_once_are_what_the_log_holds(service: Service) -> None:
    filled(service)
    hashes = service.store.item_ids
    users = service.store.user_ids()
    states = states_of(rows_of(service.store, list(users), 1 << 60), hashes, users)
    log = canonical_log(service.store, hashes)
    assert sorted(users.values()) == sorted(IDS)
    for state in states:
        mine = log.users == state.key
        for name in ("items", "types", "times"):
            np.testing.assert_array_equal(getattr(state.history, name), getattr(log, name)[mine])
        alone = states_of(rows_of(service.store, [state.key], 1 << 60), hashes, {state.key: users[state.key]})[0]
        np.testing.assert_array_equal(alone.history.values, state.history.values)
        assert alone.user_hash == state.user_hash
        assert alone.sequences.tolist() == state.sequences.tolist()


def test_values_come_as_they_were_stored(service: Service) -> None:
    service.add_events(
        [Event(user_id="ann", item_id="a", value=value, time=n) for n, value in enumerate([None, 0.1, -2.0])]
    ).result()
    rows = rows_of(service.store, [1], 1 << 60)
    found = rows["value"][np.argsort(rows["time"])].tolist()
    assert math.isnan(found[0])
    assert found[1:] == [0.1, -2.0]


def test_events_after_the_one_asked_for_are_left_out(service: Service) -> None:
    filled(service)
    rows = rows_of(service.store, list(service.store.user_ids()), 9)
    assert sorted(rows["sequence"].tolist()) == list(range(1, 10))


def test_who_is_unknown_has_no_key_and_takes_nothing_from_others(service: Service) -> None:
    filled(service)
    assert set(keys_of(service.store, ["ann", "nobody", "null"])) == {"ann", "null"}
    assert keys_of(service.store, []) == {}
    assert len(rows_of(service.store, [], 100)) == 0
    histories = Histories(service.store, service.store.item_ids, 1 << 20)
    histories.fetch(["nobody", "ann", "ann"], service.store.last_sequence())
    assert histories.get("nobody", 100) is None
    kept, filled_bytes = histories.get("ann", 100), histories.bytes
    assert kept is not None
    assert len(kept.history) == 5
    histories.fetch(["ann"], 100)
    assert histories.get("ann", 100) is kept
    assert histories.bytes == filled_bytes == kept.size
