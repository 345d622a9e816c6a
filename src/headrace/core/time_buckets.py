"""The buckets of a time that has passed, as the network reads it; see `model.attention.time_buckets` for tensors."""

from __future__ import annotations

import numpy as np

from headrace.core.compiled import inlined

TIME_BUCKETS = 36
"""Powers of two of seconds, from under one second to over 500 years."""
UNKNOWN_BUCKET = TIME_BUCKETS
"""The bucket of a request whose time is hidden."""

BUCKET_SHIFT = 0.37
"""Moves the borders off whole seconds, so that two machines that round log2 differently still agree on the bucket."""
_BUCKET_FACTOR = 2.0**BUCKET_SHIFT


@inlined
def time_bucket(later: np.int64, earlier: np.int64) -> np.int64:
    """Return the bucket of the difference of two times, int64 microseconds; one that is negative counts as 0.

    The logarithm, cut to a whole number, is the exponent of a float.
    """
    passed = later - earlier if later > earlier else np.int64(0)
    seconds = np.float32(passed) * np.float32(1e-6)
    moved = np.float32((seconds + np.float32(1.0)) * np.float32(_BUCKET_FACTOR))
    return min(np.int64(TIME_BUCKETS - 1), np.int64((moved.view(np.int32) >> np.int32(23)) - np.int32(127)))


@inlined
def request_bucket(request: np.int64, earlier: np.int64) -> np.int64:
    """Return the bucket from a time to that of a request; a request below 0 hides its time."""
    return np.int64(UNKNOWN_BUCKET) if request < 0 else time_bucket(request, earlier)
