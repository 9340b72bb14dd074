"""Opens files for reading that somebody may have replaced by something else."""

from __future__ import annotations

import errno
import os
import stat
from io import BufferedReader
from pathlib import Path


def open_regular(path: Path) -> BufferedReader:
    """Opens a regular file for reading. Does not wait, as opening a pipe or a device may.

    Raises OSError (EINVAL) if it is no regular file, and what opening raises.
    """
    file = open(path, "rb", opener=_open_at_once)  # noqa: SIM115  (Path.open takes no opener)
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError(errno.EINVAL, "it is a pipe or a device", str(path))
    return file


def _open_at_once(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)
