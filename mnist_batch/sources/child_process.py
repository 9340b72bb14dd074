"""Child processes that read beside this one, and the pipes to them."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import IO

_SET_PIPE_SIZE: int = getattr(fcntl, "F_SETPIPE_SZ", 0)
# The largest pipe buffer that Linux allows every user by default.
PIPE_BYTES = 1 << 20


def has_spare_core() -> bool:
    """Whether a small Python subprocess would have a core of its own."""
    return bool(sys.executable) and hasattr(os, "sched_getaffinity") and len(os.sched_getaffinity(0)) > 1


def script_command(script: str, folder: bytes) -> list[str]:
    """The command line that runs a script with a folder as argument. The script may only use the standard library."""
    return [sys.executable, "-I", "-S", script, os.fsdecode(folder)]


def read_output(command: Sequence[str]) -> bytes | None:
    """Runs a command and returns its stdout; None if it fails or cannot be started.

    It runs in a session of its own, so a terminal's interrupt reaches only this process, which then kills it.
    """
    try:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True
        )
    except OSError:
        return None
    assert process.stdout is not None
    with process:
        try:
            with suppress(OSError):  # a small pipe is only slower
                widen_pipe(process.stdout)
            output = process.stdout.read()
        except BaseException:
            process.kill()
            raise
    return None if process.returncode else output


def widen_pipe(pipe: IO[bytes], size: int = PIPE_BYTES) -> int:
    """Sets the buffer size of a pipe, by default to the 1 MB that Linux allows every user. Returns the size.

    Returns 0 on systems without that call. Raises OSError if the user's pipes exceed their limit.
    """
    return fcntl.fcntl(pipe, _SET_PIPE_SIZE, size) if _SET_PIPE_SIZE else 0
