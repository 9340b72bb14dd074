"""Which training rows are held out to choose the epoch by. The test rows play no part in it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mnist_batch.errors import UsageError


def hold_out(rows: int, writers: npt.NDArray[np.int32] | None, share: float, seed: int | None) -> npt.NDArray[np.bool_]:
    """Marks at least `share` of the rows: bool [rows], 0 < share < 1; another choice each time where `seed` is None.

    writers: int32 [rows] or None. Where they are known, whole writers are drawn until the share is reached: two digits
    of one hand are more alike than two of different hands, and the test rows are by hands never trained on.
    Raises UsageError where no row would be left to train on.
    """
    generator = np.random.default_rng(seed)
    groups = np.arange(rows) if writers is None else writers
    names, group_of_row, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    order = generator.permutation(len(names))
    drawn = order[: 1 + np.searchsorted(np.cumsum(sizes[order]), share * rows)]
    mask = np.isin(group_of_row, drawn)
    if mask.all():
        raise UsageError(
            f"--validation must leave rows to train on, {share} of {rows} rows by {len(names)} "
            f"{'rows' if writers is None else 'writers'} leaves none: choose a smaller share"
        )
    return mask
