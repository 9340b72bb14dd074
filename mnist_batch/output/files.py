"""Files that are either complete or absent.

Each is written under a temporary name, fsynced and renamed, then its folder is fsynced. In this order a power cut
leaves the old state or the new one.
"""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

from mnist_batch.documents import JsonObject, parse_json
from mnist_batch.errors import StorageError
from mnist_batch.regular_files import open_regular

TEMPORARY_SUFFIX = ".tmp"
DISK_FULL_ERRNOS = (errno.ENOSPC, errno.EDQUOT)
# pyarrow writes a Parquet file in about thirty small pieces. With this buffer most parts take one write.
_BUFFER_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class FileRecord:
    """What identifies a written file's content. size: in bytes; sha256: in hex."""

    size: int
    sha256: str


def write_whole(path: Path, write: Callable[[IO[bytes]], object], attempt: str = "") -> FileRecord:
    """Writes a file with `write` and then gives it its final name. Raises StorageError if it cannot be written.

    attempt: what makes the temporary name unique if several workers may write this file at the same time.
    """
    temporary = path.with_name(f".{path.name}{attempt and f'.{attempt}'}{TEMPORARY_SUFFIX}")
    with storage_errors(path):
        with _create(temporary) as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
            size = file.tell()
            file.seek(0)
            digest = hashlib.file_digest(cast(Any, file), "sha256").hexdigest()
        temporary.rename(path)
        sync_folder(path.parent)
    return FileRecord(size, digest)


def _create(path: Path) -> IO[bytes]:
    """Opens a new file. Replaces what has its name, and does not write through a link."""
    try:
        return path.open("x+b", buffering=_BUFFER_BYTES)
    except FileExistsError:
        path.unlink()
        return path.open("x+b", buffering=_BUFFER_BYTES)


def write_text(path: Path, text: str, attempt: str = "") -> FileRecord:
    """Writes a UTF-8 text file as `write_whole` does."""
    return write_whole(path, lambda file: file.write(text.encode("utf-8")), attempt)


def matches_record(path: Path, record: FileRecord) -> bool:
    """Whether the file still holds the bytes that were written."""
    try:
        if path.stat().st_size != record.size:
            return False
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == record.sha256
    except OSError:
        return False


def move_folder(source: Path, target: Path) -> None:
    """Renames a folder, or moves its files one by one if it cannot be renamed. Goes on where an earlier call stopped.

    An overlay file system cannot rename a folder of a lower layer (EXDEV), but files in it.
    """
    if not target.exists():
        try:
            source.rename(target)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
        else:
            return
    target.mkdir(exist_ok=True)
    for path in source.iterdir():
        path.rename(target / path.name)
    sync_folder(target)
    source.rmdir()


def sync_folder(folder: Path) -> None:
    """Fsyncs the folder so that renames and deletions in it survive a crash."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turns an OSError into a StorageError that says what to do."""
    try:
        yield
    except OSError as error:
        remedy = "free some disk space" if error.errno in DISK_FULL_ERRNOS else "check that it is writable"
        raise StorageError(
            f"{path}: must be written, but: {error.strerror or error}; {remedy} and start again to resume"
        ) from error


def read_document(path: Path) -> JsonObject | None:
    """Reads a JSON object. Returns None if the file does not exist.

    Raises DocumentError if the file holds anything else, StorageError if it cannot be read.
    """
    content = read_bytes(path)
    return None if content is None else parse_json(content)


def read_bytes(path: Path) -> bytes | None:
    """Reads a file. Returns None if it does not exist.

    Raises StorageError if it cannot be read, because it may be the journal of a commit.
    """
    try:
        with open_regular(path) as file:
            return file.read()
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return None
    except OSError as error:
        raise StorageError(f"{path}: must be readable, but: {error.strerror}; fix that and start again") from error
