from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnist_batch.errors import UsageError
from mnist_batch.training.holdout import hold_out

# No writer wrote half of the rows, so that a share of up to a half always leaves rows to train on.
ROWS_BY_WRITER = st.lists(st.integers(5, 9), min_size=4, max_size=30)


@given(ROWS_BY_WRITER, st.floats(0.01, 0.5), st.integers(0, 2**32 - 1))
def test_whole_writers_reach_the_share(sizes: list[int], share: float, seed: int) -> None:
    writers = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(sizes), dtype=np.int32), sizes))
    mask = hold_out(len(writers), writers, share, seed)
    assert not set(writers[mask]) & set(writers[~mask])
    # The share is exceeded by less than the last writer's rows.
    assert share * len(writers) <= mask.sum() < share * len(writers) + max(sizes)


@given(st.integers(2, 500), st.floats(0.001, 0.5), st.integers(0, 2**32 - 1))
def test_single_rows_without_writers(rows: int, share: float, seed: int) -> None:
    mask = hold_out(rows, None, share, seed)
    assert mask.sum() == np.ceil(share * rows)


def test_seed_decides_the_rows() -> None:
    masks = [hold_out(200, None, 0.2, seed) for seed in (5, 5, 6)]
    np.testing.assert_array_equal(masks[0], masks[1])
    assert (masks[0] != masks[2]).any()


def test_share_of_all_rows_is_a_usage_error() -> None:
    writers = np.repeat(np.array([1, 2], np.int32), 10)
    with pytest.raises(UsageError, match=r"0\.9 of 20 rows by 2 writers leaves none"):
        hold_out(20, writers, 0.9, 0)
