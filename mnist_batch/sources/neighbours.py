"""Members of an archive that lie side by side: they are read together, in one piece that is then cut.

Of reading a small image on its own nearly all is calls of `seek` and `read`.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from mnist_batch.records import Ints

# Read at once, at most, where more than one member is.
_TOGETHER_BYTES = 1 << 20
# What may lie between two members, or before one: headers and padding. More is read over and not through.
BETWEEN_BYTES = 4096


def neighbours(offsets: Ints, sizes: Ints) -> Iterator[tuple[int, int]]:
    """Cuts members, in the order given, into runs `(first, stop)` that are to be read at once.

    offsets, sizes: int64 [n], where each begins and how long it is. One that is longer than any run is alone.
    """
    stops = offsets + np.minimum(sizes, _TOGETHER_BYTES)
    between = offsets[1:] - stops[:-1]
    large = sizes > _TOGETHER_BYTES
    apart = (between < 0) | (between > BETWEEN_BYTES) | large[1:] | large[:-1]
    for begins, ends in pairwise([0, *(np.flatnonzero(apart) + 1).tolist(), len(offsets)]):
        first = begins
        while first < ends:
            fitting = np.searchsorted(stops[first:ends], offsets[first] + _TOGETHER_BYTES, side="right")
            yield first, first + int(fitting)
            first += int(fitting)
