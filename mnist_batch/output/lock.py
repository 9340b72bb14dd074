"""One run at a time in an output folder: `flock` on `OUT/.lock`, which ends with the process, however that ends.

The file is never deleted: of two runs that find it gone, each could hold a lock of its own. As somebody else may
delete it, the folder itself is locked too, where its file system can do that (NFS cannot).
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from mnist_batch.errors import LockedError, OutputError, StorageError
from mnist_batch.output.files import NO_ROOM, storage_errors

LOCK_NAME = ".lock"
# Open, flock, and find that somebody replaced the file in between: as often as this is no coincidence any more.
_TRIES = 10
_NO_FLOCK = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)
# How long a run that has just taken the lock may take to write its name: microseconds, but for a loaded machine.
_NAMING_SECONDS = 1.0

_held: set[int] = set()


@contextmanager
def hold_lock(folder: Path) -> Iterator[None]:
    """Holds the folder's lock; the folder is made if it is not there.

    Raises LockedError, naming the holder, where another process has it; OutputError where the folder cannot be
    written, or its file system has no flock; StorageError where the disk is full or failing.
    """
    descriptors: list[int] = []
    try:
        _take_lock(folder, descriptors)
        _held.update(descriptors)
        yield
    finally:
        for descriptor in descriptors:
            with suppress(OSError):  # in a forked child it is closed already
                os.close(descriptor)
        _held.difference_update(descriptors)


def _release_after_fork() -> None:
    """In a forked child, which would keep the lock after us."""
    for descriptor in _held:
        os.close(descriptor)
    _held.clear()


os.register_at_fork(after_in_child=_release_after_fork)


def _take_lock(folder: Path, descriptors: list[int]) -> None:
    path = folder / LOCK_NAME
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _lock_folder(folder, descriptors)
        _lock_file(path, descriptors)
    except BlockingIOError as error:
        raise LockedError(f"{folder}: must be free, {_describe_holder(path)} holds it: wait for that run") from error
    except OSError as error:
        if error.errno in (*NO_ROOM, errno.EIO):
            raise StorageError(
                f"{path}: must be written, but: {error.strerror}; start again when that is mended"
            ) from error
        if error.errno in _NO_FLOCK:
            raise OutputError(
                f"{folder}: must lie on a file system with flock, this one has none: choose another --output"
            ) from error
        raise OutputError(f"{folder}: must be a folder to write to, but: {error.strerror}; choose another") from error
    name = {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    with storage_errors(path):
        os.ftruncate(descriptors[-1], 0)
        os.pwrite(descriptors[-1], json.dumps(name).encode(), 0)


def _lock_folder(folder: Path, descriptors: list[int]) -> None:
    descriptors.append(os.open(folder, os.O_RDONLY | os.O_CLOEXEC))
    try:
        fcntl.flock(descriptors[-1], fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError:  # a file system that locks no folders; whether it locks files is told next
        pass


def _lock_file(path: Path, descriptors: list[int]) -> None:
    for _ in range(_TRIES):
        # Not inherited by programs we start: a child would keep the lock after us.
        descriptors.append(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644))
        fcntl.flock(descriptors[-1], fcntl.LOCK_EX | fcntl.LOCK_NB)
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptors[-1]), path.stat()):
                return
        os.close(descriptors.pop())
    raise LockedError(f"{path}: must be left alone while runs start, is replaced again and again: start again")


def _describe_holder(path: Path) -> str:
    """Who holds the lock. Until it has written its name, the file is empty or names the holder before."""
    name = "another process"
    until = time.monotonic() + _NAMING_SECONDS
    while time.monotonic() < until:
        with suppress(OSError, ValueError, KeyError, TypeError):
            holder = json.loads(path.read_text(encoding="utf-8"))
            name = f"process {holder['pid']} on {holder['host']}, started {holder['started']},"
            if holder["host"] != socket.gethostname() or _is_alive(holder["pid"]):
                return name
        time.sleep(0.01)
    return name


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's
        return True
    return True
