"""NumPy arrays: which are images, and which labels belong to them."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from contracts import DIGITS, Array, read_all

from mnist_batch.config import AutoLabels, PixelRange, ReadOptions
from mnist_batch.errors import InputError
from mnist_batch.records import NumericRows
from mnist_batch.sources.discover import open_inputs

X, Y = DIGITS.pixels[:12], DIGITS.labels[:12]


def save(path: Path, arrays: Mapping[str, Array]) -> None:
    np.savez(path, **arrays)  # type: ignore[arg-type]  # none of the names is an option


def read(path: str | Path, **options: PixelRange) -> tuple[list[str], list[int | None], Array]:
    """The ids, labels and pixels of an input."""
    batches = read_all(open_inputs((str(path),), ReadOptions(**options)))  # type: ignore[arg-type]  # a range
    ids = [name for batch in batches for name in batch.ids.to_pylist()]
    labels = [label for batch in batches for label in batch.labels.to_pylist()]
    return ids, labels, np.concatenate([batch.pixels for batch in batches])


@pytest.mark.parametrize(
    ("images", "labels"),
    [
        ("x_test", "y_test"), ("train_images", "train_labels"), ("X", "y"), ("X", "Y"), ("images", "labels"),
        ("data", "target"), ("X_test", "y_test"), ("test_x", "test_y"), ("digits", "labels"), ("arr_0", "labels"),
        ("image", "label"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("array", ["", ":ARRAY"])
def test_labels_are_found_by_name(images: str, labels: str, array: str, tmp_path: Path) -> None:
    save(tmp_path / "a.npz", {images: X, labels: Y, "classes_seen": np.array(["a", "b"])})
    ids, found, pixels = read(f"{tmp_path / 'a.npz'}{array.replace('ARRAY', images)}")
    assert ids[0] == f"a.npz:{images}#0"
    assert found == Y.tolist()
    assert np.array_equal(pixels, X)


def test_each_split_has_its_own_labels(tmp_path: Path) -> None:
    arrays = {"train_images": X[:5], "train_labels": Y[:5, None], "val_images": X[5:], "val_labels": Y[5:, None]}
    save(tmp_path / "a.npz", arrays)
    ids, labels, _ = read(tmp_path / "a.npz")
    assert labels == Y.tolist()
    assert ids[5] == "a.npz:val_images#0"


@pytest.mark.parametrize(
    "images",
    [X.reshape(12, 784), X[..., None], X[:, None], X.astype(np.int64), X.astype(">i2")],
    ids=["flat", "last axis", "first axis", "int64", "big-endian"],
)
@pytest.mark.parametrize("form", ["npz", "npy"])
def test_shapes_and_types(images: Array, form: str, tmp_path: Path) -> None:
    path = tmp_path / f"images.{form}"
    if form == "npz":
        np.savez(path, images=images, labels=Y)
    else:
        np.save(path, images)
        np.save(tmp_path / "labels.npy", Y)
    _, labels, pixels = read(path)
    assert labels == Y.tolist()
    assert np.array_equal(pixels, X)


def test_truth_values_are_black_and_white(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", X > 127)
    (source,) = open_inputs((str(tmp_path / "a.npy"),), ReadOptions()).sources
    with closing(source.open()) as reader:
        (rows,) = reader.read(0, 12)
    assert isinstance(rows, NumericRows)
    assert np.array_equal(rows.values, np.where(X > 127, 255, 0))


def test_floats_need_their_range(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", X / 255)
    with pytest.raises(InputError, match="--pixel-range"):
        read(tmp_path / "a.npy")
    assert np.array_equal(read(tmp_path / "a.npy", pixel_range=PixelRange.UNIT)[2], X)


def test_labels_beside_images_in_a_folder(tmp_path: Path) -> None:
    for name, array in (("x_test", X), ("y_test", Y), ("y_other", Y)):
        np.save(tmp_path / f"{name}.npy", array)
    inputs = open_inputs((str(tmp_path),), ReadOptions())
    assert (inputs.rows, inputs.skipped) == (12, {"(npy labels)": 1})
    with pytest.raises(InputError, match=r"y_test\.npy: images must be .*, found uint8 of shape \[12\]"):
        open_inputs((str(tmp_path / "y_test.npy"),), ReadOptions())
    unlabelled = open_inputs((str(tmp_path),), ReadOptions(labels=AutoLabels.NONE))
    assert not unlabelled.labelled


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (Y[:5], "y.npy: must hold a label for each of the 12 images of x.npy, holds 5"),
        (Y + 10, "y.npy: labels must be digits 0..9, row 0 has"),
        (np.array([None] * 12, object), "y.npy: must hold plain numbers, holds pickled Python objects"),
    ],
)
def test_wrong_labels_are_an_error(labels: Array, message: str, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", X)
    np.save(tmp_path / "y.npy", labels)
    with pytest.raises(InputError) as caught:
        read(tmp_path / "x.npy")
    assert message in str(caught.value)


@pytest.mark.parametrize("size", [6, 40, 200, -1])
def test_damaged_array_is_an_error(size: int, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", X)
    content = (tmp_path / "a.npy").read_bytes()
    (tmp_path / "a.npy").write_bytes(content[:size])
    with pytest.raises(InputError, match=r"a\.npy"):
        read(tmp_path / "a.npy")


@pytest.mark.parametrize(
    "header",
    [
        "{b'descr': '|u1', 'fortran_order': False, 'shape': (60, 28, 28)}",
        "{'descr': '|u1', 'fortran_order': False, 'shape': (60, 28, '28')}",
        "(" * 5000,
        "[" * 90 + "]" * 90,
        "{'descr': " + "-" * 5000,
        "1",
        "",
    ],
)
def test_damaged_header_is_an_error(header: str, tmp_path: Path) -> None:
    text = f"{header}\n".encode()
    content = b"\x93NUMPY\1\0" + len(text).to_bytes(2, "little") + text + DIGITS.pixels.tobytes()
    (tmp_path / "x.npy").write_bytes(content)
    with pytest.raises(InputError, match=r"x\.npy must be readable as a NumPy array"):
        open_inputs((str(tmp_path / "x.npy"),), ReadOptions())


def test_npy_labels_by_option(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", X)
    np.save(tmp_path / "b.npy", Y)
    from mnist_batch import predict

    result = predict(tmp_path / "a.npy", output=tmp_path / "out", labels=tmp_path / "b.npy")
    assert result.to_pandas()["label"].tolist() == Y.tolist()
