"""Broken containers: an error of one line. Broken members of an archive: a reject."""

from __future__ import annotations

import gzip
import io
import struct
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from contracts import (
    DIGITS,
    FORMS,
    FRAME_NOTHING,
    LABELS,
    PIXELS,
    Array,
    ids_of,
    idx_bytes,
    png_of,
    read_all,
    rejects_of,
    write_files,
    write_idx_pair,
    write_tar,
    write_zip,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from mnist_batch.config import ReadOptions
from mnist_batch.errors import InputError, InputMissingError
from mnist_batch.sources.discover import open_inputs
from sources.failing import fails

WriteArchive = Callable[[Path, Mapping[str, bytes]], Path]
PNG = png_of(PIXELS[0])
PNGS = {f"{row}.png": png_of(PIXELS[row]) for row in range(4)}
IDX = idx_bytes(PIXELS)


# idx


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (IDX[:-1], r"promises 60 images of 28x28 \(47040 bytes\), file has 47039 bytes"),
        (IDX[:20], "file has 4 bytes"),
        (idx_bytes(PIXELS[:, :20])[:-1], r"promises 60 images of 20x28 \(33600 bytes\), file has 33599 bytes"),
        (IDX + b"\0", "file has 47041 bytes"),
        (IDX[:10], "file ends within them"),
        (b"\0\0\x08\x01" + IDX[4:], "00 00 08 01"),
        (idx_bytes(PIXELS.astype(np.float32)), "00 00 0d 03"),
        (b"not an idx at all", "begins with 6e 6f 74"),
        (b"", "begins with nothing"),
        (gzip.compress(IDX, mtime=0)[:-100], "gzip stream must be whole"),
        (gzip.compress(IDX, mtime=0)[:-8] + bytes(8), "gzip stream must be whole"),
        (gzip.compress(IDX[:-1], mtime=0), "file has 47039 bytes"),
    ],
)
def test_damaged_idx_is_an_error(tmp_path: Path, content: bytes, match: str) -> None:
    path = tmp_path / "t10k-images-idx3-ubyte"
    path.write_bytes(content)
    fails(path, InputError, match)


@pytest.mark.parametrize(
    ("labels", "match"),
    [
        (LABELS[:-1], "each of the 60 images of t10k-images-idx3-ubyte, holds 59"),
        (np.where(np.arange(60) == 7, 10, LABELS).astype(np.uint8), "digits 0..9, row 7 has 10"),
        (np.full(60, -1, np.int32), "row 0 has -1"),
        (np.ones((60, 10), np.uint8), "one-hot rows"),
        (np.full((60, 10), 0.123456789, np.float32), "one-hot rows"),
        (np.zeros((60, 9), np.uint8), "found uint8 of shape"),
    ],
)
def test_wrong_idx_labels_are_an_error(tmp_path: Path, labels: Array, match: str) -> None:
    write_idx_pair(tmp_path, PIXELS, labels)
    with pytest.raises(InputError, match=match) as caught:
        open_inputs((str(tmp_path),), ReadOptions())
    assert str(tmp_path / "t10k-labels-idx1-ubyte") in str(caught.value)
    assert "\n" not in str(caught.value)


def test_labels_as_input_are_an_error(tmp_path: Path) -> None:
    write_idx_pair(tmp_path)
    fails(tmp_path / "t10k-labels-idx1-ubyte", InputError, "name the file that holds the images")


def test_other_idx_sizes_need_framing(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(idx_bytes(PIXELS[:2, 1:]))
    inputs = open_inputs((str(tmp_path / "a"),), ReadOptions())
    assert rejects_of(inputs, FRAME_NOTHING) == [("a#0", "not_28x28"), ("a#1", "not_28x28")]
    assert rejects_of(inputs) == []


def test_all_broken_containers_are_named(tmp_path: Path) -> None:
    write_files(tmp_path, {"a-idx3-ubyte": IDX[:-1], "b.zip": b"PK\3\4", "c.parquet": b"PAR1", "d.png": PNG})
    with pytest.raises(InputError, match=r"a-idx3-ubyte.*b\.zip.*c\.parquet"):
        open_inputs((str(tmp_path),), ReadOptions())


# npz


@pytest.mark.parametrize(
    ("arrays", "match"),
    [
        ({"x_test": np.array([{}, {}], object)}, "pickled Python objects, which are never loaded"),
        ({"x_test": PIXELS[:1], "y_test": np.array([None], object)}, "pickled Python objects"),
        ({"x_test": PIXELS[:2] / 255}, "--pixel-range"),
        ({"x_test": PIXELS[:2].astype(complex)}, "found complex128"),
        ({"x_test": np.array(5)}, "of shape"),
        ({"x_test": np.asfortranarray(PIXELS[:2])}, "C order"),
        ({"words": np.array(["a"])}, "found words"),
        ({"x_test": PIXELS[:2], "y_test": LABELS[:3]}, "each of the 2 images"),
        ({"x_test": PIXELS[:2], "y_test": np.array([3, 11])}, "row 1 has 11"),
    ],
)
def test_npz_without_images_is_an_error(tmp_path: Path, arrays: dict[str, Any], match: str) -> None:
    np.savez(tmp_path / "a.npz", **arrays)
    fails(tmp_path / "a.npz", InputError, match)


@pytest.mark.parametrize("end", [40, -30, -1])
def test_cut_npz_is_an_error(tmp_path: Path, end: int) -> None:
    np.savez(tmp_path / "a.npz", x_test=PIXELS)
    (tmp_path / "a.npz").write_bytes((tmp_path / "a.npz").read_bytes()[:end])
    fails(tmp_path / "a.npz", InputError, "npz")


def test_npz_checksum_is_checked(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x_test=PIXELS)
    content = bytearray((tmp_path / "a.npz").read_bytes())
    content[5000] ^= 1
    (tmp_path / "a.npz").write_bytes(content)
    fails(tmp_path / "a.npz", InputError, "checksum")


# Archives


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_cut_zip_is_an_error(tmp_path: Path, share: float) -> None:
    path = write_zip(tmp_path / "a.zip", PNGS)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    fails(path, InputError, "zip must be whole")


@pytest.mark.parametrize("write", [write_zip, write_tar])
@pytest.mark.parametrize("files", [{"a.txt": b"text", "b.csv": b"1,2"}, {"a.txt": b""}])
def test_archive_without_images_is_an_error(tmp_path: Path, write: WriteArchive, files: dict[str, bytes]) -> None:
    fails(write(tmp_path / "a", files), InputMissingError, "must hold an image, found .*1 x .txt")


def test_empty_zip_is_an_error(tmp_path: Path) -> None:
    fails(write_zip(tmp_path / "a", {}), InputMissingError, "must hold an image, found nothing")


@pytest.mark.parametrize("name", ["a.tar", "t10k-images-idx3-ubyte", "a.bin"])
def test_zeros_are_not_an_empty_tar(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(bytes(10_240))
    fails(tmp_path / name, InputError, "begins with 00 00 00 00")


def test_corrupt_zip_member_is_a_reject(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", PNGS, zipfile.ZIP_STORED)
    path.write_bytes(path.read_bytes().replace(PNGS["1.png"], PNGS["1.png"][:-1] + b"?"))
    inputs = open_inputs((str(path),), ReadOptions())
    assert ids_of(inputs) == ["a.zip!0.png", "a.zip!2.png", "a.zip!3.png"]
    assert rejects_of(inputs) == [("a.zip!1.png", "unreadable")]
    assert np.array_equal(read_all(inputs)[0].pixels, PIXELS[[0, 2, 3]])


@pytest.mark.parametrize("content", [b"\xff" * 40, PNG[:40]])
def test_member_not_inflating_is_a_reject(tmp_path: Path, content: bytes) -> None:
    path = write_zip(tmp_path / "a.zip", PNGS)
    whole = path.read_bytes()
    start = whole.index(b"1.png") + len("1.png")
    path.write_bytes(whole[:start] + content + whole[start + len(content) :])
    assert rejects_of(open_inputs((str(path),), ReadOptions())) == [("a.zip!1.png", "unreadable")]


def with_flag(path: Path, name: bytes, flag: int, method: int | None = None) -> Path:
    """Sets a flag, and perhaps a method, of one member of the zip: in its local header and in the directory."""
    content = bytearray(path.read_bytes())
    for magic, offset in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        start = content.find(magic)
        while name not in content[start : start + 60]:
            start = content.find(magic, start + 1)
        content[start + offset] |= flag
        if method is not None:
            content[start + offset + 2] = method
    path.write_bytes(content)
    return path


def test_encrypted_member_is_a_reject(tmp_path: Path) -> None:
    path = with_flag(write_zip(tmp_path / "a.zip", PNGS), b"2.png", 1)
    (reject,) = read_all(open_inputs((str(path),), ReadOptions()))[0].rejects
    assert (reject.id, reject.reason, reject.detail) == ("a.zip!2.png", "unreadable", "encrypted")


def test_unknown_compression_is_a_reject(tmp_path: Path) -> None:
    path = with_flag(write_zip(tmp_path / "a.zip", PNGS), b"2.png", 0, method=97)
    assert rejects_of(open_inputs((str(path),), ReadOptions())) == [("a.zip!2.png", "unreadable")]


def test_encrypted_npz_is_an_error(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x_test=PIXELS)
    fails(with_flag(tmp_path / "a.npz", b"x_test", 1), InputError, "npz")


def test_name_wrongly_marked_utf8_is_an_error(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", {"é.png": PNG})
    path.write_bytes(path.read_bytes().replace("é.png".encode(), b"\xff\xfe.png"))
    fails(path, InputError, "zip must be whole")


@pytest.mark.parametrize("name", ["a.tar", "a.tar.gz"])
@pytest.mark.parametrize("end", [512 + 100, 1024, 2048, 1024 + 512 + 100])
def test_cut_tar_is_an_error(tmp_path: Path, name: str, end: int) -> None:
    whole = gzip.decompress(write_tar(tmp_path / "whole.gz", PNGS).read_bytes())[:end]
    (tmp_path / name).write_bytes(gzip.compress(whole) if name.endswith("gz") else whole)
    fails(tmp_path / name, InputError, "tar must be whole")


@pytest.mark.parametrize("missing", [1, 8, 12, 300])
def test_cut_tar_gz_is_an_error(tmp_path: Path, missing: int) -> None:
    path = write_tar(tmp_path / "a.tar.gz", PNGS)
    path.write_bytes(path.read_bytes()[:-missing])
    fails(path, InputError, "tar must be whole")


def test_damaged_tar_header_is_an_error(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar", PNGS)
    content = bytearray(path.read_bytes())
    content[content.index(b"2.png")] = 0x39
    path.write_bytes(content)
    fails(path, InputError, "tar must be whole")


def test_tar_links_and_folders_are_skipped(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for kind, name in ((tarfile.DIRTYPE, "d.png"), (tarfile.SYMTYPE, "l.png"), (tarfile.FIFOTYPE, "f.png")):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "a.png"
            archive.addfile(member)
        member = tarfile.TarInfo("a.png")
        member.size = len(PNG)
        archive.addfile(member, io.BytesIO(PNG))
    inputs = open_inputs((str(tmp_path / "a.tar"),), ReadOptions())
    assert ids_of(inputs) == ["a.tar!a.png"]
    assert inputs.skipped == {"(link)": 1, "(special file)": 1}


# Every format


@pytest.mark.parametrize("form", [form for form in FORMS if form != "folder" and "784 columns" not in form])
def test_any_damage_gives_rows_or_an_error(form: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("damage")
    written = FORMS[form](folder, DIGITS)
    path = Path(written.input)
    whole = path.read_bytes()
    positions = st.integers(0, len(whole) - 1) | st.integers(0, 600) | st.integers(len(whole) - 600, len(whole) - 1)

    lines: set[str] = set()

    @given(st.lists(st.tuples(positions, st.integers(0, 255)), max_size=4), st.just(len(whole)) | positions)
    @settings(deadline=None, max_examples=40)
    def damaged(flips: list[tuple[int, int]], end: int) -> None:
        content = bytearray(whole)
        for position, value in flips:
            content[position] = value
        path.write_bytes(content[:end])
        try:
            inputs = written.open()
            assert sum(batch.rows for batch in read_all(inputs)) == inputs.rows
        except (InputError, InputMissingError) as error:
            lines.update(str(error).splitlines()[1:])

    damaged()
    assert not lines, "an error is one line"


def test_false_row_count_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(struct.pack(">4B3I", 0, 0, 8, 3, 2**32 - 1, 28, 28) + bytes(100))
    fails(tmp_path / "a", InputError, "promises 4294967295 images")
