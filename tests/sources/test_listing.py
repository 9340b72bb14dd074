"""A large folder is listed in a subprocess. Small folders listed so must give the same files and errors."""

import os
from pathlib import Path

import pytest

from mnist_batch.errors import StorageError
from mnist_batch.sources.child_process import has_spare_core
from mnist_batch.sources.listing import list_files
from sources.conftest import StartedProcess

pytestmark = pytest.mark.skipif(not has_spare_core(), reason="needs Linux and two cores")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in [
        b"flat/b \xff\n.png",
        b"flat/a.png",
        b"flat/c",
        b"deep/x.png",
        b"deep/er/y.png",
        b"links/z.png",
        b"top",
    ]:
        path = tmp_path / os.fsdecode(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name)
    (tmp_path / "empty").mkdir()
    (tmp_path / "links" / "to.png").symlink_to("z.png")
    return tmp_path


def listed_folders(subprocesses: list[StartedProcess]) -> list[str]:
    """The folders that a subprocess listed with success, in order."""
    return [Path(process.command[-1]).name for process in subprocesses if process.returncode == 0]


def test_subprocess_lists_the_same_files(folder: Path, subprocesses: list[StartedProcess]) -> None:
    files = list_files((str(folder),), large_folder_bytes=0).files
    # Not the folders that hold folders or links.
    assert sorted(listed_folders(subprocesses)) == ["empty", "er", "flat"]
    subprocesses.clear()
    assert files.to_pydict() == list_files((str(folder),)).files.to_pydict()
    assert not subprocesses
    assert files["path"].to_pylist()[2:5] == [b"flat/a.png", b"flat/b \xff\n.png", b"flat/c"]


def test_paths_start_below_the_common_folder(folder: Path, subprocesses: list[StartedProcess]) -> None:
    files = list_files((str(folder / "flat"), str(folder / "deep" / "er")), large_folder_bytes=0).files
    assert listed_folders(subprocesses) == ["flat", "er"]
    assert files["path"].to_pylist() == [b"deep/er/y.png", b"flat/a.png", b"flat/b \xff\n.png", b"flat/c"]


def test_listing_without_a_subprocess(folder: Path, refused_commands: list[list[str]]) -> None:
    expected = list_files((str(folder),)).files.to_pydict()
    assert not refused_commands
    assert list_files((str(folder),), large_folder_bytes=0).files.to_pydict() == expected
    assert refused_commands


@pytest.mark.skipif(os.getuid() == 0, reason="root may read everything")
def test_unreadable_folder_is_an_error(folder: Path) -> None:
    (folder / "flat").chmod(0)
    with pytest.raises(StorageError, match="every folder of the input must be readable"):
        list_files((str(folder),), large_folder_bytes=0)
