import os
import subprocess
from pathlib import Path

import pytest

from mnist_batch.errors import StorageError
from mnist_batch.runtime import has_spare_core, read_output
from mnist_batch.sources import listing
from mnist_batch.sources.listing import list_files

pytestmark = pytest.mark.skipif(not has_spare_core(), reason="needs Linux and two cores")


@pytest.fixture
def folder(tmp_path):
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


@pytest.fixture
def beside(monkeypatch):
    """The folders that a process of its own listed, of which any may be."""
    monkeypatch.setattr(listing, "_MANY_FILES_BYTES", 0)
    listed = []

    def watched(command):
        printed = read_output(command)
        if printed is not None:
            listed.append(Path(command[-1]).name)
        return printed

    monkeypatch.setattr(listing, "read_output", watched)
    return listed


def test_files_are_the_same_whoever_lists_them(folder, beside, monkeypatch):
    found = list_files((str(folder),)).files
    assert sorted(beside) == ["empty", "er", "flat"]  # and not those that hold folders or links
    monkeypatch.setattr(listing, "_MANY_FILES_BYTES", 1 << 40)
    assert found.to_pydict() == list_files((str(folder),)).files.to_pydict()
    assert found["path"].to_pylist()[2:5] == [b"flat/a.png", b"flat/b \xff\n.png", b"flat/c"]


def test_ids_start_below_the_folder_common_to_all_inputs(folder, beside):
    found = list_files((str(folder / "flat"), str(folder / "deep" / "er"))).files
    assert beside == ["flat", "er"]
    assert found["path"].to_pylist() == [b"deep/er/y.png", b"flat/a.png", b"flat/b \xff\n.png", b"flat/c"]


def test_without_a_process_to_spare_files_are_listed_without_it(folder, beside, monkeypatch):
    expected = list_files((str(folder),)).files.to_pydict()
    assert beside

    def none(*_, **__):
        raise BlockingIOError

    monkeypatch.setattr(subprocess, "Popen", none)
    assert list_files((str(folder),)).files.to_pydict() == expected


@pytest.mark.usefixtures("beside")
@pytest.mark.skipif(os.getuid() == 0, reason="root may read everything")
def test_a_folder_that_may_not_be_read_is_told_as_ever(folder):
    (folder / "flat").chmod(0)
    with pytest.raises(StorageError, match="every folder of the input must be readable"):
        list_files((str(folder),))
