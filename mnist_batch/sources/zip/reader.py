"""Images in a `.zip`, read in position: the directory is listed once, each member is then read from its offset.

Members that are stored or deflated, which is nearly all, need no `zipfile`: a worker starts at any row at no cost.
"""

from __future__ import annotations

import errno
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from deflate import DeflateError, deflate_decompress
from isal.isal_zlib import crc32

from mnist_batch.config import ReadOptions
from mnist_batch.errors import InputError
from mnist_batch.records import EncodedRows, ImageError, Ints, RejectReason, Rows
from mnist_batch.sources.members import (
    BETWEEN_BYTES,
    PEEKED_BYTES,
    check_encoded_size,
    contiguous_runs,
    find_images,
    ids_and_labels,
)
from mnist_batch.sources.protocol import display_name, format_repr
from mnist_batch.sources.zip.directory import LOCAL, LOCAL_SIGNATURE, list_members, seek_data

# Members that lie side by side are held together, if that is no more than this.
_TOGETHER_BYTES = 1 << 24
# Deflated data may begin with the tables of its code, some 300 bytes; its first bytes follow.
_PACKED_HEAD_BYTES = 4096
# What `zipfile` raises for a damaged directory, besides an OSError for a seek to nowhere (`opening.py` sees to it).
_UNREADABLE = (zipfile.BadZipFile, zlib.error, EOFError, ValueError, RuntimeError, OverflowError, struct.error)


@dataclass(frozen=True, slots=True)
class ZipSource:
    """The images of one zip. members: where each lies, columns as in `Images` and `zip_directory.MEMBERS`."""

    path: Path
    name: str
    members: pa.Table
    labelled: bool
    skipped: Mapping[str, int]
    format: str = field(default="zip", init=False)

    @property
    def rows(self) -> int:
        return self.members.num_rows

    @property
    def sidecars(self) -> Sequence[Path]:
        return []

    def split_points(self) -> Sequence[int]:
        return [0, self.rows]

    def open(self) -> ZipReader:
        return ZipReader(self)

    def __repr__(self) -> str:
        return format_repr(self)


class ZipReader:
    def __init__(self, source: ZipSource) -> None:
        self._source = source
        self._file = source.path.open("rb")

    def read(self, start: int, stop: int) -> Sequence[Rows]:
        members = self._source.members.slice(start, stop - start)
        return [EncodedRows(*ids_and_labels(self._source.name, members), self._read_images(members))]

    def close(self) -> None:
        self._file.close()

    def _read_images(self, members: pa.Table) -> Iterator[bytes | ImageError]:
        columns = [column.to_numpy() for column in members.columns[2:]]
        for first, stop in contiguous_runs(columns[0], columns[1]):
            some = [column[first:stop] for column in columns]
            if stop - first > 1 and some[2].sum(dtype=float) <= _TOGETHER_BYTES:
                yield from self._read_run(some)
            else:
                yield from map(self._read_member, *(column.tolist() for column in some))

    def _read_run(self, columns: Sequence[npt.NDArray[Any]]) -> list[bytes | ImageError]:
        """Members that lie side by side; what is out of the ordinary or damaged is left to `_read_member`."""
        offset, packed, size, checksum, method, encrypted = columns
        starts = offset - offset[0]
        try:
            self._file.seek(int(offset[0]))
            content = self._file.read(int(starts[-1] + packed[-1]) + BETWEEN_BYTES)
        except (OSError, ValueError, OverflowError):
            content = b""
        local = _parse_local_headers(content, starts)
        starts += LOCAL.itemsize + local["name"].astype(np.int64) + local["extra"]
        known = (local["signature"] == LOCAL_SIGNATURE) & (encrypted == 0)
        stored = known & (method == zipfile.ZIP_STORED)
        deflated = known & (method == zipfile.ZIP_DEFLATED) & (size > 0)
        contents = [
            _inflate(content[start : start + length], most) if inflate else content[start : start + length]
            for start, length, most, inflate in zip(
                *(c.tolist() for c in (starts, packed, size, deflated)), strict=True
            )
        ]
        right = np.fromiter(map(len, contents), np.int64, len(contents)) == size
        right &= np.fromiter(map(crc32, contents), np.uint32, len(contents)) == checksum
        images: list[bytes | ImageError] = [*contents]
        for position in np.flatnonzero(~(right & (stored | deflated))).tolist():
            images[position] = self._read_member(*(column[position].item() for column in columns))
        return images

    def _read_member(
        self, offset: int, packed: int, size: int, checksum: int, method: int, encrypted: bool
    ) -> bytes | ImageError:
        if encrypted:
            return ImageError(RejectReason.UNREADABLE, "encrypted")
        if method not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            return ImageError(RejectReason.UNREADABLE, f"zip compression method {method}")
        if (image_error := check_encoded_size(max(size, packed))) is not None:
            return image_error
        # No more than was promised, whatever the data would inflate to.
        content = _read_start(self._file, offset, packed, method, size + 1)
        if isinstance(content, ImageError):
            return content
        if len(content) != size or crc32(content) != checksum:
            return ImageError(RejectReason.UNREADABLE, "damaged zip member: its checksum does not fit")
        return content


def _parse_local_headers(content: bytes, starts: Ints) -> npt.NDArray[np.void]:
    """The headers that begin at these places, as `LOCAL`; all zero where one reaches beyond the end."""
    if starts[-1] + LOCAL.itemsize > len(content):
        return np.zeros(len(starts), LOCAL)
    return np.frombuffer(content, np.uint8)[starts[:, None] + np.arange(LOCAL.itemsize)].view(LOCAL)[:, 0]


def _inflate(data: bytes, size: int) -> bytes:
    """What deflated data holds, of this size; nothing where they are damaged or hold more."""
    try:
        return bytes(deflate_decompress(data, size))
    except DeflateError:
        return b""


def _read_start(file: IO[bytes], offset: int, packed: int, method: int, most: int) -> bytes | ImageError:
    """The first `most` bytes of a member that is stored or deflated, or why there are none."""
    try:
        found = seek_data(file, offset)
    # An offset may point anywhere, and not every place can be sought.
    except (OSError, ValueError, OverflowError) as error:
        if isinstance(error, OSError) and error.errno != errno.EINVAL:
            raise
        found = False
    if not found:
        return ImageError(RejectReason.UNREADABLE, "no member where the zip's directory says")
    if method == zipfile.ZIP_STORED:
        return file.read(min(packed, most))
    try:
        return zlib.decompressobj(-15).decompress(file.read(packed), most)
    except zlib.error as error:
        return ImageError(RejectReason.UNREADABLE, f"damaged zip member: {error}")


def open_zip(path: Path, root: Path, options: ReadOptions) -> Sequence[ZipSource]:
    """The source for the images in a zip. Raises InputError where its directory is unreadable."""
    try:
        members = list_members(path)
        with path.open("rb") as file:
            images = find_images(path, members["name"], partial(_read_head, file, members), options)
    except _UNREADABLE as error:
        raise InputError(f"{path}: zip must be whole, but: {error}; it was probably cut off: fetch it again") from error
    table = images.columns(members)
    return [ZipSource(path, display_name(path, root), table, images.labelled, images.skipped)]


def _read_head(file: IO[bytes], members: pa.Table, position: int) -> bytes:
    """The first bytes of a member whose name does not say what it is; none where it is damaged or encrypted."""
    (member,) = members.slice(position, 1).to_pylist()
    if member["encrypted"] or member["method"] not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return b""
    packed = min(member["packed"], _PACKED_HEAD_BYTES)
    head = _read_start(file, member["offset"], packed, member["method"], PEEKED_BYTES)
    return b"" if isinstance(head, ImageError) else head
