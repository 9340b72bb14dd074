"""Images in a `.zip`, read in place: the directory is listed once, each member is then read from its offset.

Members that are stored or deflated, which is nearly all, need no `zipfile`: a worker starts at any row at no cost.
"""

from __future__ import annotations

import os
import struct
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import IO

import pyarrow as pa

from mnist_batch.config import ReadOptions
from mnist_batch.errors import InputError
from mnist_batch.images.header import HEAD_SIZE
from mnist_batch.records import EncodedRows, Refusal, RejectReason, Rows
from mnist_batch.sources.members import CLASS_FILE_BYTES, MemberList, ids_and_labels, too_large
from mnist_batch.sources.protocol import display_name, repr_of

_LOCAL_HEADER_SIZE = 30
_ENCRYPTED = 0x1
_UTF8_NAME = 0x800
# Deflated data may begin with the tables of its code, some 300 bytes; its first bytes follow.
_PACKED_HEAD_BYTES = 4096
# Sizes and offsets are what a directory claims, up to 2**64; none beyond this is ever read.
_ANYTHING = 2**62
# What `zipfile` raises for a damaged directory, besides an OSError for a seek to nowhere (`opening.py` sees to it).
_UNREADABLE = (zipfile.BadZipFile, zlib.error, EOFError, ValueError, RuntimeError, OverflowError, struct.error)
_SCHEMA = pa.schema(
    {
        "name": pa.string(),
        "label": pa.int8(),
        "offset": pa.int64(),
        "packed": pa.int64(),
        "size": pa.int64(),
        "checksum": pa.uint32(),
        "method": pa.int32(),
        "encrypted": pa.bool_(),
    }
)


@dataclass(frozen=True, slots=True)
class ZipSource:
    """The images of one zip. members: where each lies, columns as in `_SCHEMA`."""

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
    def companions(self) -> Sequence[Path]:
        return []

    def boundaries(self) -> Sequence[int]:
        return [0, self.rows]

    def open(self) -> ZipReader:
        return ZipReader(self)

    def __repr__(self) -> str:
        return repr_of(self)


class ZipReader:
    def __init__(self, source: ZipSource) -> None:
        self._source = source
        self._file = source.path.open("rb")

    def read(self, start: int, stop: int) -> Sequence[Rows]:
        members = self._source.members.slice(start, stop - start)
        places = members.drop(["name", "label"]).to_pylist()
        return [EncodedRows(*ids_and_labels(self._source.name, members), (self._member(**row) for row in places))]

    def close(self) -> None:
        self._file.close()

    def _member(
        self, offset: int, packed: int, size: int, checksum: int, method: int, encrypted: bool
    ) -> bytes | Refusal:
        if encrypted:
            return Refusal(RejectReason.UNREADABLE, "encrypted")
        if method not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            return Refusal(RejectReason.UNREADABLE, f"zip compression method {method}")
        if (refusal := too_large(max(size, packed))) is not None:
            return refusal
        # No more than was promised, whatever the data would inflate to.
        content = _beginning(self._file, offset, packed, method, size + 1)
        if isinstance(content, Refusal):
            return content
        if len(content) != size or zlib.crc32(content) != checksum:
            return Refusal(RejectReason.UNREADABLE, "damaged zip member: its checksum does not fit")
        return content


def _beginning(file: IO[bytes], offset: int, packed: int, method: int, most: int) -> bytes | Refusal:
    """The first `most` bytes of a member that is stored or deflated, or why there are none."""
    # An offset may point anywhere, before the file too, and not every place can be sought.
    inside = 0 <= offset < os.fstat(file.fileno()).st_size
    file.seek(offset if inside else 0)
    header = file.read(_LOCAL_HEADER_SIZE)
    if not inside or len(header) < _LOCAL_HEADER_SIZE or header[:4] != b"PK\3\4":
        return Refusal(RejectReason.UNREADABLE, "no member where the zip's directory says")
    name_size, extra_size = struct.unpack_from("<HH", header, 26)
    file.seek(name_size + extra_size, 1)
    if method == zipfile.ZIP_STORED:
        return file.read(min(packed, most))
    try:
        return zlib.decompressobj(-15).decompress(file.read(packed), most)
    except zlib.error as error:
        return Refusal(RejectReason.UNREADABLE, f"damaged zip member: {error}")


def open_zip(path: Path, root: Path, options: ReadOptions) -> Sequence[ZipSource]:
    """The source for the images in a zip. Raises InputError where its directory is unreadable."""
    images: list[zipfile.ZipInfo] = []
    listing = MemberList(path, options)
    try:
        with zipfile.ZipFile(path) as archive, path.open("rb") as file:
            for info in archive.infolist():
                if info.filename.endswith("/"):  # `is_dir` fails where there is no name at all
                    continue
                head, text = (partial(_head, file, info, size) for size in (HEAD_SIZE, CLASS_FILE_BYTES))
                if listing.add(raw_name(info), head, text):
                    images.append(info)
    except _UNREADABLE as error:
        raise InputError(f"{path}: zip must be whole, but: {error}; it was probably cut off: fetch it again") from error
    columns = listing.columns() | {
        "offset": [min(info.header_offset, _ANYTHING) for info in images],
        "packed": [min(info.compress_size, _ANYTHING) for info in images],
        "size": [min(info.file_size, _ANYTHING) for info in images],
        "checksum": [info.CRC for info in images],
        "method": [info.compress_type for info in images],
        "encrypted": [bool(info.flag_bits & _ENCRYPTED) for info in images],
    }
    members = pa.table(columns, schema=_SCHEMA)
    labelled = members["label"].null_count < members.num_rows
    return [ZipSource(path, display_name(path, root), members, labelled, listing.skipped)]


def raw_name(info: zipfile.ZipInfo) -> bytes:
    """A member's name as bytes. A name not marked as UTF-8 was decoded from code page 437, though most are UTF-8."""
    if info.flag_bits & _UTF8_NAME:
        return info.filename.encode("utf-8", "surrogateescape")
    return info.orig_filename.replace("\\", "/").encode("cp437", "replace")


def _head(file: IO[bytes], info: zipfile.ZipInfo, size: int) -> bytes:
    """The first bytes of a member whose name does not say what it is; none where it is damaged or encrypted."""
    if info.flag_bits & _ENCRYPTED or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return b""
    packed = min(info.compress_size, _PACKED_HEAD_BYTES)
    head = _beginning(file, min(info.header_offset, _ANYTHING), packed, info.compress_type, size)
    return b"" if isinstance(head, Refusal) else head
