"""A member of an archive as a file: it is read in place, without unpacking the archive."""

from __future__ import annotations

import io
import os
import struct
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Literal

from isal.isal_zlib import crc32

from mnist_batch.errors import InputError
from mnist_batch.names import to_text
from mnist_batch.sources.gzipped import GZIP_ERRORS, inflate, open_plain_or_gzip

# A deflated member becomes a gzip stream if it has gzip's header and trailer around it (RFC 1952, section 2.3).
_GZIP_HEADER = b"\x1f\x8b\x08".ljust(10, b"\0")
_GZIP_TRAILER = struct.Struct("<LL")
_CHUNK_BYTES = 1 << 20
_BUFFER_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class ArchiveMember:
    """A member of a zip or tar.

    path: its path in the archive.
    offset: where its data begins, in a tar.gz counted in the tar.
    stored: how many bytes its data has in the archive; size: how many they are when they are inflated.
    checksum: the CRC-32 of the inflated bytes. A tar has none.
    """

    archive: Path
    path: bytes
    offset: int
    stored: int
    size: int
    deflated: bool = False
    checksum: int | None = None

    @property
    def name(self) -> str:
        return os.fsdecode(self.path.rpartition(b"/")[2])

    @property
    def parent(self) -> PurePosixPath:
        return PurePosixPath(os.fsdecode(self.path)).parent

    def __str__(self) -> str:
        return f"{self.archive}!{to_text(self.path)}"

    def open(self, mode: Literal["rb"]) -> IO[bytes]:  # noqa: ARG002  (so that it can take the place of a Path)
        """Opens the member for reading. Going back in a deflated member, or in a tar.gz, reads it from its start."""
        before = after = b""
        if self.deflated:
            before, after = _GZIP_HEADER, _GZIP_TRAILER.pack(self.checksum or 0, self.size & 0xFFFF_FFFF)
        window = _Window(open_plain_or_gzip(self.archive), self.offset, self.stored, before, after)
        data = io.BufferedReader(window, _BUFFER_BYTES)
        return inflate(data) if self.deflated else data

    def check(self) -> None:
        """Reads the whole member if it has a checksum. Raises InputError if that or its size does not match."""
        if self.checksum is None:
            return
        checksum, size = 0, 0
        try:
            with self.open("rb") as file:
                while size <= self.size and (chunk := file.read(_CHUNK_BYTES)):
                    checksum, size = crc32(chunk, checksum), size + len(chunk)
        except GZIP_ERRORS as error:
            raise self._error(str(error)) from error
        if size != self.size:
            raise self._error(f"it has {min(size, self.size + 1)} bytes instead of {self.size}")
        if checksum != self.checksum:
            raise self._error("its checksum does not match")

    def _error(self, cause: str) -> InputError:
        return InputError(f"{self}: this member must be whole, but: {cause}; fetch the archive again")


class _Window(io.RawIOBase):
    """A part of an open file, which it closes, with some bytes before and after it."""

    def __init__(self, file: IO[bytes], start: int, size: int, before: bytes, after: bytes) -> None:
        super().__init__()
        self._file, self._start, self._size, self._before, self._after = file, start, size, before, after
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        total = len(self._before) + self._size + len(self._after)
        self._position = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: total}[whence]
        return self._position

    def readinto(self, buffer: memoryview, /) -> int:  # type: ignore[override]  # typeshed names a private type
        data = self._read(len(buffer))
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)

    def _read(self, size: int) -> bytes:
        in_file = self._position - len(self._before)
        if in_file < 0:
            return self._before[self._position :][:size]
        if in_file < self._size:
            self._file.seek(self._start + in_file)
            return self._file.read(min(size, self._size - in_file))
        return self._after[in_file - self._size :][:size]

    def close(self) -> None:
        self._file.close()
        super().close()
