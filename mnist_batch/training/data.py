"""Reads the training data: the four MNIST files, as idx or as `mnist.npz`, and the writer of each digit if known.

This module knows nothing of models. It imports Keras only to get Keras's own copy of MNIST.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mnist_batch.config import Scale
from mnist_batch.errors import InputError, InputMissingError
from mnist_batch.records import CLASSES, IMAGE_SIDE, Floats, Ints, Pixels
from mnist_batch.sources.idx import read_idx
from mnist_batch.sources.npz import read_array

_NPZ_NAME = "mnist.npz"
_NPZ_ARRAYS = ("x_train", "y_train", "x_test", "y_test")
_IDX_NAMES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
# QMNIST's extended labels: 8 columns per MNIST training image, in order (github.com/facebookresearch/qmnist).
_QMNIST_NAME = "qmnist-train-labels-idx2-int"
_QMNIST_LABEL, _QMNIST_WRITER = 0, 2
# SHA-256 of the pixels of t10k-images-idx3-ubyte. Fashion-MNIST and other data sets use the same file names.
_MNIST_TEST_PIXELS = "6d87418db22cc8025d05968bec9bd5c3932904b23485740db143a061a2c9d161"

_DIVISOR_AND_OFFSET = {
    Scale.UNIT: (255.0, 0.0),
    Scale.BYTE: (1.0, 0.0),
    Scale.SYMMETRIC: (127.5, 1.0),
}


@dataclass(frozen=True, slots=True)
class TrainingData:
    """Images, their digits, and the writers of the training images.

    train_images: uint8 [n, 28, 28].
    train_labels: int64 [n] of 0..9.
    test_images, test_labels: the same, [m].
    writers: int32 [n], one number per writer, or None if the writers are not known.
    """

    train_images: Pixels
    train_labels: Ints
    test_images: Pixels
    test_labels: Ints
    writers: npt.NDArray[np.int32] | None = None

    @property
    def test_name(self) -> str:
        """The name of the test rows: MNIST's only if every pixel is the same."""
        is_mnist = hashlib.sha256(self.test_images.tobytes()).hexdigest() == _MNIST_TEST_PIXELS
        return "MNIST test" if is_mnist else "test rows beside the training data"


def load_training_data(path: Path | None) -> TrainingData:
    """Loads the data in `path`: a folder with the four idx files or `mnist.npz`, or that npz. None: Keras's copy.

    Raises InputMissingError if there is no such data, InputError if it is damaged.
    """
    if path is None:
        return _check_arrays(_load_keras_copy(), dict.fromkeys(_NPZ_ARRAYS, "Keras's copy of MNIST"), None)
    try:
        return _load_path(path)
    except OSError as error:
        raise InputMissingError(
            f"{error.filename or path}: training data must be readable, found {error.strerror or error}: check --data"
        ) from error


def one_hot(labels: Ints) -> Floats:
    """Encodes each digit as a row with a single 1: int64 [n] of 0..9 -> float32 [n, 10]. `argmax(axis=1)` decodes."""
    return np.eye(CLASSES, dtype=np.float32)[labels]


def to_network_input(images: Pixels, scale: Scale) -> Floats:
    """Flattens images and scales black and white to `scale`: uint8 [n, 28, 28] -> float32 [n, 784]."""
    divisor, offset = _DIVISOR_AND_OFFSET[scale]
    flat = images.reshape(len(images), -1).astype(np.float32)
    flat /= np.float32(divisor)
    flat -= np.float32(offset)
    return flat


def _load_path(path: Path) -> TrainingData:
    if not path.exists():
        raise InputMissingError(f"{path}: must be a folder of idx files or an npz, found nothing: check --data")
    if path.is_file():
        return _load_npz(path)
    files = [_find_idx_file(path, name) for name in _IDX_NAMES]
    if not any(files) and (path / _NPZ_NAME).is_file():
        return _load_npz(path / _NPZ_NAME)
    return _load_idx(path, files)


def _find_idx_file(folder: Path, name: str) -> Path | None:
    return next((path for path in (folder / name, folder / f"{name}.gz") if path.is_file()), None)


def _load_idx(folder: Path, files: list[Path | None]) -> TrainingData:
    """files: the path of each of `_IDX_NAMES`, None if there is none."""
    paths = [path for path in files if path is not None]
    if len(paths) < len(files):
        missing = [name for name, path in zip(_IDX_NAMES, files, strict=True) if path is None]
        raise InputMissingError(
            f"{folder}: must hold MNIST's four idx files or {_NPZ_NAME}, "
            f"found no {', '.join(missing)}: fetch what is missing, or check --data"
        )
    locations = {array: str(path) for array, path in zip(_NPZ_ARRAYS, paths, strict=True)}
    arrays = {array: read_idx(path) for array, path in zip(_NPZ_ARRAYS, paths, strict=True)}
    return _check_arrays(arrays, locations, folder)


def _load_npz(path: Path) -> TrainingData:
    if not zipfile.is_zipfile(path):
        raise InputError(f"{path}: --data must be a folder of idx files or an npz, found neither: check what it is")
    locations = {array: f"{path}:{array}" for array in _NPZ_ARRAYS}
    return _check_arrays({array: read_array(path, array) for array in _NPZ_ARRAYS}, locations, path.parent)


def _load_keras_copy() -> dict[str, npt.NDArray[Any]]:
    from mnist_batch.model.backend import keras

    try:
        # Keras prints its progress bar to stdout, which is for results only.
        with redirect_stdout(io.StringIO()):
            (x_train, y_train), (x_test, y_test) = keras.datasets.mnist.load_data()
    except Exception as error:  # Keras raises a bare Exception if the download fails
        cause = " ".join(str(error).split())
        raise InputMissingError(
            f"without --data, MNIST must be in Keras's cache or downloadable, found: {cause}; "
            f"name a folder of the four idx files, or {_NPZ_NAME}, with --data"
        ) from error
    return {"x_train": x_train, "y_train": y_train, "x_test": x_test, "y_test": y_test}


def _check_arrays(
    arrays: dict[str, npt.NDArray[Any]], locations: dict[str, str], writers_folder: Path | None
) -> TrainingData:
    """Returns the arrays as training data. Raises InputError if they are not.

    arrays: by the names in `_NPZ_ARRAYS`.
    locations: where each of them is, for error messages.
    writers_folder: where QMNIST's labels may be.
    """
    for part in ("train", "test"):
        _check_images(arrays[f"x_{part}"], locations[f"x_{part}"])
        _check_labels(arrays[f"y_{part}"], locations[f"y_{part}"], len(arrays[f"x_{part}"]))
    labels = arrays["y_train"].astype(np.int64)
    return TrainingData(
        train_images=arrays["x_train"],
        train_labels=labels,
        test_images=arrays["x_test"],
        test_labels=arrays["y_test"].astype(np.int64),
        writers=None if writers_folder is None else _read_writers(writers_folder, labels),
    )


def _check_images(images: npt.NDArray[Any], location: str) -> None:
    if images.dtype != np.uint8 or images.shape[1:] != (IMAGE_SIDE, IMAGE_SIDE) or len(images) == 0:
        raise InputError(
            f"{location}: images to train on must be bytes of shape [n,28,28], "
            f"found {images.dtype} of shape {list(images.shape)}: convert them"
        )


def _check_labels(labels: npt.NDArray[Any], location: str, images: int) -> None:
    if labels.dtype.kind not in "ui" or labels.shape != (images,):
        raise InputError(
            f"{location}: must hold a digit for each of the {images} images, "
            f"found {labels.dtype} of shape {list(labels.shape)}: fetch images and labels again, together"
        )
    invalid = (labels < 0) | (labels >= CLASSES)
    if invalid.any():
        row = int(np.argmax(invalid))
        raise InputError(f"{location}: labels must be digits 0..9, row {row} has {labels[row]}: correct the labels")


def _read_writers(folder: Path, labels: Ints) -> npt.NDArray[np.int32] | None:
    path = _find_idx_file(folder, _QMNIST_NAME)
    if path is None:
        return None
    table = read_idx(path)
    if table.ndim != 2 or table.shape[1] <= _QMNIST_WRITER or len(table) != len(labels):
        raise InputError(
            f"{path}: must hold a row for each of the {len(labels)} training images, "
            f"found shape {list(table.shape)}: fetch it again, or move it away to train without writers"
        )
    differs = table[:, _QMNIST_LABEL] != labels
    if differs.any():
        row = int(np.argmax(differs))
        raise InputError(
            f"{path}: labels must be those of the training images, row {row} has {table[row, _QMNIST_LABEL]} "
            f"for a {labels[row]}: fetch it again, or move it away to train without writers"
        )
    return table[:, _QMNIST_WRITER].astype(np.int32)
