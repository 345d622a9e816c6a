"""Masked training: events are hidden within the histories, and those alone are predicted (BERT4Rec, Sun et al. 2019).

The paper's encoder reads to both sides. Ours reads backwards only, since serving keeps the states of earlier events: a
hidden event is predicted from what stands before it. As in the paper, some histories hide their last event alone, as
serving asks.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from headrace.data.log import Bools
from headrace.training.batches import Batch

HIDDEN_SHARE = 0.4
"""Of the events of a history."""
LAST_SHARE = 0.2
"""Of the histories, where the last event alone is hidden."""
_NOTHING, _UNKNOWN = 0, -1
"""The item of a hidden event, whose id vector nothing else uses; its type and its value."""


def hide(batch: Batch, generator: np.random.Generator) -> Batch:
    """Return the batch with some of its events hidden, and with the pairs whose target is hidden; all if none is.

    The last event of a history is read by nobody and always a target.
    """
    hidden: Bools = generator.random(len(batch.items)) < HIDDEN_SHARE
    whole = generator.random(int(batch.segments.max(initial=-1)) + 1) < LAST_SHARE
    hidden &= ~whole[batch.segments]
    asked = np.append(hidden, True)[batch.pair_targets]  # place -1 is the one behind
    if not asked.any():
        return batch
    return replace(
        batch,
        items=np.where(hidden, np.int32(_NOTHING), batch.items),
        types=np.where(hidden, np.int32(_UNKNOWN), batch.types),
        values=np.where(hidden, np.float32(_UNKNOWN), batch.values),
        pair_places=batch.pair_places[asked],
        pair_items=batch.pair_items[asked],
        pair_weights=batch.pair_weights[asked],
        pair_targets=batch.pair_targets[asked],
    )
