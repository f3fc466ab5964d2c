"""What the C library does with freed memory: glibc by default returns large blocks to the system at once.

A model's tensors then come from the system again with each batch, page by page, which took a fifth of the time of the
``lite`` features. Other C libraries lack these functions, and nothing happens there.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Final

M_TRIM_THRESHOLD: Final = -1
M_MMAP_THRESHOLD: Final = -3
"""Of glibc's ``mallopt``."""
MOST_KEPT_BYTES: Final = 1 << 30
CHOICES: Final = ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_")
"""Of the environment, how users choose it themselves."""


def keep_freed_memory() -> None:
    """Have this process use freed memory again rather than return it to the system, unless the user chose otherwise."""
    if not any(name in os.environ for name in CHOICES):
        keep_blocks(MOST_KEPT_BYTES)


def keep_blocks(most: int) -> None:
    """Keep freed blocks of up to ``most`` bytes, and as much at the end of the heap; larger ones go back at once."""
    import ctypes

    with suppress(AttributeError, OSError, TypeError):
        for parameter in (M_MMAP_THRESHOLD, M_TRIM_THRESHOLD):
            ctypes.CDLL(None).mallopt(parameter, most)


def give_back_memory() -> None:
    """Return to the system what this process has freed and kept until now."""
    import ctypes

    with suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)
