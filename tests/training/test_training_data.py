from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mnist_batch.config import ValueRange
from mnist_batch.errors import InputError, InputMissingError
from mnist_batch.training.data import load_training_data, one_hot, to_network_input

Array = npt.NDArray[Any]
TRAIN_IMAGES, TRAIN_LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"
QMNIST = "qmnist-train-labels-idx2-int"


@given(hnp.arrays(np.int64, st.integers(0, 50), elements=st.integers(0, 9)))
def test_argmax_takes_one_hot_back(labels: Array) -> None:
    rows = one_hot(labels)
    assert rows.dtype == np.float32
    assert rows.shape == (len(labels), 10)
    assert (rows.sum(axis=1) == 1).all()
    np.testing.assert_array_equal(rows.argmax(axis=1), labels)


@pytest.mark.parametrize(
    ("scale", "black", "white"),
    [(ValueRange.UNIT, 0, 1), (ValueRange.BYTE, 0, 255), (ValueRange.SYMMETRIC, -1, 1)],
)
def test_black_and_white_come_to_the_ends_of_the_scale(scale: ValueRange, black: float, white: float) -> None:
    images = np.zeros((2, 28, 28), np.uint8)
    images[1] = 255
    flat = to_network_input(images, scale)
    assert flat.dtype == np.float32
    np.testing.assert_array_equal(flat, np.repeat([[black], [white]], 784, axis=1))


def _as_idx(folder: Path, arrays: dict[str, Array], write_idx: Callable[..., None], suffix: str) -> Path:
    for part, prefix in (("train", "train"), ("test", "t10k")):
        write_idx(folder / f"{prefix}-images-idx3-ubyte{suffix}", arrays[f"x_{part}"])
        write_idx(folder / f"{prefix}-labels-idx1-ubyte{suffix}", arrays[f"y_{part}"])
    return folder


@pytest.mark.parametrize("form", ["idx", "idx.gz", "npz", "folder of npz"])
def test_every_form_gives_the_same_rows(
    form: str, tmp_path: Path, arrays: dict[str, Array], write_idx: Callable[..., None]
) -> None:
    if form.startswith("idx"):
        path = _as_idx(tmp_path, arrays, write_idx, form.removeprefix("idx"))
    else:
        np.savez(tmp_path / "mnist.npz", **arrays)
        path = tmp_path / "mnist.npz" if form == "npz" else tmp_path
    data = load_training_data(path)
    np.testing.assert_array_equal(data.train_images, arrays["x_train"])
    np.testing.assert_array_equal(data.train_labels, arrays["y_train"])
    np.testing.assert_array_equal(data.test_images, arrays["x_test"])
    np.testing.assert_array_equal(data.test_labels, arrays["y_test"])
    assert data.train_images.dtype == np.uint8
    assert data.train_labels.dtype == data.test_labels.dtype == np.int64
    assert data.writers is None


def test_writers_come_from_the_qmnist_file_beside_the_data(written_folder: Path, qmnist: Array) -> None:
    writers = load_training_data(written_folder).writers
    assert writers is not None
    assert writers.dtype == np.int32
    np.testing.assert_array_equal(writers, qmnist[:, 2])


def test_only_mnists_own_test_rows_are_called_so(idx_folder: Path) -> None:
    assert load_training_data(idx_folder).test_name == "test rows beside the training data"


def test_a_path_that_is_not_there_is_missing_input(tmp_path: Path) -> None:
    with pytest.raises(InputMissingError, match=r"gone: must be .* found nothing: check --data") as caught:
        load_training_data(tmp_path / "gone")
    assert caught.value.exit_code == 66


def test_missing_idx_files_are_named(idx_folder: Path) -> None:
    (idx_folder / TRAIN_LABELS).unlink()
    with pytest.raises(InputMissingError, match=f"found no {TRAIN_LABELS}:"):
        load_training_data(idx_folder)


# What is wrong, in which file, and what the error says of it.
BROKEN_IDX = [
    pytest.param(TRAIN_LABELS, np.full(200, 10, np.uint8), "digits 0..9, row 0 has 10", id="label above 9"),
    pytest.param(TRAIN_LABELS, np.full(200, -1, np.int32), "digits 0..9, row 0 has -1", id="label below 0"),
    pytest.param(TRAIN_LABELS, np.zeros(199, np.uint8), "each of the 200 images", id="a label too few"),
    pytest.param(TRAIN_IMAGES, np.zeros((200, 28, 27), np.uint8), r"\[n,28,28\], found uint8", id="27 wide"),
    pytest.param(TRAIN_IMAGES, np.zeros((200, 28, 28), np.int32), r"must be bytes .* found int32", id="not bytes"),
    pytest.param(TRAIN_IMAGES, np.zeros((0, 28, 28), np.uint8), r"shape \[0, 28, 28\]", id="no rows"),
    pytest.param(QMNIST, np.zeros((199, 8), np.int32), "a row for each of the 200", id="a writer too few"),
    pytest.param(QMNIST, np.zeros((200, 2), np.int32), r"found shape \[200, 2\]", id="no writer column"),
    pytest.param(QMNIST, np.full((200, 8), 11, np.int32), "row 0 has 11 for a", id="writers of other digits"),
]


@pytest.mark.parametrize(("name", "content", "says"), BROKEN_IDX)
def test_broken_idx_files_are_named_in_one_line(
    name: str, content: Array, says: str, idx_folder: Path, write_idx: Callable[..., None]
) -> None:
    write_idx(idx_folder / name, content)
    with pytest.raises(InputError, match=f"{name}: .*{says}") as caught:
        load_training_data(idx_folder)
    assert caught.value.exit_code == 65
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"y_train": np.array([object()] * 200)}, id="pickled"),
        pytest.param({"y_test": None}, id="array lacking"),
        pytest.param({"x_test": np.zeros((60, 784), np.uint8)}, id="flat images"),
    ],
)
def test_broken_npz_is_an_input_error(
    change: dict[str, Array | None], tmp_path: Path, arrays: dict[str, Array]
) -> None:
    kept = {name: array for name, array in {**arrays, **change}.items() if array is not None}
    np.savez(tmp_path / "mnist.npz", **kept)
    with pytest.raises(InputError, match=r"mnist\.npz") as caught:
        load_training_data(tmp_path / "mnist.npz")
    assert caught.value.exit_code == 65
    assert next(iter(change)) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_npz_is_an_input_error(tmp_path: Path) -> None:
    (tmp_path / "mnist.npz").write_text("not found")
    with pytest.raises(InputError, match="must be a folder of idx files or an npz"):
        load_training_data(tmp_path / "mnist.npz")


def test_without_a_path_keras_gives_the_rows_and_stdout_stays_clean(
    arrays: dict[str, Array], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def load_data() -> tuple[tuple[Array, Array], tuple[Array, Array]]:
        sys.stdout.write("11490434/11490434 [====]")
        return (arrays["x_train"], arrays["y_train"]), (arrays["x_test"], arrays["y_test"])

    monkeypatch.setattr(keras.datasets.mnist, "load_data", load_data)
    data = load_training_data(None)
    np.testing.assert_array_equal(data.train_images, arrays["x_train"])
    assert capsys.readouterr().out == ""


def test_offline_without_a_path_one_line_names_data(monkeypatch: pytest.MonkeyPatch) -> None:
    def load_data() -> None:
        raise Exception("URL fetch failure on https://host/mnist.npz:\nNone -- no route")  # as bare as Keras's own

    monkeypatch.setattr(keras.datasets.mnist, "load_data", load_data)
    with pytest.raises(InputMissingError, match=r"no route; name .* with --data") as caught:
        load_training_data(None)
    assert "\n" not in str(caught.value)
