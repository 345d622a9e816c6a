"""The few thousand items that one request has to do with, in a small hash: as fast in a catalogue of ten million.

Open addressing with linear probing, as in `CountRows`; a table is emptied for each request and sized by what may come.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from headrace.core.compiled import Whole, compiled, inlined
from headrace.data.log import Floats, Ints, Longs

_COUNT, _MASK = 0, 1


class ItemTable(NamedTuple):
    """Items, each with a place 0, 1, 2 ... in the order in which they came. Shapes: S slots, D places.

    Args:
        slots: (S,) item * 2**32 + place, 0 for an empty one; S is a power of two.
        items: (D,) the item at each place.
        sums: (D, 3) numbers of each item.
        flags: (D,) what is known of each, zero at first.
        meta: (2,) how many items there are; the number of slots in use, less one.
    """

    slots: Longs
    items: Ints
    sums: Floats
    flags: NDArray[np.uint8]
    meta: Longs


def make_table(most: int) -> ItemTable:
    """Return a table for up to `most` items."""
    return ItemTable(
        slots=np.zeros(_slots_for(most), np.int64),
        items=np.zeros(most + 1, np.int32),
        sums=np.zeros((most + 1, 3), np.float32),
        flags=np.zeros(most + 1, np.uint8),
        meta=np.zeros(2, np.int64),
    )


@compiled
def _slots_for(most: Whole) -> Whole:
    slots = np.int64(64)
    while slots < 2 * most:
        slots *= 2
    return slots


@compiled
def empty_table(table: ItemTable, most: Whole) -> None:
    """Make a table ready for a request that has to do with at most so many items."""
    slots = min(_slots_for(most), len(table.slots))
    table.slots[:slots] = 0
    table.meta[_COUNT], table.meta[_MASK] = 0, slots - 1


@compiled
def count_of(table: ItemTable) -> Whole:
    """Return how many items there are."""
    count: Whole = table.meta[_COUNT]
    return count


# Whole tables are handed on, and their arrays read out, once a request: in a loop each reading counts references.
@inlined
def slot_of(slots: Longs, mask: Whole, item: Whole) -> Whole:
    """Return the slot of an item, or the empty one where it would go."""
    slot: Whole = ((item * 2654435769) >> 15) & mask
    while slots[slot] != 0 and slots[slot] >> 32 != item:
        slot = (slot + 1) & mask
    return slot


@compiled
def places_of(table: ItemTable, items: Ints) -> Ints:
    """Return the places (n,) of items, -1 for those that are not there."""
    slots, mask, places = table.slots, table.meta[_MASK], np.empty(len(items), np.int32)
    for each in range(len(items)):
        found = slots[slot_of(slots, mask, np.int64(items[each]))]
        places[each] = found & 0xFFFFFFFF if found != 0 else -1
    return places


@compiled
def settle(table: ItemTable, items: Ints, n: Whole) -> Ints:
    """Return the places (n,) of the first n items; one that is new comes to the table, with sums and flags of zero.

    Item 0 is none and has no place: -1.
    """
    slots, mask, places = table.slots, table.meta[_MASK], np.empty(n, np.int32)
    settled, sums, flags, count = table.items, table.sums, table.flags, table.meta[_COUNT]
    for each in range(n):
        item = np.int64(items[each])
        if item == 0:
            places[each] = -1
            continue
        slot = slot_of(slots, mask, item)
        if slots[slot] == 0:
            slots[slot] = (item << 32) | count
            settled[count], flags[count] = item, 0
            sums[count, 0] = sums[count, 1] = sums[count, 2] = 0
            count += 1
        places[each] = slots[slot] & 0xFFFFFFFF
    table.meta[_COUNT] = count
    return places


@compiled
def items_at(table: ItemTable, places: Ints) -> Ints:
    """Return the items (n,) at places."""
    items, at = np.empty(len(places), np.int32), table.items
    for each in range(len(places)):
        items[each] = at[places[each]]
    return items
