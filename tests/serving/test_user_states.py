"""A user's history grows in place, and is always the one that the store would give."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from headrace.core.order import id_hash
from headrace.data.item_ids import ItemIds
from headrace.serving.batch import Applied
from headrace.serving.states import UserState, states_of
from headrace.serving.user_rows import USER_ROW

HASHES = ItemIds([str(key) for key in range(1, 6)])

Rows = list[tuple[int, int, float | None, int]]

events = st.lists(
    st.tuples(
        st.integers(1, 5),
        st.integers(0, 2),
        st.none() | st.floats(allow_nan=False, allow_infinity=False),
        st.integers(0, 6) | st.integers(5, 40),
    ),
    max_size=40,
)


@given(st.lists(events, max_size=6))
def test_events_in_any_order_leave_the_history_that_the_store_has(
    groups: list[Rows],
) -> None:
    state, sequence, all_rows = UserState(7, id_hash("ann")), 0, []
    for group in groups:
        before = state.history
        kept = [column.copy() for column in (before.items, before.types, before.values, before.times)]
        applied = []
        for item, kind, value, time in group:
            sequence += 1
            applied.append(Applied(sequence, 7, "ann", item, kind, value, time))
            all_rows.append((7, sequence, item, time, kind, np.nan if value is None else value))
        first = state.add(applied, HASHES)
        rows = np.array([*all_rows, (9, 1000, 3, 5, 0, 1.0)], USER_ROW)
        none, found, other = states_of(rows, HASHES, {9: "bob", 7: "ann", 2: "eve"})
        assert (none.key, len(none.history), found.key, other.history.items.tolist()) == (2, 0, 7, [3])
        for name in ("items", "types", "values", "times"):
            np.testing.assert_array_equal(getattr(state.history, name), getattr(found.history, name))
        np.testing.assert_array_equal(state.sequences, found.sequences)
        # What was given away did not change, and is the same up to the first place named.
        for column, name in zip(kept, ("items", "types", "values", "times"), strict=True):
            np.testing.assert_array_equal(column, getattr(before, name))
            np.testing.assert_array_equal(column[:first], getattr(state.history, name)[:first])
        assert first <= len(before)


def test_an_event_that_comes_last_moves_no_other() -> None:
    state = UserState(7, id_hash("ann"))
    state.add([Applied(n, 7, "ann", 1, 0, None, n) for n in range(1, 4)], HASHES)
    items = state.history.items
    state.add([Applied(4, 7, "ann", 2, 0, None, 4)], HASHES)
    assert np.shares_memory(items, state.history.items)
    assert len(items) == 3
    assert state.history.items.tolist() == [1, 1, 1, 2]
