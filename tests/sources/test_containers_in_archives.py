"""idx, npz, npy, CSV and Parquet files inside of zips and tars."""

from __future__ import annotations

import gzip
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from contracts import (
    DIGITS,
    FORMS,
    LABELS,
    PIXELS,
    Array,
    ids_of,
    idx_bytes,
    labels_of,
    opened,
    png_of,
    read_all,
    write_tar,
    write_zip,
)

from mnist_batch.config import AutoLabels, ReadOptions
from mnist_batch.errors import EmptyInputError, InputError

IMAGES, DIGIT_LABELS = "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"
ARCHIVES: dict[str, Callable[[Path, dict[str, bytes]], Path]] = {
    "stored.zip": lambda path, files: write_zip(path, files, zipfile.ZIP_STORED),
    "deflated.zip": write_zip,
    "plain.tar": write_tar,
    "packed.tar.gz": write_tar,
}


def write_pair(images: bytes = idx_bytes(PIXELS), labels: bytes = idx_bytes(LABELS)) -> dict[str, bytes]:
    return {IMAGES: images, DIGIT_LABELS: labels}


def rows(stem: str, count: int = len(PIXELS)) -> list[str]:
    return [f"{stem}#{row}" for row in range(count)]


@pytest.fixture(params=ARCHIVES)
def write_archive(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[dict[str, bytes]], Path]:
    """Writes files as members of an archive of each kind."""
    return lambda files: ARCHIVES[request.param](tmp_path / request.param, files)


@pytest.mark.parametrize("form", ["idx", "idx.gz", "npz", "npy", "csv", "csv.gz", "parquet: binary of PNG"])
def test_every_form_is_read_inside_of_every_archive(
    form: str, write_archive: Callable[[dict[str, bytes]], Path], tmp_path: Path
) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    written = FORMS[form](folder, DIGITS)
    members = {f"a/b/{path.name}": path.read_bytes() for path in folder.iterdir()}
    archive = write_archive({**members, "a/read.me": b"a zip of arrays and nothing else would be an npz"})
    inputs = opened(archive)
    batches = read_all(inputs)
    assert [name for batch in batches for name in batch.ids.to_pylist()] == [
        f"{archive.name}!a/b/{name}" for name in written.ids
    ]
    assert [label for batch in batches for label in batch.labels.to_pylist()] == LABELS.tolist()
    assert np.array_equal(np.concatenate([batch.pixels for batch in batches]), PIXELS)
    assert inputs.skipped == {".me": 1}
    assert inputs.warnings == []


def test_images_come_before_containers_and_the_rest_is_skipped(
    write_archive: Callable[[dict[str, bytes]], Path],
) -> None:
    pair = {f"raw/{name}": content for name, content in write_pair().items()}
    files = {"z/3/x.png": png_of(PIXELS[0]), "readme.txt": b"digits", "notes,md": b"a,b,c\n1,2,3\n", **pair}
    archive = write_archive({**files, "raw/other-labels-idx1-ubyte": idx_bytes(LABELS[:5])})
    inputs = opened(archive)
    assert ids_of(inputs) == [f"{archive.name}!z/3/x.png", *rows(f"{archive.name}!raw/{IMAGES}")]
    assert labels_of(inputs) == [3, *LABELS.tolist()]
    assert inputs.skipped == {".txt": 1, "notes,md": 1, "(idx labels)": 1}


def test_every_container_is_opened_in_order_of_names(tmp_path: Path) -> None:
    names = ["b/test.npz", "a/test.npz"]
    content = io.BytesIO()
    np.savez(content, x_test=PIXELS[:2])
    inputs = opened(write_zip(tmp_path / "digits.zip", dict.fromkeys(names, content.getvalue())))
    assert ids_of(inputs) == [f"digits.zip!{name}:x_test#{row}" for name in sorted(names) for row in range(2)]


def test_file_beside_its_own_gzip_is_read_once(write_archive: Callable[[dict[str, bytes]], Path]) -> None:
    pair = write_pair()
    archive = write_archive({**{f"{name}.gz": gzip.compress(data) for name, data in pair.items()}, **pair})
    inputs = opened(archive)
    assert ids_of(inputs) == rows(f"{archive.name}!{IMAGES}")
    assert labels_of(inputs) == LABELS.tolist()
    assert inputs.skipped == {"(gzip copy)": 1, "(idx labels)": 1}
    assert inputs.warnings == [f"{archive}!{IMAGES}.gz: not read, because {IMAGES} beside it has the same content"]


def test_gzip_member_that_differs_is_an_error(tmp_path: Path) -> None:
    files = {**write_pair(), f"{IMAGES}.gz": gzip.compress(idx_bytes(255 - PIXELS))}
    with pytest.raises(InputError, match=rf"digits\.zip!{IMAGES}\.gz: must hold the same as {IMAGES} beside it"):
        opened(write_zip(tmp_path / "digits.zip", files))


def test_archives_inside_of_archives_are_skipped_with_a_warning(
    write_archive: Callable[[dict[str, bytes]], Path], tmp_path: Path
) -> None:
    inner = [write_zip(tmp_path / "inner.zip", {"1.png": b"x"}), write_tar(tmp_path / "inner.tar.gz", write_pair())]
    archive = write_archive({"1.png": png_of(PIXELS[0]), **{path.name: path.read_bytes() for path in inner}})
    inputs = opened(archive)
    assert ids_of(inputs) == [f"{archive.name}!1.png"]
    assert inputs.skipped == {".zip": 1, ".gz": 1}
    assert "skipped files may hold images: 1 x .gz, 1 x .zip" in inputs.warnings[0]


def test_labels_without_images_are_no_input(tmp_path: Path) -> None:
    with pytest.raises(EmptyInputError, match=r"found 1 x \(idx labels\)"):
        opened(write_zip(tmp_path / "digits.zip", {DIGIT_LABELS: idx_bytes(LABELS)}))


def test_labels_of_another_count_are_an_error(write_archive: Callable[[dict[str, bytes]], Path]) -> None:
    archive = write_archive(write_pair(labels=idx_bytes(LABELS[:-1])))
    with pytest.raises(InputError, match=rf"!{DIGIT_LABELS}: must hold a label for each of the 60 images"):
        opened(archive)
    assert labels_of(opened(archive, options=ReadOptions(labels=AutoLabels.NONE))) == [None] * 60


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_damaged_member_of_a_zip_is_an_error(method: int, tmp_path: Path) -> None:
    path = write_zip(tmp_path / "digits.zip", write_pair(), method)
    content = bytearray(path.read_bytes())
    content[4000] ^= 0xFF  # among the first bytes, by which the format is recognized
    path.write_bytes(content)
    with pytest.raises(InputError, match=rf"digits\.zip!{IMAGES}: this member must be whole, but: "):
        opened(path)


@pytest.mark.parametrize("wrong", [-1, 1])
def test_wrong_size_in_the_directory_is_an_error(wrong: int, tmp_path: Path) -> None:
    """The member's size, 47,056 bytes, is in the central directory and in the local header."""
    path = write_zip(tmp_path / "digits.zip", write_pair())
    size = len(idx_bytes(PIXELS))
    content = path.read_bytes()
    at = content.rindex(size.to_bytes(4, "little"))
    path.write_bytes(content[:at] + (size + wrong).to_bytes(4, "little") + content[at + 4 :])
    with pytest.raises(InputError, match="this member must be whole"):
        opened(path)


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid", "is a pointer of Git LFS: run `git lfs pull`"),
        (b"<!DOCTYPE html><html>", "is an HTML page: fetch the file itself"),
        (b"\x93NUMPX\1\0", "begins with 93 4e 55 4d 50 58 01 00: check the file"),
    ],
)
def test_member_that_is_not_what_its_name_says_is_an_error(content: bytes, cause: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="must be an npz, as its name says") as caught:
        opened(write_zip(tmp_path / "digits.zip", {"mnist.npz": content}))
    assert cause in str(caught.value)


def test_cut_off_gzip_in_an_archive_is_an_error(write_archive: Callable[[dict[str, bytes]], Path]) -> None:
    archive = write_archive({f"{IMAGES}.gz": gzip.compress(idx_bytes(PIXELS))[:-20]})
    with pytest.raises(InputError, match=rf"!{IMAGES}\.gz: gzip stream must be whole"):
        opened(archive)


def test_table_of_labels_in_an_archive_labels_its_images(write_archive: Callable[[dict[str, bytes]], Path]) -> None:
    table = "file_name,label\n" + "".join(f"{row}.png,{label}\n" for row, label in enumerate(LABELS))
    images = {f"scans/{row}.png": png for row, png in enumerate(DIGITS.pngs)}
    inputs = opened(write_archive({**images, "scans/labels.csv": table.encode()}))
    assert labels_of(inputs) == LABELS.tolist()
    assert inputs.skipped == {}
    assert inputs.warnings == []


def test_other_tables_in_an_archive_are_not_taken_and_a_warning_says_why(tmp_path: Path) -> None:
    records = "".join(json.dumps({"when": row, "who": "x"}) + "\n" for row in range(3))
    inputs = opened(write_zip(tmp_path / "a.zip", {"1.png": png_of(PIXELS[0]), "metadata.jsonl": records.encode()}))
    assert labels_of(inputs) == [None]
    assert inputs.skipped == {"(table of labels)": 1}
    assert "a.zip!metadata.jsonl: labels must have the columns id and label" in inputs.warnings[0]


def test_columns_can_be_named_and_kept(tmp_path: Path) -> None:
    table = pq.read_table(_write_parquet(tmp_path)).append_column("key", [[f"k{row}" for row in range(60)]])
    pq.write_table(table, tmp_path / "keyed.parquet")
    archive = write_zip(tmp_path / "digits.zip", {"keyed.parquet": (tmp_path / "keyed.parquet").read_bytes()})
    inputs = opened(archive, options=ReadOptions(id_column="key", keep=("key",)))
    assert ids_of(inputs) == [f"k{row}" for row in range(60)]
    assert inputs.extra_columns.names == ["key"]


def _write_parquet(folder: Path) -> str:
    return FORMS["parquet: binary of PNG"](folder, DIGITS).input


def test_image_that_looks_like_a_row_of_a_container_is_an_error(tmp_path: Path) -> None:
    files = {**write_pair(), f"{IMAGES}#3": png_of(PIXELS[0])}
    with pytest.raises(InputError, match=rf"{IMAGES}#3: must not look like the id of a row of {IMAGES}"):
        opened(write_zip(tmp_path / "digits.zip", files))


def test_containers_in_hidden_folders_are_skipped(tmp_path: Path) -> None:
    files = {"1.png": png_of(PIXELS[0]), f"__MACOSX/._{IMAGES}": idx_bytes(PIXELS), "_old/a.csv": b"x"}
    inputs = opened(write_zip(tmp_path / "digits.zip", files))
    assert ids_of(inputs) == ["digits.zip!1.png"]
    assert sum(inputs.skipped.values()) == 2


def test_encrypted_and_empty_members_are_skipped(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "digits.zip", {**write_pair(), "1.png": png_of(PIXELS[0]), "x.npy": b""})
    content = bytearray(path.read_bytes())
    at = content.rindex(IMAGES.encode()) - 46  # its entry in the central directory; 8 is the offset of the flags
    assert content[at : at + 4] == b"PK\1\2"
    content[at + 8] |= 1
    path.write_bytes(content)
    inputs = opened(path)
    assert ids_of(inputs) == ["digits.zip!1.png"]
    assert inputs.skipped == {IMAGES: 1, "(idx labels)": 1, ".npy": 1}
    assert f"skipped files may hold images: 1 x .npy, 1 x {IMAGES}" in inputs.warnings[0]


def test_zip_of_arrays_and_other_files_is_a_zip(tmp_path: Path) -> None:
    files = {"X.npy": _npy(PIXELS), "Y.npy": _npy(np.eye(10)[LABELS]), "1.png": png_of(PIXELS[0]), "a.md": b"digits"}
    inputs = opened(write_zip(tmp_path / "digits.zip", files))
    assert ids_of(inputs) == ["digits.zip!1.png", *rows("digits.zip!X.npy")]
    assert labels_of(inputs) == [None, *LABELS.tolist()]
    assert inputs.skipped == {".md": 1}


def test_zip_of_arrays_and_other_files_in_an_archive_is_skipped(tmp_path: Path) -> None:
    inner = write_zip(tmp_path / "inner.zip", {"X.npy": _npy(PIXELS), "1.png": png_of(PIXELS[0])})
    inputs = opened(write_zip(tmp_path / "a.zip", {"1.png": png_of(PIXELS[0]), "inner.zip": inner.read_bytes()}))
    assert ids_of(inputs) == ["a.zip!1.png"]
    assert inputs.skipped == {".zip": 1}


def _npy(values: Array) -> bytes:
    content = io.BytesIO()
    np.save(content, values)
    return content.getvalue()
