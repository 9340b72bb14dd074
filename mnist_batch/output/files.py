"""Files that are there whole or not at all: written under a temporary name, synced, renamed, the folder synced.

The order is what a power cut cannot undo: fsync(file), rename, fsync(folder).
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

from mnist_batch.errors import StorageError

TEMPORARY_SUFFIX = ".tmp"
NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
# Parquet is written in some thirty small pieces; most parts fit into one write this way.
_BUFFER_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class FileRecord:
    """What a file that was written must still be. size: bytes; sha256: in hex."""

    size: int
    sha256: str


def write_whole(path: Path, write: Callable[[IO[bytes]], object]) -> FileRecord:
    """Has `write` fill a file, and gives it its final name. Raises StorageError where it cannot be written."""
    temporary = path.with_name(f".{path.name}{TEMPORARY_SUFFIX}")
    with storage_errors(path):
        with temporary.open("w+b", buffering=_BUFFER_BYTES) as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
            size = file.tell()
            file.seek(0)
            digest = hashlib.file_digest(cast(Any, file), "sha256").hexdigest()
        temporary.rename(path)
        sync_folder(path.parent)
    return FileRecord(size, digest)


def write_text(path: Path, text: str) -> FileRecord:
    """A text file. Raises StorageError where it cannot be written."""
    return write_whole(path, lambda file: file.write(text.encode("utf-8")))


def matches_record(path: Path, record: FileRecord) -> bool:
    """Whether the file still holds the bytes that were written."""
    try:
        if path.stat().st_size != record.size:
            return False
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == record.sha256
    except OSError:
        return False


def sync_folder(folder: Path) -> None:
    """Makes what was renamed or removed in a folder last."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turns the operating system's refusal to write into a StorageError that says what to do."""
    try:
        yield
    except OSError as error:
        todo = "make room" if error.errno in NO_ROOM else "see that it can be written"
        raise StorageError(
            f"{path}: must be written, but: {error.strerror or error}; {todo} and start again to go on"
        ) from error


def to_json(document: Mapping[str, Any]) -> str:
    """A document as it is written: indented, but a list of numbers on one line, so that a matrix can be read."""
    text = json.dumps(document, indent=2, ensure_ascii=False)
    # A raw line break never stands inside a string of JSON.
    return re.sub(r"\[\n\s+([-+.\deE,\s]+?)\n\s+\]", lambda found: f"[{' '.join(found[1].split())}]", text) + "\n"


def read_json(path: Path) -> dict[str, Any] | None:
    """The object in a JSON file; None where there is no such file, or it holds anything else.

    Raises StorageError where there is one that cannot be read: it may be the journal of a commit.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError, ValueError):
        return None
    except OSError as error:
        raise StorageError(f"{path}: must be readable, but: {error.strerror}; see to it and start again") from error
    return content if isinstance(content, dict) else None
