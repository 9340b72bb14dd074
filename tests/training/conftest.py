from __future__ import annotations

import gzip
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

Array = npt.NDArray[Any]
WriteIdx = Callable[[Path, Array], None]

WRITERS = 12
IDX_NAMES = {
    "x_train": "train-images-idx3-ubyte",
    "y_train": "train-labels-idx1-ubyte",
    "x_test": "t10k-images-idx3-ubyte",
    "y_test": "t10k-labels-idx1-ubyte",
}


def _write_idx(path: Path, array: Array) -> None:
    code = {"u1": 0x08, "i4": 0x0C}[array.dtype.str[1:]]
    header = struct.pack(f">4B{array.ndim}I", 0, 0, code, array.ndim, *array.shape)
    content = header + array.astype(array.dtype.newbyteorder(">")).tobytes()
    path.write_bytes(gzip.compress(content, mtime=0) if path.suffix == ".gz" else content)


def _digits(rows: int, generator: np.random.Generator) -> tuple[Array, Array]:
    """Each digit is a faint square at a place of its own, in noise: learned in part within a few epochs."""
    labels = generator.integers(0, 10, rows).astype(np.uint8)
    images = generator.integers(0, 150, (rows, 28, 28)).astype(np.uint8)
    for image, label in zip(images, labels, strict=True):
        top, left = divmod(int(label), 4)
        image[top * 8 : top * 8 + 6, left * 7 : left * 7 + 6] += 90
    return images, labels


@pytest.fixture(scope="session")
def write_idx() -> WriteIdx:
    """Writes uint8 or int32 values as idx, gzipped where the name says so."""
    return _write_idx


@pytest.fixture(scope="session")
def arrays() -> dict[str, Array]:
    """200 rows to train on and 60 to test on, under the names of Keras's mnist.npz."""
    generator = np.random.default_rng(7)
    x_train, y_train = _digits(200, generator)
    x_test, y_test = _digits(60, generator)
    return {"x_train": x_train, "y_train": y_train, "x_test": x_test, "y_test": y_test}


@pytest.fixture(scope="session")
def qmnist(arrays: dict[str, Array]) -> Array:
    """int32 [200, 8]: label, partition, writer, and what else QMNIST tells of the training rows."""
    table = np.zeros((200, 8), np.int32)
    table[:, 0] = arrays["y_train"]
    table[:, 2] = 2000 + np.random.default_rng(8).integers(0, WRITERS, 200)
    return table


@pytest.fixture
def idx_folder(tmp_path: Path, arrays: dict[str, Array]) -> Path:
    """The four idx files, in a folder that the test may break."""
    folder = tmp_path / "idx"
    folder.mkdir()
    for name, file_name in IDX_NAMES.items():
        _write_idx(folder / file_name, arrays[name])
    return folder


@pytest.fixture
def written_folder(idx_folder: Path, qmnist: Array) -> Path:
    """The four idx files, and who wrote the training rows."""
    _write_idx(idx_folder / "qmnist-train-labels-idx2-int.gz", qmnist)
    return idx_folder
