"""A lack of memory, as a message that names the setting to lower."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from headrace.core.errors import ModelError


@contextmanager
def blaming(setting: str, value: int) -> Iterator[None]:
    """Say of a lack of memory within the block which setting takes it, and half of its value to try.

    Args:
        setting: its dotted name.
        value: in force.

    Raises:
        ModelError: memory could not be had. What the system kills outright says nothing.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        # PyTorch has no class of its own for this on a CPU.
        if not isinstance(error, MemoryError) and "can't allocate memory" not in str(error):
            raise
        section, _, name = setting.partition(".")
        raise ModelError(
            f"{setting} must fit in memory and {value} does not ({str(error).strip() or 'out of memory'}); set "
            f"{name} = {max(1, value // 2)} in [{section}], or free some memory, and go on with --resume"
        ) from None
