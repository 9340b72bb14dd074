"""Images in a zip. The directory is listed once; each member is then read from its offset.

Reading does not use `zipfile`, so a worker can start at any row at no cost. Stored and deflated members can be read,
which nearly all are. Others are rejects.
"""

from __future__ import annotations

import errno
import struct
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from deflate import DeflateError, deflate_decompress
from isal.isal_zlib import crc32

from mnist_batch.errors import InputError
from mnist_batch.records import EncodedRows, ImageError, Ints, RejectReason, Rows
from mnist_batch.sources.archive_member import ArchiveMember
from mnist_batch.sources.head import MAX_HEAD_BYTES
from mnist_batch.sources.members import (
    MAX_GAP_BYTES,
    ArchiveSource,
    MayBeContainer,
    check_encoded_size,
    contiguous_runs,
    find_images,
    ids_and_labels,
)
from mnist_batch.sources.protocol import Container, NotImages, open_file
from mnist_batch.sources.zip.directory import LOCAL_HEADER, LOCAL_SIGNATURE, list_members, seek_data

# Zips that are something else, by a member that each of its kind has. Their pictures are not scans.
_KINDS = {
    b"[Content_Types].xml": "Office document",
    b"mimetype": "OpenDocument or EPUB document",
    b"AndroidManifest.xml": "Android app",
    b"META-INF/MANIFEST.MF": "Java archive",
    b"META-INF/container.xml": "EPUB document",
    b"META-INF/": "Java archive",
    b"model.weights.h5": "Keras model",
    b"archive/data.pkl": "PyTorch file",
    b"doc.kml": "map",
}
# The members of a run are held in memory together if they have at most this size, inflated.
_MAX_RUN_INFLATED_BYTES = 1 << 24
# Deflated data may begin with its code tables, about 300 bytes, before the first bytes of content.
_PACKED_HEAD_BYTES = MAX_HEAD_BYTES + 4096
# What `zipfile` raises for a damaged directory, apart from the OSError of a bad seek, which `discover.py` handles.
_UNREADABLE = (zipfile.BadZipFile, zlib.error, EOFError, ValueError, RuntimeError, OverflowError, struct.error)


@dataclass(frozen=True, slots=True, repr=False)
class ZipSource(ArchiveSource):
    """The images of one zip file.

    members: where each member is, with the columns of `ImageMembers` and `zip.directory.MEMBERS`.
    """

    format: str = field(default="zip", init=False)

    def open(self) -> ZipReader:
        return ZipReader(self)


class ZipReader:
    def __init__(self, source: ZipSource) -> None:
        self._source = source
        self._file = open_file(source.path)

    def read(self, start: int, stop: int) -> Sequence[Rows]:
        members = self._source.members.slice(start, stop - start)
        return [EncodedRows(*ids_and_labels(self._source.name, members), self._read_images(members))]

    def close(self) -> None:
        self._file.close()

    def _read_images(self, members: pa.Table) -> Iterator[bytes | ImageError]:
        columns = [column.to_numpy() for column in members.columns[2:]]
        for first, stop in contiguous_runs(columns[0], columns[1]):
            run = [column[first:stop] for column in columns]
            if stop - first > 1 and run[2].sum(dtype=float) <= _MAX_RUN_INFLATED_BYTES:
                yield from self._read_run(run)
            else:
                yield from map(self._read_member, *(column.tolist() for column in run))

    def _read_run(self, columns: Sequence[npt.NDArray[Any]]) -> list[bytes | ImageError]:
        """Reads members that are side by side. Leaves unusual and damaged members to `_read_member`."""
        offset, packed, size, checksum, method, encrypted = columns
        starts = offset - offset[0]
        try:
            self._file.seek(int(offset[0]))
            content = self._file.read(int(starts[-1] + packed[-1]) + MAX_GAP_BYTES)
        except (OSError, ValueError, OverflowError):
            content = b""
        headers = _parse_local_headers(content, starts)
        starts += LOCAL_HEADER.itemsize + headers["name"].astype(np.int64) + headers["extra"]
        readable = (headers["signature"] == LOCAL_SIGNATURE) & (encrypted == 0)
        stored = readable & (method == zipfile.ZIP_STORED)
        deflated = readable & (method == zipfile.ZIP_DEFLATED) & (size > 0)
        contents = [
            _inflate(content[start : start + length], inflated_size) if inflate else content[start : start + length]
            for start, length, inflated_size, inflate in zip(
                *(c.tolist() for c in (starts, packed, size, deflated)), strict=True
            )
        ]
        intact = np.fromiter(map(len, contents), np.int64, len(contents)) == size
        intact &= np.fromiter(map(crc32, contents), np.uint32, len(contents)) == checksum
        images: list[bytes | ImageError] = [*contents]
        for position in np.flatnonzero(~(intact & (stored | deflated))).tolist():
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
        # Inflates at most one byte more than the directory claims, whatever the data would inflate to.
        content = _read_start(self._file, offset, packed, method, size + 1)
        if isinstance(content, ImageError):
            return content
        if len(content) != size or crc32(content) != checksum:
            return ImageError(RejectReason.UNREADABLE, "damaged zip member: its checksum does not match")
        return content


def _parse_local_headers(content: bytes, starts: Ints) -> npt.NDArray[np.void]:
    """The headers at these offsets of `content`, as `LOCAL_HEADER`. All are zero if one reaches beyond the end."""
    if starts[-1] + LOCAL_HEADER.itemsize > len(content):
        return np.zeros(len(starts), LOCAL_HEADER)
    headers = np.frombuffer(content, np.uint8)[starts[:, None] + np.arange(LOCAL_HEADER.itemsize)]
    return headers.view(LOCAL_HEADER)[:, 0]


def _inflate(data: bytes, size: int) -> bytes:
    """Inflates data to at most `size` bytes. Empty if the data is damaged or inflates to more."""
    try:
        return bytes(deflate_decompress(data, size))
    except DeflateError:
        return b""


def _read_start(file: IO[bytes], offset: int, packed: int, method: int, max_bytes: int) -> bytes | ImageError:
    """The first `max_bytes` of a stored or deflated member, or the error that makes it a reject."""
    try:
        has_header = seek_data(file, offset)
    # A damaged offset can be anything, and seeking to some values raises.
    except (OSError, ValueError, OverflowError) as error:
        if isinstance(error, OSError) and error.errno != errno.EINVAL:
            raise
        has_header = False
    if not has_header:
        return ImageError(RejectReason.UNREADABLE, "no member at the offset given in the zip's directory")
    if method == zipfile.ZIP_STORED:
        return file.read(min(packed, max_bytes))
    try:
        return zlib.decompressobj(-15).decompress(file.read(packed), max_bytes)
    except zlib.error as error:
        return ImageError(RejectReason.UNREADABLE, f"damaged zip member: {error}")


def open_zip(container: Container, may_be_container: MayBeContainer) -> Sequence[ZipSource]:
    """The source for the images in a zip.

    Raises InputError if its directory is unreadable, NotImages if it is a document, a program or a model.
    """
    path = container.path
    try:
        members = list_members(path)
        if (kind := _find_kind(members["name"])) is not None:
            raise NotImages(kind)
        with open_file(path) as file:
            first_bytes = partial(_read_head, file, members)
            images = find_images(path, members["name"], first_bytes, container.options, may_be_container)
            containers = [_to_file(path, file, members, position) for position in images.containers.tolist()]
    except _UNREADABLE as error:
        raise InputError(f"{path}: zip must be whole, but: {error}; it was probably cut off: fetch it again") from error
    table = images.to_table(members)
    return [ZipSource(path, container.name, table, images.labelled, containers, images.skipped, images.warnings)]


def _find_kind(names: pa.ChunkedArray) -> str | None:
    """What a zip is if it is not just an archive, by the members that its kind must have."""
    present = pc.index_in(pa.array(list(_KINDS), pa.binary()), names.combine_chunks()).to_pylist()
    return next((kind for kind, position in zip(_KINDS.values(), present, strict=True) if position is not None), None)


def _read_head(file: IO[bytes], members: pa.Table, position: int) -> bytes:
    """The first bytes of a member, needed if its name does not say what it is.

    Empty if it is encrypted; of a damaged one, what is before the damage.
    """
    (member,) = members.slice(position, 1).to_pylist()
    if member["encrypted"] or member["method"] not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return b""
    offset, method, packed = member["offset"], member["method"], min(member["packed"], _PACKED_HEAD_BYTES)
    head = _read_start(file, offset, packed, method, MAX_HEAD_BYTES)
    if isinstance(head, ImageError):
        data = _read_start(file, offset, packed, zipfile.ZIP_STORED, packed)
        return b"" if isinstance(data, ImageError) else _inflate_until_damage(data)
    return head


def _inflate_until_damage(data: bytes) -> bytes:
    inflate, content = zlib.decompressobj(-15), b""
    with suppress(zlib.error):
        while piece := inflate.decompress(data, 64):
            content, data = content + piece, inflate.unconsumed_tail
    return content[:MAX_HEAD_BYTES]


def _to_file(archive: Path, file: IO[bytes], members: pa.Table, position: int) -> ArchiveMember:
    """A member that is read like a file."""
    (member,) = members.slice(position, 1).to_pylist()
    seek_data(file, member["offset"])
    return ArchiveMember(
        archive,
        member["name"],
        file.tell(),
        member["packed"],
        member["size"],
        member["method"] == zipfile.ZIP_DEFLATED,
        member["checksum"],
    )
