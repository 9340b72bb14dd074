"""Listing of tars: damage and unusual members."""

import gzip
import io
import tarfile
from pathlib import Path

import pytest

from mnist_batch.errors import InputError
from mnist_batch.sources.tar.listing import list_tar


def tar_with(*kinds: bytes) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for number, kind in enumerate(kinds):
            member = tarfile.TarInfo(f"{number}.png")
            member.type, member.size = kind, number if kind == tarfile.REGTYPE else 0
            archive.addfile(member, io.BytesIO(bytes(number)))
    return file.getvalue()


PLAIN = tar_with(*[tarfile.REGTYPE] * 1000)


@pytest.mark.parametrize("data", [PLAIN, gzip.compress(PLAIN, mtime=0)], ids=["plain", "gzip"])
def test_all_files_are_listed(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    path.write_bytes(data)
    assert list_tar(path).members.num_rows == 1000


def test_links_and_pipes_are_skipped(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    path.write_bytes(tar_with(tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.FIFOTYPE, tarfile.REGTYPE))
    listing = list_tar(path)
    assert (listing.members.num_rows, sum(listing.skipped.values())) == (2, 2)


def test_damaged_tar_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    path.write_bytes(PLAIN[:5000])
    with pytest.raises(InputError, match=r"a\.tar: tar must be whole"):
        list_tar(path)
