"""The first bytes of a file, by which its format is recognized."""

from __future__ import annotations

import zlib

from mnist_batch.errors import StorageError
from mnist_batch.sources.gzipped import GZIP_MAGIC
from mnist_batch.sources.protocol import File, open_file

# Enough for the first header of a tar, and for the name of a zip's first member.
HEAD_BYTES = 1024
# The most that a format asks for. A line of 785 names such as `pixel783` has 7 KB.
MAX_HEAD_BYTES = 32_768


class Head:
    """The first bytes of a file. They are read when they are asked for, and read again if more are needed.

    Raises StorageError if the file cannot be read.
    """

    def __init__(self, file: File | bytes) -> None:
        """file: a file, or its first `MAX_HEAD_BYTES`, fewer if it is shorter."""
        self.file = None if isinstance(file, bytes) else file
        self._stored = file if isinstance(file, bytes) else b""
        self._complete = self.file is None

    def stored(self, size: int = HEAD_BYTES) -> bytes:
        """The first `size` bytes as they are stored; fewer if the file is shorter."""
        if len(self._stored) < size and self.file is not None and not self._complete:
            try:
                with open_file(self.file) as opened:
                    self._stored = opened.read(size)
            except OSError as error:
                raise StorageError(
                    f"{self.file}: must be readable, but: {error.strerror}; grant permission to read it"
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
