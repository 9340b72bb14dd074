"""Which files in folders and archives are skipped, and how they are counted."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from contracts import (
    LABELS,
    PIXELS,
    ids_of,
    idx_bytes,
    opened,
    png_of,
    write_files,
    write_idx_pair,
    write_parquet,
    write_tar,
    write_zip,
)

from mnist_batch.errors import InputError

PNG = png_of(PIXELS[0])
JUNK = ["README.txt", ".DS_Store", "__MACOSX/._x.png", "Thumbs.db", "._x.png", "sub/._b.zip", "LICENSE"]


@pytest.mark.parametrize("where", ["folder", "zip", "tar"])
def test_skipped_files_are_counted_by_suffix(tmp_path: Path, where: str) -> None:
    files = {"x.png": PNG, **dict.fromkeys(JUNK, b"\0\5\x16\7 not an image")}
    write: dict[str, Callable[[Path, Mapping[str, bytes]], Path]] = {
        "folder": write_files,
        "zip": write_zip,
        "tar": write_tar,
    }
    inputs = opened(write[where](tmp_path / "input", files))
    assert inputs.rows == 1
    expected = {".txt": 1, ".ds_store": 1, ".png": 2, ".db": 1, ".zip": 1, "license": 1}
    if where == "folder":  # a hidden folder is not entered
        expected |= {"__MACOSX/": 1, ".png": 1}
    assert inputs.skipped == expected


def test_gzipped_image_is_skipped(tmp_path: Path) -> None:
    write_files(tmp_path, {"x.png": PNG, "y.png.gz": gzip.compress(PNG)})
    inputs = opened(tmp_path)
    assert ids_of(inputs) == ["x.png"]
    assert inputs.skipped == {".gz": 1}
    with pytest.raises(InputError, match=r"must be an image, .* but is a gzip of something that is not read: unpack"):
        opened(tmp_path / "y.png.gz")


@pytest.mark.parametrize("given", [".", "*"])
def test_parquet_summaries_are_skipped(tmp_path: Path, given: str) -> None:
    footer = write_parquet(tmp_path / "part.0.parquet", {"image": [PNG] * 3}).read_bytes()
    write_files(tmp_path, {"_metadata": footer, "_common_metadata": footer})
    inputs = opened(tmp_path / given)
    assert inputs.rows == 3
    assert inputs.skipped == {"_metadata": 1, "_common_metadata": 1}


def test_only_unused_label_files_are_skipped(tmp_path: Path) -> None:
    write_idx_pair(tmp_path)
    assert opened(tmp_path).skipped == {}
    (tmp_path / "other-labels-idx1-ubyte").write_bytes(idx_bytes(LABELS))
    assert opened(tmp_path).skipped == {"(idx labels)": 1}
