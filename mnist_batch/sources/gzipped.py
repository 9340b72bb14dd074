"""Reading files that may be gzip. Uses ISA-L, which inflates two to three times as fast as zlib."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path
from typing import IO, cast

from isal import igzip, isal_zlib

from mnist_batch.errors import InputError

GZIP_MAGIC = b"\x1f\x8b"
_CHUNK_BYTES = 1 << 20
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


def has_same_content(plain: Path, packed: Path) -> bool:
    """Whether a gzip file inflates to the bytes of a plain one. Raises InputError if the gzip stream is damaged."""
    try:
        with plain.open("rb") as one, open_plain_or_gzip(packed) as other:
            while chunk := one.read(_CHUNK_BYTES):
                if other.read(len(chunk)) != chunk:
                    return False
            return not other.read(1)
    except GZIP_ERRORS as error:
        raise gzip_error(packed, error) from error


def gzip_error(path: Path, error: Exception) -> InputError:
    """The error for a gzip stream that cannot be inflated."""
    return InputError(f"{path}: gzip stream must be whole, but: {error}; it was probably cut off: fetch it again")
