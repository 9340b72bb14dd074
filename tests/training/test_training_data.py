from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mnist_batch.config import Scale
from mnist_batch.errors import InputError, InputMissingError
from mnist_batch.training.data import load_training_data, one_hot, to_network_input
from training.mnist_files import IDX_NAMES, QMNIST_NAME, Array, write_idx, write_idx_folder

TRAIN_IMAGES, TRAIN_LABELS = IDX_NAMES["x_train"], IDX_NAMES["y_train"]


@given(hnp.arrays(np.int64, st.integers(0, 50), elements=st.integers(0, 9)))
def test_argmax_decodes_one_hot(labels: Array) -> None:
    rows = one_hot(labels)
    assert rows.dtype == np.float32
    assert rows.shape == (len(labels), 10)
    assert (rows.sum(axis=1) == 1).all()
    np.testing.assert_array_equal(rows.argmax(axis=1), labels)


@pytest.mark.parametrize(
    ("scale", "black", "white"),
    [(Scale.UNIT, 0, 1), (Scale.BYTE, 0, 255), (Scale.SYMMETRIC, -1, 1)],
)
def test_black_and_white_span_the_scale(scale: Scale, black: float, white: float) -> None:
    images = np.zeros((2, 28, 28), np.uint8)
    images[1] = 255
    flat = to_network_input(images, scale)
    assert flat.dtype == np.float32
    np.testing.assert_array_equal(flat, np.repeat([[black], [white]], 784, axis=1))


def write_npz(path: Path, arrays: dict[str, Any]) -> Path:
    np.savez(path, **arrays)
    return path


@pytest.mark.parametrize("form", ["idx", "idx.gz", "npz", "folder of npz"])
def test_every_form_gives_the_same_rows(form: str, tmp_path: Path, arrays: dict[str, Array]) -> None:
    if form.startswith("idx"):
        path = write_idx_folder(tmp_path, arrays, suffix=form.removeprefix("idx"))
    else:
        npz = write_npz(tmp_path / "mnist.npz", arrays)
        path = npz if form == "npz" else tmp_path
    data = load_training_data(path)
    np.testing.assert_array_equal(data.train_images, arrays["x_train"])
    np.testing.assert_array_equal(data.train_labels, arrays["y_train"])
    np.testing.assert_array_equal(data.test_images, arrays["x_test"])
    np.testing.assert_array_equal(data.test_labels, arrays["y_test"])
    assert data.train_images.dtype == np.uint8
    assert data.train_labels.dtype == data.test_labels.dtype == np.int64
    assert data.writers is None


def test_writers_are_read_from_qmnist(idx_folder_with_writers: Path, qmnist: Array) -> None:
    writers = load_training_data(idx_folder_with_writers).writers
    assert writers is not None
    assert writers.dtype == np.int32
    np.testing.assert_array_equal(writers, qmnist[:, 2])


def test_other_rows_are_not_called_mnist(idx_folder: Path) -> None:
    assert load_training_data(idx_folder).test_name == "test rows beside the training data"


def test_missing_path_is_missing_input(tmp_path: Path) -> None:
    with pytest.raises(InputMissingError, match=r"gone: must be .* found nothing: check --data") as caught:
        load_training_data(tmp_path / "gone")
    assert caught.value.exit_code == 66


def test_missing_idx_files_are_named(idx_folder: Path) -> None:
    (idx_folder / TRAIN_LABELS).unlink()
    with pytest.raises(InputMissingError, match=f"found no {TRAIN_LABELS}:"):
        load_training_data(idx_folder)


# The file, its wrong content, and what the error says.
BROKEN_IDX = [
    pytest.param(TRAIN_LABELS, np.full(200, 10, np.uint8), "digits 0..9, row 0 has 10", id="label above 9"),
    pytest.param(TRAIN_LABELS, np.full(200, -1, np.int32), "digits 0..9, row 0 has -1", id="label below 0"),
    pytest.param(TRAIN_LABELS, np.zeros(199, np.uint8), "each of the 200 images", id="one label missing"),
    pytest.param(TRAIN_IMAGES, np.zeros((200, 28, 27), np.uint8), r"\[n,28,28\], found uint8", id="27 wide"),
    pytest.param(TRAIN_IMAGES, np.zeros((200, 28, 28), np.int32), r"must be bytes .* found int32", id="not bytes"),
    pytest.param(TRAIN_IMAGES, np.zeros((0, 28, 28), np.uint8), r"shape \[0, 28, 28\]", id="no rows"),
    pytest.param(QMNIST_NAME, np.zeros((199, 8), np.int32), "a row for each of the 200", id="one writer missing"),
    pytest.param(QMNIST_NAME, np.zeros((200, 2), np.int32), r"found shape \[200, 2\]", id="no writer column"),
    pytest.param(QMNIST_NAME, np.full((200, 8), 11, np.int32), "row 0 has 11 for a", id="labels of other digits"),
]


@pytest.mark.parametrize(("name", "content", "says"), BROKEN_IDX)
def test_broken_idx_file_is_an_input_error(name: str, content: Array, says: str, idx_folder: Path) -> None:
    write_idx(idx_folder / name, content)
    with pytest.raises(InputError, match=f"{name}: .*{says}") as caught:
        load_training_data(idx_folder)
    assert caught.value.exit_code == 65
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"y_train": np.array([object()] * 200)}, id="pickled"),
        pytest.param({"y_test": None}, id="array missing"),
        pytest.param({"x_test": np.zeros((60, 784), np.uint8)}, id="flat images"),
    ],
)
def test_broken_npz_is_an_input_error(
    change: dict[str, Array | None], tmp_path: Path, arrays: dict[str, Array]
) -> None:
    changed = {name: array for name, array in {**arrays, **change}.items() if array is not None}
    path = write_npz(tmp_path / "mnist.npz", changed)
    with pytest.raises(InputError, match=r"mnist\.npz") as caught:
        load_training_data(path)
    assert caught.value.exit_code == 65
    assert next(iter(change)) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_text_named_npz_is_an_input_error(tmp_path: Path) -> None:
    (tmp_path / "mnist.npz").write_text("not found")
    with pytest.raises(InputError, match="must be a folder of idx files or an npz"):
        load_training_data(tmp_path / "mnist.npz")


def test_keras_copy_prints_nothing(
    arrays: dict[str, Array], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def load_data() -> tuple[tuple[Array, Array], tuple[Array, Array]]:
        sys.stdout.write("11490434/11490434 [====]")
        return (arrays["x_train"], arrays["y_train"]), (arrays["x_test"], arrays["y_test"])

    monkeypatch.setattr(keras.datasets.mnist, "load_data", load_data)
    data = load_training_data(None)
    np.testing.assert_array_equal(data.train_images, arrays["x_train"])
    assert capsys.readouterr().out == ""


def test_failed_download_suggests_data_option(monkeypatch: pytest.MonkeyPatch) -> None:
    def load_data() -> None:
        # Keras raises a bare Exception too.
        raise Exception("URL fetch failure on https://host/mnist.npz:\nNone -- no route")

    monkeypatch.setattr(keras.datasets.mnist, "load_data", load_data)
    with pytest.raises(InputMissingError, match=r"no route; name .* with --data") as caught:
        load_training_data(None)
    assert "\n" not in str(caught.value)
