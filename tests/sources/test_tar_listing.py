"""A large tar is listed by a process of its own: the same files, the same errors, whoever lists it."""

import gzip
import io
import os
import subprocess
import tarfile
from pathlib import Path

import pytest

from mnist_batch.errors import InputError
from mnist_batch.runtime import has_spare_core
from mnist_batch.sources.tar import listing as tar_listing
from mnist_batch.sources.tar.listing import list_tar

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


@pytest.fixture
def beside(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Any tar is large; whether each process that listed one succeeded."""
    monkeypatch.setattr(tar_listing, "_LARGE", 0)
    monkeypatch.setattr(tar_listing, "_LARGE_GZIP", 0)
    outcomes: list[bool] = []
    ask = tar_listing._list_in_subprocess

    def watched(path: Path) -> tar_listing.TarListing | None:
        found = ask(path)
        outcomes.append(found is not None)
        return found

    monkeypatch.setattr(tar_listing, "_list_in_subprocess", watched)
    return outcomes


@pytest.mark.parametrize("data", [PLAIN, WITH_LINKS, gzip.compress(PLAIN)], ids=["plain", "links", "gzip"])
@pytest.mark.parametrize("name", [b"a.tar", b"\xff '\n.tar"])
def test_files_are_the_same_whoever_lists_them(tmp_path: Path, beside: list[bool], data: bytes, name: bytes) -> None:
    path = tmp_path / os.fsdecode(name)
    path.write_bytes(data)
    found, own = list_tar(path), tar_listing._list_in_process(path)
    assert beside == [True]
    assert (found.members, found.skipped) == (own.members, own.skipped)


def test_a_damaged_tar_is_told_as_ever(tmp_path: Path, beside: list[bool]) -> None:
    path = tmp_path / "a.tar"
    path.write_bytes(PLAIN[:5000])
    with pytest.raises(InputError, match=r"a\.tar: tar must be whole"):
        list_tar(path)
    assert beside == [False]


def test_without_a_process_to_spare_it_is_listed_without(
    tmp_path: Path, beside: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.tar"
    path.write_bytes(PLAIN)

    def none(*_: object, **__: object) -> None:
        raise BlockingIOError

    monkeypatch.setattr(subprocess, "Popen", none)
    assert list_tar(path).members.num_rows == 1000
    assert beside == [False]
