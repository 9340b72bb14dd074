"""One run at a time per output folder: `flock` on `OUT/.lock`, which the system releases when the process ends.

The lock file is never deleted. Otherwise two runs could each create a new file and lock it. Because somebody else may
delete it, the folder itself is locked too if its file system can do that (NFS cannot).
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from mnist_batch.errors import LockedError, OutputError, StorageError
from mnist_batch.output.files import DISK_FULL_ERRNOS, storage_errors

LOCK_NAME = ".lock"
# How often to open and lock the file again if it was replaced in between. More often is no coincidence.
_MAX_TRIES = 10
_NO_FLOCK_ERRNOS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)
# How long a run that has just taken the lock may take to write its name into it. This takes microseconds unless the
# machine is loaded.
_NAMING_SECONDS = 1.0
# More than the name of a run has.
_MAX_NAME_BYTES = 4096

_held_descriptors: set[int] = set()


@contextmanager
def hold_lock(folder: Path) -> Iterator[None]:
    """Holds the folder's lock. Creates the folder if it does not exist.

    Raises LockedError, naming the holder, if another process has the lock; OutputError if the folder is not writable
    or its file system has no flock; StorageError if the disk is full or failing.
    """
    descriptors: list[int] = []
    try:
        _take_lock(folder, descriptors)
        _held_descriptors.update(descriptors)
        yield
    finally:
        for descriptor in descriptors:
            with suppress(OSError):  # a forked child has closed it already
                os.close(descriptor)
        _held_descriptors.difference_update(descriptors)


def _release_after_fork() -> None:
    """Closes the descriptors in a forked child, which would otherwise keep the lock after this process ends."""
    for descriptor in _held_descriptors:
        os.close(descriptor)
    _held_descriptors.clear()


os.register_at_fork(after_in_child=_release_after_fork)


def _take_lock(folder: Path, descriptors: list[int]) -> None:
    """Locks the folder and its lock file, and writes this run's name into the file.

    descriptors: receives what was opened, the lock file last, also if this raises.
    """
    path = folder / LOCK_NAME
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _lock_folder(folder, descriptors)
        _lock_file(path, descriptors)
    except BlockingIOError as error:
        raise LockedError(
            f"{folder}: must not be in use by another run, {_describe_holder(path)} has locked it: wait for that run"
        ) from error
    except _ForeignLockError as error:
        raise OutputError(
            f"{path}: must be the lock file of a run, is {error}: move it elsewhere, or choose another --output"
        ) from error
    except OSError as error:
        if error.errno in (*DISK_FULL_ERRNOS, errno.EIO):
            raise StorageError(f"{path}: must be written, but: {error.strerror}; fix that and start again") from error
        if error.errno in _NO_FLOCK_ERRNOS:
            raise OutputError(
                f"{folder}: must be on a file system with flock, this one has none: choose another --output"
            ) from error
        raise OutputError(
            f"{folder}: must be a writable folder, but: {error.strerror}; choose another --output"
        ) from error
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
    except OSError:  # the file system cannot lock folders; locking the file shows whether it can lock at all
        pass


def _lock_file(path: Path, descriptors: list[int]) -> None:
    # O_CLOEXEC: a program that this process starts would otherwise keep the lock after this process ends.
    # O_NONBLOCK: a device must not make this wait.
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    for _ in range(_MAX_TRIES):
        try:
            descriptors.append(os.open(path, flags, 0o644))
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.EISDIR, errno.ENXIO):
                raise _ForeignLockError("a link" if error.errno == errno.ELOOP else "no file") from error
            raise
        _check_own(descriptors[-1])
        fcntl.flock(descriptors[-1], fcntl.LOCK_EX | fcntl.LOCK_NB)
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptors[-1]), path.stat()):
                return
        os.close(descriptors.pop())
    raise LockedError(f"{path}: must not be replaced while runs start, was replaced {_MAX_TRIES} times: start again")


class _ForeignLockError(Exception):
    """Something else has the name of the lock file. The text says what."""


def _check_own(descriptor: int) -> None:
    """Raises _ForeignLockError unless an open file is empty, or holds the name of a run, and has no other name."""
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        raise _ForeignLockError("no regular file")
    if status.st_nlink > 1:
        raise _ForeignLockError("a file with another name as well (a hard link)")
    # After a power cut, a file may have its size but not its content.
    content = os.pread(descriptor, _MAX_NAME_BYTES, 0).strip(b"\0")
    try:
        known = not content or json.loads(content).keys() >= {"host", "pid"}
    except (ValueError, AttributeError, RecursionError):
        known = False
    if not known:
        raise _ForeignLockError("a file with other content")


def _describe_holder(path: Path) -> str:
    """Who holds the lock. Until the holder has written its name, the file is empty or names the previous holder."""
    description = "another process"
    deadline = time.monotonic() + _NAMING_SECONDS
    while time.monotonic() < deadline:
        with suppress(OSError, ValueError, KeyError, TypeError):
            holder = json.loads(path.read_text(encoding="utf-8"))
            description = f"process {holder['pid']} on {holder['host']}, started {holder['started']},"
            if holder["host"] != socket.gethostname() or _is_alive(holder["pid"]):
                return description
        time.sleep(0.01)
    return description


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # it runs, as another user
        return True
    return True
