"""Chooses the training rows that are held out to select the best epoch. The test rows are not used for that."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mnist_batch.errors import UsageError


def hold_out(rows: int, writers: npt.NDArray[np.int32] | None, share: float, seed: int | None) -> npt.NDArray[np.bool_]:
    """Chooses at least `share` of the rows: bool [rows], 0 < share < 1. If `seed` is None, each call chooses others.

    writers: int32 [rows], or None if they are not known. If they are known, whole writers are drawn until the share is
    reached, because two digits of one writer are more alike than two of different writers, and the test rows are by
    writers that are not in the training rows.
    Raises UsageError if no row would be left to train on.
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
