"""Lists of input files (`--files-from`): a path per line, or separated by null bytes."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from mnist_batch.errors import EmptyInputError, InputMissingError

STDIN = "-"


def read_file_list(name: str, null: bool) -> tuple[str, ...]:
    """The paths in a list, in order. Empty lines are left out.

    name: the path of the list, `-` for stdin. null: whether paths end with a null byte, not with a line break.
    Raises InputMissingError if the list cannot be read, EmptyInputError if it names no file.
    """
    try:
        content = sys.stdin.buffer.read() if name == STDIN else Path(name).read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a null byte in the name
        cause = error.strerror if isinstance(error, OSError) else str(error)
        raise InputMissingError(f"--files-from {name}: must be readable, but: {cause}; check the path") from error
    lines = content.split(b"\0") if null else (line.removesuffix(b"\r") for line in content.split(b"\n"))
    paths = tuple(os.fsdecode(line) for line in lines if line)
    if not paths:
        raise EmptyInputError(f"--files-from {name}: must name a file, names none: check the list")
    if not null and any("\0" in path for path in paths):
        raise InputMissingError(f"--files-from {name}: must have a path per line, holds null bytes: pass --null")
    return paths
