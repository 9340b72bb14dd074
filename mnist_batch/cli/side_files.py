"""Files that a command writes besides its result: `--summary-file`, `--metrics-file`, `--sheet`.

Each replaces only an earlier file of its own kind, so that a mistyped path destroys nothing.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from mnist_batch.errors import OutputError

# Enough to recognize an earlier file.
_MAX_READ_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class FileKind:
    """What a command writes.

    option: that names the path.
    name: in messages, with an article.
    matches: whether this is the content of an earlier one.
    """

    option: str
    name: str
    matches: Callable[[bytes], bool]


def check_side_file(path: Path, kind: FileKind, output: Path | None = None) -> None:
    """Raises OutputError if the file cannot be written, or would replace something else than an earlier one.

    output: the output folder, which holds only what belongs to the run.
    """
    if path.is_dir() or not path.parent.is_dir():
        raise OutputError(f"{path}: must be a file in a folder that exists: make the folder, or name another")
    if output is not None and path.parent.resolve().is_relative_to(output.resolve()):
        raise OutputError(f"{path}: {kind.option} must be outside of --output {output}: name another path")
    if not path.exists() or not _is_regular(path):
        return
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_READ_BYTES)
    except OSError as error:
        raise OutputError(f"{path}: must be readable, to see what would be replaced, but: {error.strerror}") from error
    if content and not kind.matches(content):
        raise OutputError(
            f"{path}: {kind.option} may replace only {kind.name}, this file is something else: name another path"
        )


def write_side_file(path: Path, kind: FileKind, content: bytes, output: Path | None = None) -> None:
    """Writes a file, completely or not at all; a pipe or a device is written to.

    Raises as `check_side_file` does, and StorageError if writing fails.
    """
    from mnist_batch.output.files import storage_errors, write_whole

    check_side_file(path, kind, output)
    if path.exists() and not _is_regular(path):
        with storage_errors(path):
            descriptor = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
            os.set_blocking(descriptor, True)
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
        return
    own = path.with_name(f".{path.name}.{os.getpid()}")  # another start may write the file at the same time
    write_whole(own, lambda file: file.write(content))
    with storage_errors(path):
        try:
            own.rename(path)
        except OSError:
            with suppress(OSError):
                own.unlink()
            raise


def _is_regular(path: Path) -> bool:
    return stat.S_ISREG(path.stat().st_mode)
