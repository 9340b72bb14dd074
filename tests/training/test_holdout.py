from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnist_batch.errors import UsageError
from mnist_batch.training.holdout import hold_out

# No hand wrote half of the rows, so that a share up to a half always leaves some to train on.
ROWS_BY_WRITER = st.lists(st.integers(5, 9), min_size=4, max_size=30)


@given(ROWS_BY_WRITER, st.floats(0.01, 0.5), st.integers(0, 2**32 - 1))
def test_no_writer_is_in_both_parts_and_the_share_is_reached(sizes: list[int], share: float, seed: int) -> None:
    writers = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(sizes), dtype=np.int32), sizes))
    mask = hold_out(len(writers), writers, share, seed)
    assert not set(writers[mask]) & set(writers[~mask])
    # Reached, and passed by no more than the writer drawn last.
    assert share * len(writers) <= mask.sum() < share * len(writers) + max(sizes)


@given(st.integers(2, 500), st.floats(0.001, 0.5), st.integers(0, 2**32 - 1))
def test_without_writers_the_share_is_of_single_rows(rows: int, share: float, seed: int) -> None:
    mask = hold_out(rows, None, share, seed)
    assert mask.sum() == np.ceil(share * rows)


def test_the_seed_decides_which_rows() -> None:
    masks: list[npt.NDArray[Any]] = [hold_out(200, None, 0.2, seed) for seed in (5, 5, 6)]
    np.testing.assert_array_equal(masks[0], masks[1])
    assert (masks[0] != masks[2]).any()


def test_a_share_that_leaves_nothing_to_train_on_is_a_usage_error() -> None:
    writers = np.repeat(np.array([1, 2], np.int32), 10)
    with pytest.raises(UsageError, match=r"0\.9 of 20 rows by 2 writers leaves none"):
        hold_out(20, writers, 0.9, 0)
