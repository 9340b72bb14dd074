"""What no run made is not destroyed: links and files with the names of a run's files, and files beside them."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import Cli
from contracts import write_files, write_idx_pair

from mnist_batch.api import build_config
from mnist_batch.errors import OutputError, StorageError, UsageError
from mnist_batch.output.files import write_whole
from mnist_batch.output.lock import LOCK_NAME
from mnist_batch.run.job import run_job
from mnist_batch.run.result import Result
from mnist_batch.timing import ProgressCallback, ignore_progress
from reliability.readers import parts_of, set_in


def score(images: Path, output: Path, progress: ProgressCallback = ignore_progress, **options: Any) -> Result:
    return run_job(build_config(images, output=output, **options), progress)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return write_idx_pair(tmp_path / "in")


@pytest.fixture
def output(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


def link_to(name: Path, target: Path) -> None:
    name.symlink_to(target)


def hard_link_to(name: Path, target: Path) -> None:
    name.hardlink_to(target)


@pytest.mark.parametrize("make", [link_to, hard_link_to])
@pytest.mark.parametrize("content", [b"precious", b""])
def test_lock_that_is_a_link_is_refused(
    make: Callable[[Path, Path], None], content: bytes, images: Path, output: Path, tmp_path: Path
) -> None:
    write_files(tmp_path, {"precious": content})
    make(output / LOCK_NAME, tmp_path / "precious")
    with pytest.raises(OutputError, match=r"\.lock: must be the lock file of a run, is a .*link"):
        score(images, output)
    assert (tmp_path / "precious").read_bytes() == content


@pytest.mark.parametrize("content", [b"precious", b"{}", b"[1]", b'{"host": 1}', b"\xff\xfe"])
def test_lock_of_something_else_is_refused(content: bytes, images: Path, output: Path) -> None:
    (output / LOCK_NAME).write_bytes(content)
    with pytest.raises(OutputError, match=r"\.lock: must be the lock file of a run, is a file with other content"):
        score(images, output)
    assert (output / LOCK_NAME).read_bytes() == content


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_lock_that_is_no_file_is_refused(make: Callable[[Path], None], images: Path, output: Path) -> None:
    make(output / LOCK_NAME)
    with pytest.raises(OutputError, match=r"\.lock: must be the lock file of a run, is no"):
        score(images, output)


@pytest.mark.parametrize("content", [b"", bytes(100), b'{"host": "a", "pid": 1, "started": "2026-11-26"}'])
def test_lock_of_an_earlier_run_is_taken(content: bytes, images: Path, output: Path) -> None:
    """After a power cut, a lock file may have its size but not its content."""
    (output / LOCK_NAME).write_bytes(content)
    assert score(images, output).predicted == 60


@pytest.mark.parametrize("make", [link_to, hard_link_to])
def test_temporary_file_is_not_written_through_a_link(make: Callable[[Path, Path], None], tmp_path: Path) -> None:
    write_files(tmp_path, {"precious": b"precious"})
    make(tmp_path / ".report.json.tmp", tmp_path / "precious")
    write_whole(tmp_path / "report.json", lambda file: file.write(b"{}"))
    assert (tmp_path / "precious").read_bytes() == b"precious"
    assert (tmp_path / "report.json").read_bytes() == b"{}"


def interrupt(images: Path, output: Path) -> None:
    """Leaves an interrupted run."""

    def stop(done: int, _: int) -> None:
        if done >= 40:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        score(images, output, rows_per_part=20, batch_size=16, progress=stop)


@pytest.mark.parametrize("name", ["_work/notes.txt", "_work/predictions/notes", "_work/mine/a", "_work/shards/a/b"])
@pytest.mark.parametrize("complete", [True, False])
@pytest.mark.parametrize("overwrite", [True, False])
def test_foreign_file_in_the_staging_folder_is_kept(
    name: str, complete: bool, overwrite: bool, images: Path, output: Path
) -> None:
    score(images, output, rows_per_part=20) if complete else interrupt(images, output)
    write_files(output, {name: b"precious"})
    with pytest.raises(OutputError, match=r"must hold only what runs put there|must be empty, new, or"):
        score(images, output, rows_per_part=30, overwrite=overwrite)
    assert (output / name).read_bytes() == b"precious"


@pytest.mark.parametrize("name", ["_work", "_work/predictions", "_work/shards"])
def test_staging_folder_that_is_a_link_is_refused(name: str, images: Path, output: Path, tmp_path: Path) -> None:
    interrupt(images, output)
    shutil.move(output / name, tmp_path / "elsewhere")
    (output / name).symlink_to(tmp_path / "elsewhere")
    before = sorted(path.name for path in (tmp_path / "elsewhere").rglob("*"))
    with pytest.raises(OutputError, match=f"{output / name}: _work/ must hold only what runs put there"):
        score(images, output, rows_per_part=30, overwrite=True)
    assert sorted(path.name for path in (tmp_path / "elsewhere").rglob("*")) == before


def test_file_that_comes_into_the_staging_folder_during_a_run_is_kept(images: Path, output: Path) -> None:
    def add_file(done: int, _: int) -> None:
        if done == 40:
            write_files(output, {"_work/notes.txt": b"precious"})

    score(images, output, rows_per_part=20, batch_size=16, progress=add_file)
    assert set_in(output) is not None
    assert [path.name for path in (output / "_work").iterdir()] == ["notes.txt"]


def test_foreign_file_among_the_parts_is_kept(images: Path, output: Path) -> None:
    score(images, output)
    write_files(output, {"predictions/notes.txt": b"precious"})
    assert score(images, output).already_done
    with pytest.raises(OutputError, match=r"notes\.txt: predictions/ must hold only parts if it is to be replaced"):
        score(images, output, rows_per_part=30, overwrite=True)
    assert (output / "predictions/notes.txt").read_bytes() == b"precious"


@pytest.mark.parametrize("where", ["out", "out/scans", "out/a/b"])
def test_input_inside_the_output_is_refused(where: str, tmp_path: Path, cli: Cli) -> None:
    images = write_idx_pair(tmp_path / where)
    for path in (images, images.parent, images.parent / "*-images-*"):
        run = cli("predict", path, "--output", tmp_path / "out", "--overwrite")
        assert run.code == 2
        assert "must not hold the input or its labels" in run.stderr or "must be outside the input" in run.stderr
    assert images.exists()


def test_input_inside_the_output_by_a_link_is_refused(tmp_path: Path) -> None:
    write_idx_pair(tmp_path / "out/scans")
    (tmp_path / "scans").symlink_to("out/scans")
    with pytest.raises(UsageError, match="must not hold the input or its labels"):
        score(tmp_path / "scans", tmp_path / "out")


def test_labels_inside_the_output_are_refused(images: Path, output: Path) -> None:
    labels = Path(shutil.copy(images.with_name("t10k-labels-idx1-ubyte"), output / "labels"))
    with pytest.raises(UsageError, match="must not hold the input or its labels"):
        score(images, output, labels=labels)
    assert labels.exists()


def replace_by_file(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.write_bytes(b"")


@pytest.mark.parametrize("part", ["predictions", "rejects", "shards"])
@pytest.mark.parametrize("damage", [shutil.rmtree, replace_by_file])
def test_damaged_staging_folder_is_created_again(
    part: str, damage: Callable[[Path], None], images: Path, output: Path, tmp_path: Path
) -> None:
    score(images, tmp_path / "reference", rows_per_part=20, batch_size=16)
    interrupt(images, output)
    damage(output / "_work" / part)
    score(images, output, rows_per_part=20, batch_size=16)
    assert set_in(output) == parts_of(tmp_path / "reference")


@pytest.fixture
def cross_device_folders(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Folders cannot be renamed, as on an overlay whose lower layer holds them. Returns those that were tried."""
    rename, tried = Path.rename, list[Path]()

    def rename_file(self: Path, target: Path) -> Path:
        if self.is_dir():
            tried.append(self)
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), str(self))
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", rename_file)
    return tried


def test_folders_that_cannot_be_renamed_are_moved(images: Path, output: Path, cross_device_folders: list[Path]) -> None:
    score(images, output, rows_per_part=20)
    first = set_in(output)
    assert first is not None
    score(images, output, rows_per_part=13, overwrite=True)
    second = set_in(output)
    assert second is not None
    assert len(second) == 5
    assert {path.name for path in cross_device_folders} == {"predictions"}
    assert not (output / "_work").exists()


@pytest.mark.usefixtures("cross_device_folders")
@pytest.mark.parametrize("step", [pytest.param(step, marks=() if step == 4 else pytest.mark.slow) for step in range(9)])
def test_move_goes_on_where_it_stopped(
    step: int,
    images: Path,
    output: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No file of the new set is lost, and none of the old one is left, wherever the moving of files fails."""
    score(images, tmp_path / "reference", rows_per_part=13)
    score(images, output, rows_per_part=20)
    rename, calls = Path.rename, 0

    def fail_at_step(self: Path, target: Path) -> Path:
        nonlocal calls
        if self.parent.name == "predictions" and not self.name.startswith("."):
            calls += 1
            if calls == step + 1:
                raise OSError(errno.EIO, os.strerror(errno.EIO), str(self))
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fail_at_step)
    try:
        score(images, output, rows_per_part=13, overwrite=True)
    except StorageError:
        assert not (output / "_SUCCESS").exists()
    monkeypatch.setattr(Path, "rename", rename)
    score(images, output, rows_per_part=13, overwrite=True)
    assert set_in(output) == parts_of(tmp_path / "reference")
