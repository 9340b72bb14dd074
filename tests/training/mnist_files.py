"""Small training data in the layout of MNIST's files."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

IDX_NAMES = {
    "x_train": "train-images-idx3-ubyte",
    "y_train": "train-labels-idx1-ubyte",
    "x_test": "t10k-images-idx3-ubyte",
    "y_test": "t10k-labels-idx1-ubyte",
}
QMNIST_NAME = "qmnist-train-labels-idx2-int"


def draw_arrays() -> dict[str, Array]:
    """200 rows to train on and 60 to test on, under the names of Keras's mnist.npz."""
    generator = np.random.default_rng(7)
    x_train, y_train = _draw_digits(200, generator)
    x_test, y_test = _draw_digits(60, generator)
    return {"x_train": x_train, "y_train": y_train, "x_test": x_test, "y_test": y_test}


def _draw_digits(rows: int, generator: np.random.Generator) -> tuple[Array, Array]:
    """Each digit is a faint square at its own position, in noise, so that a few epochs learn some of it."""
    labels = generator.integers(0, 10, rows).astype(np.uint8)
    images = generator.integers(0, 150, (rows, 28, 28)).astype(np.uint8)
    for image, label in zip(images, labels, strict=True):
        top, left = divmod(int(label), 4)
        image[top * 8 : top * 8 + 6, left * 7 : left * 7 + 6] += 90
    return images, labels


def write_idx(path: Path, array: Array) -> None:
    """Writes uint8 or int32 values as idx, gzipped if the suffix is `.gz`."""
    code = {"u1": 0x08, "i4": 0x0C}[array.dtype.str[1:]]
    header = struct.pack(f">4B{array.ndim}I", 0, 0, code, array.ndim, *array.shape)
    content = header + array.astype(array.dtype.newbyteorder(">")).tobytes()
    path.write_bytes(gzip.compress(content, mtime=0) if path.suffix == ".gz" else content)


def write_idx_folder(folder: Path, arrays: dict[str, Array], suffix: str = "") -> Path:
    """Writes MNIST's four idx files. suffix: "" or ".gz"."""
    folder.mkdir(exist_ok=True)
    for array, name in IDX_NAMES.items():
        write_idx(folder / f"{name}{suffix}", arrays[array])
    return folder
