"""Labels from arrays, columns, folders and class files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnist_batch.config import ReadOptions
from mnist_batch.errors import InputError
from mnist_batch.sources.folder_labels import labels_from_folders
from mnist_batch.sources.labels import (
    labels_from_class_files,
    list_label_names,
    parse_class_file,
    parse_label_column,
    to_digit_labels,
)
from mnist_batch.sources.protocol import Container

DIGITS = st.lists(st.integers(0, 9), max_size=20)


@given(DIGITS, st.sampled_from(["u1", "i1", ">i4", "i8", "f4", "f8"]))
def test_digits_of_any_dtype_are_labels(digits: list[int], dtype: str) -> None:
    labels = to_digit_labels(np.array(digits, dtype), "y")
    assert labels.type == pa.int32()
    assert labels.to_pylist() == digits


@given(DIGITS, st.sampled_from(["u1", "i4", "f4", "f8"]))
def test_one_hot_rows_are_labels(digits: list[int], dtype: str) -> None:
    rows = np.eye(10, dtype=dtype)[np.array(digits, int)]
    assert to_digit_labels(rows, "y").to_pylist() == digits


@pytest.mark.parametrize("bad", [10, -1, 255, 0.5, np.nan, np.inf])
def test_bad_label_is_named_with_its_row(bad: float) -> None:
    with pytest.raises(InputError, match=r"y\.npy: labels must be digits 0\.\.9, row 2 has"):
        to_digit_labels(np.array([0, 9, bad, bad]), "y.npy")
    with pytest.raises(InputError, match="row 72 has"):
        to_digit_labels(np.array([0, 9, bad]), "y.npy", np.array([70, 71, 72]))


@pytest.mark.parametrize("row", [[0] * 10, [1] * 10, [0.1] * 10, [2] + [0] * 9, [-1, 1, 1] + [0] * 7, [np.nan] * 10])
def test_row_that_is_not_one_hot_is_an_error(row: list[float]) -> None:
    with pytest.raises(InputError, match="one-hot rows, a single 1 among ten, row 1 has") as caught:
        to_digit_labels(np.array([[1] + [0] * 9, row], float), "y.npy")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("values", [np.zeros((3, 9)), np.zeros((3, 2), int), np.array(["3"]), np.zeros((1, 10, 1))])
def test_other_arrays_are_an_error(values: npt.NDArray[Any]) -> None:
    with pytest.raises(InputError, match="labels must be digits or one-hot rows of ten, found"):
        to_digit_labels(values, "y.npy")


@given(st.lists(st.none() | st.integers(0, 9), max_size=20), st.sampled_from([pa.int8(), pa.uint64(), pa.float32()]))
def test_null_labels_stay_null(digits: list[int | None], kind: pa.DataType) -> None:
    assert parse_label_column(pa.array(digits, kind), "label").to_pylist() == digits
    assert parse_label_column(pa.array(digits, kind).dictionary_encode(), "label").to_pylist() == digits


@pytest.mark.parametrize("kind", [pa.list_(pa.int64()), pa.list_(pa.float32(), 10), pa.large_list(pa.uint8())])
def test_lists_may_be_one_hot_or_null(kind: pa.DataType) -> None:
    rows: list[Any] = [[0, 0, 1] + [0] * 7, None, [0] * 9 + [1]]
    assert parse_label_column(pa.array(rows, kind), "label").to_pylist() == [2, None, 9]
    assert parse_label_column(pa.array(rows, kind).slice(1), "label").to_pylist() == [None, 9]


def test_null_column_has_null_labels() -> None:
    assert parse_label_column(pa.nulls(3), "label").to_pylist() == [None] * 3


def test_rows_of_bad_labels_count_nulls() -> None:
    with pytest.raises(InputError, match="row 103 has 10"):
        parse_label_column(pa.array([None, 1, None, 10]), "label", 100)


@pytest.mark.parametrize(
    "column",
    [
        pa.array(["three"]),
        pa.array([True]),
        pa.array([[1] + [0] * 8]),
        pa.array([[1] + [None] * 9]),
        pa.array([["a"] * 10]),
        pa.array(["three"]).dictionary_encode(),
        pa.array([{"a": 1}]),
    ],
)
def test_other_columns_are_an_error(column: pa.Array) -> None:
    with pytest.raises(InputError, match="name another column with --label-column") as caught:
        parse_label_column(column, "label")
    assert "\n" not in str(caught.value)


def test_folder_named_by_digit_is_a_label() -> None:
    paths = [b"3/a.png", b"x/7/a.png", b"3/x/a.png", b"13/a.png", b"3.png", b"a3/b.png", b"/5/a", b"\xff/8/\xfe.png"]
    labels = labels_from_folders(pa.array(paths, pa.binary()), "in").digits
    assert labels.to_pylist() == [3, 7, None, None, None, None, 5, 8]


def test_class_file_labels_image_of_its_stem() -> None:
    paths = pa.array([b"a/x.png", b"a/x.y.jpg", b"b/x", b"x.png", b"a.b/x"], pa.binary())
    digits = {b"a/x": 1, b"a/x.y": 2, b"b/x": 3, b"a.b/x": 4}
    assert labels_from_class_files(paths, digits).to_pylist() == [1, 2, 3, None, 4]


@pytest.mark.parametrize("content", [b"7", b" 7\r\n", b"7\n"])
def test_class_file_holds_one_digit(content: bytes) -> None:
    assert parse_class_file(content, "a.cls") == 7


@pytest.mark.parametrize("content", [b"", b"77", b"x", b"-1", b"1.0", b"\xb2"])
def test_other_class_files_are_an_error(content: bytes) -> None:
    with pytest.raises(InputError, match=r"a\.cls: a \.cls file must hold one digit"):
        parse_class_file(content, "a.cls")


@pytest.mark.parametrize(
    ("images", "labels"),
    [
        ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
        ("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte"),
        ("train-images-idx3-ubyte", "train-labels-idx1-ubyte.gz"),
        ("train-images.idx3-ubyte", "train-labels.idx1-ubyte"),
        ("digits.idx", None),
        ("emnist-images-idx3-ubyte", None),
    ],
)
def test_idx_labels_are_found_by_name(tmp_path: Path, images: str, labels: str | None) -> None:
    for name in ("t10k-labels-idx1-ubyte", "train-labels-idx1-ubyte.gz", "train-labels.idx1-ubyte"):
        (tmp_path / name).touch()
    found = Container(tmp_path / images, images, ReadOptions()).find_beside(list_label_names(images))
    assert found == (None if labels is None else tmp_path / labels)
