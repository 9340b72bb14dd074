"""Files are complete or absent, whatever stands in their place and however their folder can be moved."""

from __future__ import annotations

import errno
import os
from hashlib import sha256
from pathlib import Path
from typing import IO

import pytest

from mnist_batch.errors import StorageError
from mnist_batch.output.files import (
    FileRecord,
    matches_record,
    move_folder,
    read_bytes,
    storage_errors,
    write_text,
    write_whole,
)
from output.file_events import noted_events


def test_the_record_is_of_the_bytes(tmp_path: Path) -> None:
    record = write_text(tmp_path / "a.json", "né")
    assert record == FileRecord(3, sha256("né".encode()).hexdigest())
    assert (tmp_path / "a.json").read_bytes() == "né".encode()


def test_file_is_fsynced_before_it_gets_its_name(tmp_path: Path) -> None:
    with noted_events(tmp_path) as events:
        write_text(tmp_path / "a.json", "x")
        write_text(tmp_path / "b.json", "x", attempt="4f")
    assert events[:3] == ["fsync .a.json.tmp", "rename .a.json.tmp a.json", "fsync ."]
    assert events[3:] == ["fsync .b.json.4f.tmp", "rename .b.json.4f.tmp b.json", "fsync ."]


def test_writer_may_write_in_pieces(tmp_path: Path) -> None:
    def write(file: IO[bytes]) -> None:
        for piece in (b"one", b"", b"three" * 400_000):
            file.write(piece)

    content = b"one" + b"three" * 400_000
    assert write_whole(tmp_path / "a", write) == FileRecord(2_000_003, sha256(content).hexdigest())
    assert (tmp_path / "a").read_bytes() == content


def test_temporary_file_left_behind_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "foreign").write_text("mine")
    (tmp_path / ".a.tmp").symlink_to(tmp_path / "foreign")
    write_text(tmp_path / "a", "new")
    assert (tmp_path / "foreign").read_text() == "mine"
    assert (tmp_path / "a").read_text() == "new"
    assert not (tmp_path / "a").is_symlink()


def test_failed_write_leaves_the_older_file(tmp_path: Path) -> None:
    def fail(file: IO[bytes]) -> None:
        file.write(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    write_text(tmp_path / "a", "old")
    with pytest.raises(StorageError, match="a: must be written, but: No space left on device; free some disk space"):
        write_whole(tmp_path / "a", fail)
    assert (tmp_path / "a").read_text() == "old"


@pytest.mark.parametrize(
    ("code", "remedy"),
    [
        (errno.ENOSPC, "free some disk space"),
        (errno.EDQUOT, "free some disk space"),
        (errno.EROFS, "check that it is writable"),
        (errno.EIO, "check that it is writable"),
    ],
)
def test_an_error_says_what_to_do(code: int, remedy: str, tmp_path: Path) -> None:
    with (
        pytest.raises(StorageError, match=f"but: {os.strerror(code)}; {remedy} and start again to resume"),
        storage_errors(tmp_path),
    ):
        raise OSError(code, os.strerror(code))


def test_an_error_without_a_number_keeps_its_text(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="but: no such codec; check"), storage_errors(tmp_path):
        raise OSError("no such codec")


def test_record_matches_only_the_same_bytes(tmp_path: Path) -> None:
    path = tmp_path / "part"
    record = write_text(path, "abc")
    assert matches_record(path, record)
    assert not matches_record(path, FileRecord(4, record.sha256))
    path.write_text("abd")
    assert not matches_record(path, record)
    path.unlink()
    assert not matches_record(path, record)
    path.mkdir()
    assert not matches_record(path, FileRecord(path.stat().st_size, record.sha256))


def test_what_is_no_file_has_no_bytes(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    assert read_bytes(tmp_path / "file") == b"x"
    for path in (tmp_path / "absent", tmp_path, tmp_path / "file" / "below"):
        assert read_bytes(path) is None
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(StorageError, match=r"pipe: must be readable, but: .+; fix that and start again"):
        read_bytes(tmp_path / "pipe")


def make_folder(path: Path, *names: str) -> Path:
    path.mkdir()
    for name in names:
        (path / name).write_text(name)
    return path


def refuse_folders(code: int, patch: pytest.MonkeyPatch) -> None:
    """Makes renaming a folder fail, as on an overlay file system."""
    rename = os.rename

    def refuse(source: Path, target: Path) -> None:
        if source.is_dir():
            raise OSError(code, os.strerror(code))
        rename(source, target)

    patch.setattr(os, "rename", refuse)


def test_folder_is_renamed(tmp_path: Path) -> None:
    make_folder(tmp_path / "a", "1", "2")
    with noted_events(tmp_path) as events:
        move_folder(tmp_path / "a", tmp_path / "b")
    assert events == ["rename a b"]


def test_folder_that_cannot_be_renamed_is_moved_file_by_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_folder(tmp_path / "a", "1", "2")
    refuse_folders(errno.EXDEV, monkeypatch)
    with noted_events(tmp_path) as events:
        move_folder(tmp_path / "a", tmp_path / "b")
    assert events[0] == "mkdir b"
    assert sorted(events[1:3]) == ["rename a/1 b/1", "rename a/2 b/2"]
    assert events[3:] == ["fsync b", "rmdir a"]
    assert {path.name: path.read_text() for path in (tmp_path / "b").iterdir()} == {"1": "1", "2": "2"}


def test_moving_goes_on_where_it_stopped(tmp_path: Path) -> None:
    make_folder(tmp_path / "a", "2")
    make_folder(tmp_path / "b", "1")
    move_folder(tmp_path / "a", tmp_path / "b")
    assert sorted(path.name for path in (tmp_path / "b").iterdir()) == ["1", "2"]
    assert not (tmp_path / "a").exists()


def test_another_error_is_not_taken_for_an_overlay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_folder(tmp_path / "a", "1")
    refuse_folders(errno.EIO, monkeypatch)
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        move_folder(tmp_path / "a", tmp_path / "b")
    assert not (tmp_path / "b").exists()
