"""Reading files that may be gzip. Uses ISA-L, which inflates two to three times as fast as zlib."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path
from typing import IO, cast

from isal import igzip, isal_zlib

from mnist_batch.errors import InputError

GZIP_MAGIC = b"\x1f\x8b"
# Raised when a gzip stream is damaged or cut off.
GZIP_ERRORS: tuple[type[Exception], ...] = (
    EOFError,
    zlib.error,
    isal_zlib.error,  # type: ignore[assignment]  # its stub declares an instance, it is a class
    gzip.BadGzipFile,
)


def open_plain_or_gzip(path: Path) -> IO[bytes]:
    """Opens `path` for reading; if it is gzip, its bytes are inflated."""
    if is_gzip(path):
        return cast(IO[bytes], igzip.open(path))  # type: ignore[no-untyped-call]  # isal ships no stub for igzip
    return path.open("rb")


def is_gzip(path: Path) -> bool:
    """Whether the file begins with the gzip signature."""
    with path.open("rb") as file:
        return file.read(2) == GZIP_MAGIC


def gzip_error(path: Path, error: Exception) -> InputError:
    """The error for a gzip stream that cannot be inflated."""
    return InputError(f"{path}: gzip stream must be whole, but: {error}; it was probably cut off: fetch it again")
