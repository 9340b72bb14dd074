"""Labels stored beside the images: folder names, `.cls` files, idx label files and npz arrays."""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest
from contracts import (
    LABELS,
    PIXELS,
    ids_of,
    idx_bytes,
    labels_of,
    opened,
    png_of,
    write_files,
    write_tar,
    write_zip,
)

from mnist_batch.config import AutoLabels, ReadOptions
from mnist_batch.errors import InputError, StorageError

PNG = png_of(PIXELS[0])
NO_LABELS = ReadOptions(labels=AutoLabels.NONE)
WRITERS: dict[str, Callable[[Path, dict[str, bytes]], Path]] = {
    "folder": write_files,
    "zip": write_zip,
    "tar": write_tar,
}


def one_hot(labels: np.ndarray) -> np.ndarray:
    return np.eye(10, dtype=np.uint8)[labels]


@pytest.mark.parametrize("container", WRITERS)
def test_only_digit_folders_are_labels(tmp_path: Path, container: str) -> None:
    files = dict.fromkeys(
        ["0/a.png", "10/a.png", "3/deep/a.png", "7.png", "deep/9/a.png", "seven/a.png", "٣/a.png"], PNG
    )
    path = WRITERS[container](tmp_path / "input", files)
    assert labels_of(opened(path)) == [0, None, None, None, 9, None, None]
    assert not opened(path, options=NO_LABELS).labelled
    assert labels_of(opened(path, options=NO_LABELS)) == [None] * 7


def test_the_input_folder_is_not_a_label(tmp_path: Path) -> None:
    write_files(tmp_path, {"3/a.png": PNG})
    assert labels_of(opened(tmp_path / "3")) == [None]


@pytest.mark.parametrize("container", WRITERS)
def test_class_files_win_over_folders(tmp_path: Path, container: str) -> None:
    files = {"3/a.png": PNG, "3/b.png": PNG, "c.d.jpg": PNG, "e.png": PNG}
    files |= {"3/a.cls": b"5\n", "c.d.cls": b" 0", "unused.cls": b"1"}
    inputs = opened(WRITERS[container](tmp_path / "input", files))
    assert labels_of(inputs) == [5, 3, 0, None]
    assert inputs.skipped == {}


@pytest.mark.parametrize("container", WRITERS)
@pytest.mark.parametrize("content", [b"", b"10", b"cat", b"-1", "٣".encode(), b"5" * 1000])
def test_class_file_must_hold_a_digit(tmp_path: Path, container: str, content: bytes) -> None:
    path = WRITERS[container](tmp_path / "input", {"a.png": PNG, "a.cls": content})
    with pytest.raises(InputError, match=r"a\.cls: .*one digit"):
        opened(path)
    assert opened(path, options=NO_LABELS).rows == 1


def test_large_class_file_is_not_read_whole(tmp_path: Path) -> None:
    write_files(tmp_path, {"a.png": PNG, "a.cls": b"5"})
    os.truncate(tmp_path / "a.cls", 1 << 40)  # a sparse file, larger than any memory
    with pytest.raises(InputError, match=r"a\.cls: .*one digit"):
        opened(tmp_path)


def test_unreadable_class_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_files(tmp_path, {"a.png": PNG, "a.cls": b"5"})

    def deny(path: Path) -> NoReturn:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("mnist_batch.sources.protocol.open_regular", deny)  # root may read any file
    with pytest.raises(StorageError, match=r"a\.cls: must be readable, but: Permission denied; grant permission"):
        opened(tmp_path)


@pytest.mark.parametrize("labels", [LABELS, LABELS.astype(np.int32), one_hot(LABELS)])
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_idx_labels_are_found_beside_images(tmp_path: Path, labels: np.ndarray, suffix: str) -> None:
    content = idx_bytes(labels)
    (tmp_path / f"train-labels-idx1-ubyte{suffix}").write_bytes(gzip.compress(content) if suffix else content)
    (tmp_path / "train-images-idx3-ubyte").write_bytes(idx_bytes(PIXELS))
    inputs = opened(tmp_path)
    assert labels_of(inputs) == LABELS.tolist()
    assert inputs.sources[0].list_sidecars() == [tmp_path / f"train-labels-idx1-ubyte{suffix}"]
    without = opened(tmp_path, options=NO_LABELS)
    assert not without.labelled
    assert without.sources[0].list_sidecars() == []


def test_idx_images_without_labels(tmp_path: Path) -> None:
    (tmp_path / "images.idx").write_bytes(idx_bytes(PIXELS[:3]))
    assert labels_of(opened(tmp_path)) == [None] * 3


def test_npz_arrays_get_labels_of_their_name(tmp_path: Path) -> None:
    np.savez(
        tmp_path / "mnist.npz",
        x_train=PIXELS[:2],
        y_train=LABELS[:2],
        x_test=PIXELS[2:3],
        y_test=one_hot(LABELS[2:3]),
        x_more=PIXELS[3:4],
        names=np.array(["a"]),
    )
    inputs = opened(tmp_path / "mnist.npz")
    assert ids_of(inputs) == [f"mnist.npz:{row}" for row in ("x_more#0", "x_test#0", "x_train#0", "x_train#1")]
    assert labels_of(inputs) == [None, *LABELS[[2, 0, 1]].tolist()]
