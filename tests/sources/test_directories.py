"""The fast readers of tar headers and zip directories list what `tarfile` and `zipfile` list, or give up."""

import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from mnist_batch.sources.tar.headers import BLOCK, list_any, list_plain
from mnist_batch.sources.zip import directory as zip_directory


def tar_of(names: list[str], form: int = tarfile.GNU_FORMAT, kind: bytes = tarfile.REGTYPE) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=form) as archive:
        for number, name in enumerate(names):
            member = tarfile.TarInfo(name)
            member.type, member.size = (tarfile.DIRTYPE, 0) if name.endswith("/") else (kind, 100 * number % 1500)
            archive.addfile(member, io.BytesIO(bytes(member.size)))
    return file.getvalue()


NAMES = ["a/", "a/1.png", "a/2.png", "b.txt", "ü.png", "c/" + 60 * "d" + "/e.png"]


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("count", [1, 4, 5000])
def test_plain_tar_is_listed_as_by_tarfile(form: int, count: int) -> None:
    names = NAMES[:4] if form == tarfile.PAX_FORMAT else NAMES
    data = tar_of([f"{number % 7}/{number}/{name}" for number in range(count) for name in names], form)
    assert list_plain(io.BytesIO(data)) == list_any(io.BytesIO(data))


def test_prefix_is_part_of_the_name() -> None:
    data = tar_of([f"{'p' * 90}/{'q' * 90}.png"], tarfile.USTAR_FORMAT)
    listing = list_plain(io.BytesIO(data))
    assert listing is not None
    assert listing.members["name"].to_pylist() == [b"p" * 90 + b"/" + b"q" * 90 + b".png"]


@pytest.mark.parametrize(
    "data",
    [
        tar_of(["x" * 300], tarfile.GNU_FORMAT),
        tar_of(["x" * 300], tarfile.PAX_FORMAT),
        tar_of(["a"], kind=tarfile.SYMTYPE),
        tar_of(["a", "b"])[:600],
        tar_of(["a", "b"])[:1024],
        b"",
    ],
    ids=["GNU long name", "pax", "link", "cut off", "no end mark", "empty"],
)
def test_unusual_tar_is_left_to_tarfile(data: bytes) -> None:
    assert list_plain(io.BytesIO(data)) is None


def test_damaged_header_is_left_to_tarfile() -> None:
    data = tar_of(["a/1.png", "a/2.png"])
    for offset in range(512):
        for bit in (1, 128):
            damaged = data[:offset] + bytes([data[offset] ^ bit]) + data[offset + 1 :]
            listing = list_plain(io.BytesIO(damaged))
            # Some bits do not matter, such as those that pad the checksum: the listing is then unchanged.
            assert listing is None or listing == list_plain(io.BytesIO(data)), offset


def zip_of(path: Path, names: list[str], comment: bytes = b"") -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for number, name in enumerate(names):
            archive.writestr(name, bytes(number % 900), zipfile.ZIP_DEFLATED if number % 2 else zipfile.ZIP_STORED)
        archive.comment = comment
    return path


@pytest.mark.parametrize("count", [0, 1, 70_000], ids=["none", "few", "zip64"])
def test_plain_zip_is_listed_as_by_zipfile(tmp_path: Path, count: int) -> None:
    names = [f"{number // 1000}/{number}.png" for number in range(count)]
    path = zip_of(tmp_path / "a.zip", [*names, "f/", "ü.png", "back\\slash.png"] if count else [])
    plain = zip_directory.list_plain(path)
    assert plain is not None
    assert plain.equals(zip_directory.list_any(path))


def test_unusual_zip_is_left_to_zipfile(tmp_path: Path) -> None:
    commented = zip_of(tmp_path / "a.zip", NAMES, b"a comment")
    shifted = tmp_path / "b.zip"
    shifted.write_bytes(b"#!/bin/sh\n" + zip_of(tmp_path / "c.zip", NAMES).read_bytes())
    for path in (commented, shifted):
        assert zip_directory.list_plain(path) is None
        assert zip_directory.list_members(path)["name"].to_pylist() == [
            name.encode() for name in NAMES if name[-1] != "/"
        ]


def test_cut_directory_is_left_to_zipfile(tmp_path: Path) -> None:
    data = zip_of(tmp_path / "a.zip", NAMES).read_bytes()
    path = tmp_path / "b.zip"
    for stop in range(len(data)):
        path.write_bytes(data[:stop])
        assert zip_directory.list_plain(path) is None


def test_small_chunks_give_the_same_members(tmp_path: Path) -> None:
    path = zip_of(tmp_path / "a.zip", NAMES)
    plain = zip_directory.list_plain(path, chunk_bytes=200)
    assert plain is not None
    assert plain.equals(zip_directory.list_any(path))
    data = tar_of(NAMES)
    assert list_plain(io.BytesIO(data), chunk_bytes=2 * BLOCK) == list_any(io.BytesIO(data))
