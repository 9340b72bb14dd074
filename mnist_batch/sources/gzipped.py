"""Reading files that may be gzip. Uses ISA-L, which inflates two to three times as fast as zlib."""

from __future__ import annotations

import gzip
import zlib
from typing import IO, cast

from isal import igzip, isal_zlib

from mnist_batch.errors import InputError
from mnist_batch.sources.protocol import File, open_file

GZIP_MAGIC = b"\x1f\x8b"
_CHUNK_BYTES = 1 << 20
# Raised when a gzip stream is damaged or cut off.
GZIP_ERRORS: tuple[type[Exception], ...] = (
    EOFError,
    zlib.error,
    isal_zlib.error,  # type: ignore[assignment]  # its stub declares an instance, it is a class
    gzip.BadGzipFile,
)


class _GzipReader(igzip.IGzipFile):
    def __init__(self, packed: IO[bytes]) -> None:
        super().__init__(fileobj=packed, mode="rb")  # type: ignore[no-untyped-call]  # isal ships no stub for igzip
        self._packed = packed

    def close(self) -> None:
        super().close()
        self._packed.close()


def inflate(packed: IO[bytes]) -> IO[bytes]:
    """Returns the inflated content of an open gzip file as a file. Closing it closes both."""
    return cast(IO[bytes], _GzipReader(packed))


def open_plain_or_gzip(file: File) -> IO[bytes]:
    """Opens a file for reading; if it is gzip, its bytes are inflated."""
    return inflate(open_file(file)) if is_gzip(file) else open_file(file)


def is_gzip(file: File) -> bool:
    """Whether the file begins with the gzip signature."""
    with open_file(file) as opened:
        return opened.read(2) == GZIP_MAGIC


def has_same_content(plain: File, packed: File) -> bool:
    """Whether a gzip file inflates to the bytes of a plain one. Raises InputError if the gzip stream is damaged."""
    try:
        with open_file(plain) as one, open_plain_or_gzip(packed) as other:
            while chunk := one.read(_CHUNK_BYTES):
                if other.read(len(chunk)) != chunk:
                    return False
            return not other.read(1)
    except GZIP_ERRORS as error:
        raise gzip_error(packed, error) from error


def gzip_error(file: File, error: Exception) -> InputError:
    """The error for a gzip stream that cannot be inflated."""
    return InputError(f"{file}: gzip stream must be whole, but: {error}; it was probably cut off: fetch it again")
