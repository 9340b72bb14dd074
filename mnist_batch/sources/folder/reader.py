"""Image files under a folder, at any depth, as one source."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import repeat
from pathlib import Path

import pyarrow as pa

from mnist_batch.errors import StorageError
from mnist_batch.names import to_text
from mnist_batch.records import EncodedRows, ImageError, RejectReason, Rows, text_array
from mnist_batch.sources.folder.prefetch import FilePrefetcher, can_prefetch
from mnist_batch.sources.members import check_encoded_size
from mnist_batch.sources.protocol import Stamp, format_repr, missing_file

# Files for which a process that reads them ahead is started.
_MIN_PREFETCHED = 4096


@dataclass(frozen=True, slots=True)
class FolderSource:
    """The image files below `root`.

    files: a table of `path` (binary, relative to root), `label` (int8 or null), and what each file was when it was
    listed, `size` and `changed` (int64, as in `Stamp`).
    """

    root: Path
    files: pa.Table
    labelled: bool
    format: str = field(default="images", init=False)

    @property
    def name(self) -> str:
        return ""

    @property
    def rows(self) -> int:
        return self.files.num_rows

    @property
    def skipped(self) -> Mapping[str, int]:
        return Counter()  # whoever listed the folder counted what it left alone

    @property
    def sidecars(self) -> Sequence[Path]:
        return []

    def split_points(self) -> Sequence[int]:
        return [0, self.rows]

    def open(self) -> FolderReader:
        return FolderReader(self)

    def __repr__(self) -> str:
        return format_repr(self)


class FolderReader:
    def __init__(self, source: FolderSource) -> None:
        self._source = source
        self._root = os.path.join(os.fsencode(source.root), b"")  # noqa: PTH118  (bytes: a name may be no UTF-8)
        # Where the last rows ended that were read, and from then on what has been read ahead.
        self._stop = -1
        self._prefetcher: FilePrefetcher | None = None

    def read(self, start: int, stop: int) -> Sequence[Rows]:
        files = self._source.files.slice(start, stop - start)
        labels = files["label"].combine_chunks().cast(pa.int32())
        images = self._images(files, self._prefetch(start, stop))
        return [EncodedRows(text_array(files["path"].combine_chunks()), labels, images)]

    def _prefetch(self, start: int, stop: int) -> Iterator[bytes | None]:
        """What has been read of these rows already; only rows that follow on each other are read ahead."""
        following, self._stop = start == self._stop, stop
        if self._prefetcher is not None and self._prefetcher.position != start:
            self.close()
        if self._prefetcher is None and following and self._source.rows - start >= _MIN_PREFETCHED and can_prefetch():
            with suppress(OSError):  # then we do without
                self._prefetcher = FilePrefetcher(self._root, self._source.files, start)
        return repeat(None) if self._prefetcher is None else self._prefetcher.take(stop - start)

    def _images(self, files: pa.Table, read: Iterator[bytes | None]) -> Iterator[bytes | ImageError]:
        columns = (files[name].to_pylist() for name in ("path", "size", "changed"))
        for path, size, changed in zip(*columns, strict=True):
            content = next(read)
            yield read_file(self._root + path, size, changed) if content is None else content

    def close(self) -> None:
        if self._prefetcher is not None:
            self._prefetcher.close()
            self._prefetcher = None


def read_file(path: bytes, size: int, changed: int) -> bytes | ImageError:
    """The content of a file, or why it is refused; size, changed: what it was when it was listed, as in `Stamp`.

    Raises InputError where it is gone or another by now, StorageError where reading fails.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            status = os.fstat(descriptor)
            if status.st_size != size or status.st_mtime_ns != changed:
                Stamp(size, changed).check(Path(os.fsdecode(path)))
            if (image_error := check_encoded_size(size)) is not None:
                return image_error
            # One byte more than promised: a file that grows while it is read is seen to.
            content = os.read(descriptor, size + 1)
            while len(content) < size and (more := os.read(descriptor, size + 1 - len(content))):
                content += more
        finally:
            os.close(descriptor)
    except FileNotFoundError as error:
        raise missing_file(to_text(path)) from error
    except PermissionError as error:
        return ImageError(RejectReason.UNREADABLE, str(error.strerror))
    except OSError as error:
        raise StorageError(f"{to_text(path)}: must be readable, but: {error.strerror}; start again to go on") from error
    return content
