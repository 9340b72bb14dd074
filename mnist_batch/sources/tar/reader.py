"""Images in a tar, plain or gzip. The tar is listed once; each member is then read from its offset.

A gzip stream can only be read from its start. Reading on is cheap; a reader that starts at a later row inflates all
that comes before it, once.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa

from mnist_batch.errors import InputError
from mnist_batch.records import EncodedRows, ImageError, Ints, RejectReason, Rows
from mnist_batch.sources.archive_member import ArchiveMember
from mnist_batch.sources.gzipped import GZIP_ERRORS, is_gzip, open_plain_or_gzip
from mnist_batch.sources.head import MAX_HEAD_BYTES
from mnist_batch.sources.members import (
    ArchiveSource,
    MayBeContainer,
    check_encoded_size,
    contiguous_runs,
    find_images,
    ids_and_labels,
)
from mnist_batch.sources.protocol import Container
from mnist_batch.sources.tar.listing import list_tar, tar_error

# Used as the size of a sparse file; larger than any member.
_SPARSE_SIZE = 2**62
# Raised by `tarfile` and gzip if a header or the stream is damaged.
_UNREADABLE: tuple[type[Exception], ...] = (tarfile.TarError, ValueError, OverflowError, *GZIP_ERRORS)


@dataclass(frozen=True, slots=True, repr=False)
class TarSource(ArchiveSource):
    """The images of one tar.

    members: a table of `name`, `label` (int8 or null), `offset` and `size` (int64). The size is null if a member is not
        stored in one piece.
    """

    def open(self) -> TarReader:
        return TarReader(self)


class TarReader:
    def __init__(self, source: TarSource) -> None:
        self._source = source
        self._file = open_plain_or_gzip(source.path)

    def read(self, start: int, stop: int) -> Sequence[Rows]:
        members = self._source.members.slice(start, stop - start)
        return [EncodedRows(*ids_and_labels(self._source.name, members), self._read_images(members))]

    def close(self) -> None:
        self._file.close()

    def _read_images(self, members: pa.Table) -> Iterator[bytes | ImageError]:
        offsets, sizes = members["offset"].to_numpy(), members["size"].fill_null(_SPARSE_SIZE).to_numpy()
        for first, stop in contiguous_runs(offsets, sizes):
            if sizes[first] == _SPARSE_SIZE:
                yield ImageError(RejectReason.UNREADABLE, "a sparse file: pack it again without --sparse")
            elif (image_error := check_encoded_size(int(sizes[first]))) is not None:
                yield image_error
            else:
                yield from self._read_run(offsets[first:stop], sizes[first:stop])

    def _read_run(self, offsets: Ints, sizes: Ints) -> list[bytes]:
        """Reads members that are side by side."""
        starts = offsets - offsets[0]
        stops = starts + sizes
        try:
            self._file.seek(int(offsets[0]))
            content = self._file.read(int(stops[-1]))
        except GZIP_ERRORS as error:
            raise tar_error(self._source.path, str(error)) from error
        if len(content) < stops[-1]:
            raise InputError(
                f"{self._source.path}: must stay as it was when the run began, is shorter now: start again"
            )
        return [content[start:stop] for start, stop in zip(starts.tolist(), stops.tolist(), strict=True)]


def open_tar(container: Container, may_be_container: MayBeContainer) -> Sequence[TarSource]:
    """The source for the images in a tar, plain or gzip.

    Raises InputError if a header is damaged, or if the file ends before the end mark of tar or gzip.
    """
    path = container.path
    try:
        listing = list_tar(path)
        with open_plain_or_gzip(path) as file:

            def first_bytes(position: int) -> bytes:
                file.seek(listing.members["offset"][position].as_py())
                return file.read(min(MAX_HEAD_BYTES, listing.members["size"][position].as_py() or 0))

            images = find_images(path, listing.members["name"], first_bytes, container.options, may_be_container)
    except _UNREADABLE as error:
        raise tar_error(path, str(error)) from error
    members = images.to_table(listing.members)
    skipped = images.skipped + listing.skipped
    rows = listing.members.take(images.containers).to_pylist()
    containers = [ArchiveMember(path, row["name"], row["offset"], row["size"], row["size"]) for row in rows]
    format = "tar.gz" if is_gzip(path) else "tar"
    return [TarSource(path, container.name, members, images.labelled, containers, skipped, images.warnings, format)]
