"""A large tar is listed in a subprocess. Small tars listed so must give the same files and errors."""

import gzip
import io
import os
import tarfile
from pathlib import Path

import pytest

from mnist_batch.errors import InputError
from mnist_batch.runtime import has_spare_core
from mnist_batch.sources.tar.headers import TarListing
from mnist_batch.sources.tar.listing import list_tar
from sources.conftest import StartedProcess

pytestmark = pytest.mark.skipif(not has_spare_core(), reason="needs Linux and two cores")


def tar_with(*kinds: bytes) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for number, kind in enumerate(kinds):
            member = tarfile.TarInfo(f"{number}.png")
            member.type, member.size = kind, number if kind == tarfile.REGTYPE else 0
            archive.addfile(member, io.BytesIO(bytes(number)))
    return file.getvalue()


PLAIN = tar_with(*[tarfile.REGTYPE] * 1000)
WITH_LINKS = tar_with(tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.FIFOTYPE, tarfile.REGTYPE)


def list_as_large(path: Path) -> TarListing:
    return list_tar(path, large_bytes=0, large_gzip_bytes=0)


@pytest.mark.parametrize("data", [PLAIN, WITH_LINKS, gzip.compress(PLAIN)], ids=["plain", "links", "gzip"])
@pytest.mark.parametrize("name", [b"a.tar", b"\xff '\n.tar"])
def test_subprocess_lists_the_same_files(
    tmp_path: Path, subprocesses: list[StartedProcess], data: bytes, name: bytes
) -> None:
    path = tmp_path / os.fsdecode(name)
    path.write_bytes(data)
    listing, expected = list_as_large(path), list_tar(path)
    assert [process.returncode for process in subprocesses] == [0]
    assert (listing.members, listing.skipped) == (expected.members, expected.skipped)


def test_damaged_tar_is_an_error(tmp_path: Path, subprocesses: list[StartedProcess]) -> None:
    path = tmp_path / "a.tar"
    path.write_bytes(PLAIN[:5000])
    with pytest.raises(InputError, match=r"a\.tar: tar must be whole"):
        list_as_large(path)
    assert [process.returncode for process in subprocesses] == [1]


def test_listing_without_a_subprocess(tmp_path: Path, refused_commands: list[list[str]]) -> None:
    path = tmp_path / "a.tar"
    path.write_bytes(PLAIN)
    assert list_as_large(path).members.num_rows == 1000
    assert len(refused_commands) == 1
