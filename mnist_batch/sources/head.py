"""The first bytes of a file, by which its format is recognized."""

from __future__ import annotations

import zlib
from pathlib import Path

from mnist_batch.errors import StorageError
from mnist_batch.sources.gzipped import GZIP_MAGIC

# Enough for the first header of a tar, and for the name of a zip's first member.
HEAD_BYTES = 1024


class Head:
    """The first bytes of a file. They are read when they are asked for, and read again if more are needed.

    Raises StorageError if the file cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stored = b""
        self._complete = False

    def stored(self, size: int = HEAD_BYTES) -> bytes:
        """The first `size` bytes as they are stored; fewer if the file is shorter."""
        if len(self._stored) < size and not self._complete:
            try:
                with self._path.open("rb") as file:
                    self._stored = file.read(size)
            except OSError as error:
                raise StorageError(
                    f"{self._path}: must be readable, but: {error.strerror}; grant permission to read it"
                ) from error
            self._complete = len(self._stored) < size
        return self._stored[:size]

    def content(self, size: int = HEAD_BYTES) -> bytes:
        """The first `size` bytes, inflated if the file is gzip; fewer if the file is shorter or damaged."""
        if not self.stored().startswith(GZIP_MAGIC):
            return self.stored(size)
        try:
            # Incompressible data is a little longer when it is compressed.
            return zlib.decompressobj(wbits=31).decompress(self.stored(size + HEAD_BYTES), size)
        except zlib.error:
            return self.stored(size)
