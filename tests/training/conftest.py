from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from training.mnist_files import QMNIST_NAME, Array, draw_arrays, write_idx, write_idx_folder

WRITERS = 12


@pytest.fixture(scope="session")
def arrays() -> dict[str, Array]:
    return draw_arrays()


@pytest.fixture(scope="session")
def qmnist(arrays: dict[str, Array]) -> Array:
    """int32 [200, 8]: QMNIST's columns for the training rows. Only label (0) and writer (2) are filled in."""
    table = np.zeros((200, 8), np.int32)
    table[:, 0] = arrays["y_train"]
    table[:, 2] = 2000 + np.random.default_rng(8).integers(0, WRITERS, 200)
    return table


@pytest.fixture
def idx_folder(tmp_path: Path, arrays: dict[str, Array]) -> Path:
    """The four idx files, in a folder that the test may change."""
    return write_idx_folder(tmp_path / "idx", arrays)


@pytest.fixture
def idx_folder_with_writers(idx_folder: Path, qmnist: Array) -> Path:
    """The four idx files, and the writers of the training rows."""
    write_idx(idx_folder / f"{QMNIST_NAME}.gz", qmnist)
    return idx_folder
