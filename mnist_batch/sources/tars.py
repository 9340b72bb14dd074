"""Images in a `.tar` or `.tar.gz`, read in place: listed once through, then each member is read from its offset.

A gzip stream has no middle to start from: reading on is cheap, a cold start inflates what lies before, once.
"""

from __future__ import annotations

import gzip
import tarfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, cast

import pyarrow as pa

from mnist_batch.config import ReadOptions
from mnist_batch.errors import InputError
from mnist_batch.images.header import HEAD_SIZE
from mnist_batch.names import text_of
from mnist_batch.records import EncodedRows, Refusal, RejectReason, Rows
from mnist_batch.sources.idx import is_gzip, open_plain_or_gzip
from mnist_batch.sources.members import CLASS_FILE_BYTES, MemberList, ids_and_labels, too_large
from mnist_batch.sources.protocol import display_name, repr_of

_BLOCK = tarfile.BLOCKSIZE
_SKIP_CHUNK = 1 << 20
# `tarfile` reads headers of any length whole; those of long names and attributes have some hundred bytes.
_MOST_HEADER_BYTES = 1 << 20
# GNU tar fills up with zeros to 10 KB, a tape drive to its block; zeros without end are no archive.
_MOST_BYTES_AFTER = 64 << 20


@dataclass(frozen=True, slots=True)
class TarSource:
    """The images of one tar. members: a table of `name`, `label` (int8 or null), `offset` and `size` (int64).

    The size is null where a member is not stored as one piece.
    """

    path: Path
    name: str
    members: pa.Table
    labelled: bool
    skipped: Mapping[str, int]
    format: str

    @property
    def rows(self) -> int:
        return self.members.num_rows

    @property
    def companions(self) -> Sequence[Path]:
        return []

    def boundaries(self) -> Sequence[int]:
        return [0, self.rows]

    def open(self) -> TarReader:
        return TarReader(self)

    def __repr__(self) -> str:
        return repr_of(self)


class TarReader:
    def __init__(self, source: TarSource) -> None:
        self._source = source
        self._file = open_plain_or_gzip(source.path)

    def read(self, start: int, stop: int) -> Sequence[Rows]:
        members = self._source.members.slice(start, stop - start)
        places = (members["offset"].to_pylist(), members["size"].to_pylist())
        return [EncodedRows(*ids_and_labels(self._source.name, members), map(self._member, *places))]

    def close(self) -> None:
        self._file.close()

    def _member(self, offset: int, size: int | None) -> bytes | Refusal:
        if size is None:
            return Refusal(RejectReason.UNREADABLE, "a sparse file: pack it anew without --sparse")
        if (refusal := too_large(size)) is not None:
            return refusal
        try:
            self._file.seek(offset)
            content = self._file.read(size)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise _broken(self._source.path, str(error)) from error
        if len(content) < size:
            raise InputError(
                f"{self._source.path}: must stay as it was when the run began, is shorter now: start again"
            )
        return content


def open_tar(path: Path, root: Path, options: ReadOptions) -> Sequence[TarSource]:
    """The source for the images in a tar, plain or gzip.

    Raises InputError where a header is damaged, or the file ends before tar's (or gzip's) own end mark.
    """
    places: list[tuple[int, int | None]] = []
    listing = MemberList(path, options)
    with open_plain_or_gzip(path) as plain:
        file = _LastBlock(plain)
        try:
            with tarfile.open(
                fileobj=cast(IO[bytes], file), mode="r:", encoding="utf-8", errors="surrogateescape"
            ) as archive:
                for member in archive:
                    archive.members = []  # type: ignore[attr-defined]  # typeshed forgot it; it would keep every member seen
                    raw = member.name.encode("utf-8", "surrogateescape")
                    if member.size < 0:  # it would lead back to a header that was read
                        raise tarfile.ReadError(f"{text_of(raw)} has {member.size} bytes")
                    if member.isdir():
                        continue
                    if not member.isreg():
                        kind = "(link)" if member.issym() or member.islnk() else "(special file)"
                        listing.skipped[kind] += 1
                        continue
                    head = partial(_peek, plain, member.offset_data, HEAD_SIZE)
                    text = partial(_peek, plain, member.offset_data, min(member.size, CLASS_FILE_BYTES))
                    if listing.add(raw, head, text):
                        places.append((member.offset_data, None if member.issparse() else member.size))
            _check_end(path, file.last, plain)
        except (tarfile.TarError, EOFError, ValueError, OverflowError, zlib.error, gzip.BadGzipFile) as error:
            raise _broken(path, str(error)) from error
    columns = listing.columns() | {
        "offset": pa.array([offset for offset, _ in places], pa.int64()),
        "size": pa.array([size for _, size in places], pa.int64()),
    }
    members = pa.table(columns)
    labelled = members["label"].null_count < members.num_rows
    form = "tar.gz" if is_gzip(path) else "tar"
    return [TarSource(path, display_name(path, root), members, labelled, listing.skipped, form)]


def _check_end(path: Path, last: bytes, file: IO[bytes]) -> None:
    """Reads on to the end of the file, where gzip's checksum is. Raises InputError where a tar does not end so."""
    if last != bytes(_BLOCK):
        raise _broken(path, "it ends, or is damaged, before the two empty blocks that end a tar")
    after = 0
    while chunk := file.read(_SKIP_CHUNK):
        after += len(chunk)
        if after > _MOST_BYTES_AFTER:
            raise _broken(path, f"more than {_MOST_BYTES_AFTER} bytes follow on its end mark")


class _LastBlock:
    """A file that remembers the last block read from it: `tarfile` ends at a damaged header as at the end mark."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.last = b""

    def read(self, size: int) -> bytes:
        if not 0 <= size <= _MOST_HEADER_BYTES:
            raise tarfile.ReadError(f"a header has {size} bytes")
        self.last = self._file.read(size)
        return self.last

    def seek(self, position: int) -> int:
        return self._file.seek(position)

    def tell(self) -> int:
        return self._file.tell()


def _peek(file: IO[bytes], offset: int, size: int) -> bytes:
    file.seek(offset)
    return file.read(size)


def _broken(path: Path, cause: str) -> InputError:
    return InputError(f"{path}: tar must be whole, but: {cause}; it was probably cut off: fetch it again")
