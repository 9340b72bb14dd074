"""How the process keeps memory that it will need again; for a program only, not for who imports the package."""

from __future__ import annotations

import ctypes

# From glibc's malloc.h: how much more than was asked for is taken from the system, and how much stays when memory is
# given back.
_M_TOP_PAD = -2
_KEPT_BYTES = 1 << 28


def keep_freed_memory() -> None:
    """Has malloc keep up to 256 MB of what is freed, where it is glibc's; it is given out again before more is taken.

    TensorFlow has it give freed memory back to the system at once. Then each batch's arrays, some 40 MB, come anew as
    pages that the kernel must first clear: a fifth of a run's time (docs/performance.md).
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_TOP_PAD, _KEPT_BYTES)
