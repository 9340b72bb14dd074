"""Image files under a folder, at any depth, as one source."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import repeat
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from mnist_batch.errors import StorageError
from mnist_batch.names import to_text
from mnist_batch.records import EncodedPage, EncodedRows, ImageError, RejectReason, Rows, StoredImage, text_array
from mnist_batch.sources.folder.pages import format_page
from mnist_batch.sources.folder.prefetch import FilePrefetcher, can_prefetch
from mnist_batch.sources.members import check_encoded_size
from mnist_batch.sources.protocol import SourceDefaults, Stamp, missing_file

_PREFETCH_MIN_FILES = 4096


@dataclass(frozen=True, slots=True, repr=False)
class FolderSource(SourceDefaults):
    """The image files below `root`.

    files: a table of `path` (binary, relative to root), `label` (int8 or null), the state of each file when it was
        listed, `size` and `changed` (int64, as in `Stamp`), and `page` (int32), which is null except in a file of
        several pages, which has one row per page: the number of the page, as in `EncodedPage`.
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
    def numbered(self) -> bool:
        return False

    def list_names(self) -> pa.StringArray:
        return _format_ids(self.files)

    def open(self) -> FolderReader:
        return FolderReader(self)


class FolderReader:
    """Reads the files of a `FolderSource`.

    prefetch_min_files: files are prefetched if at least this many are left when reading turns out to be sequential.
    """

    def __init__(self, source: FolderSource, prefetch_min_files: int = _PREFETCH_MIN_FILES) -> None:
        self._source = source
        self._prefetch_min_files = prefetch_min_files
        self._root = os.path.join(os.fsencode(source.root), b"")  # noqa: PTH118  (bytes: a name may not be UTF-8)
        self._last_stop = -1
        self._prefetcher: FilePrefetcher | None = None
        # The path and the content of the last file of several pages.
        self._paged: tuple[bytes, bytes | ImageError] = b"", b""

    def read(self, start: int, stop: int) -> Sequence[Rows]:
        files = self._source.files.slice(start, stop - start)
        labels = files["label"].combine_chunks().cast(pa.int32())
        images = self._images(files, self._prefetch(start, stop))
        return [EncodedRows(_format_ids(files), labels, images)]

    def _prefetch(self, start: int, stop: int) -> Iterator[bytes | None]:
        """The prefetched contents of these rows, None for files that were not prefetched. Only sequential reads are."""
        sequential, self._last_stop = start == self._last_stop, stop
        if self._prefetcher is not None and self._prefetcher.position != start:
            self.close()
        enough_files = self._source.rows - start >= self._prefetch_min_files
        if self._prefetcher is None and sequential and enough_files and can_prefetch():
            with suppress(OSError):  # without a subprocess, this process reads the files
                self._prefetcher = FilePrefetcher(self._root, self._source.files, start)
        return repeat(None) if self._prefetcher is None else self._prefetcher.take(stop - start)

    def _images(self, files: pa.Table, prefetched: Iterator[bytes | None]) -> Iterator[StoredImage]:
        columns = (files[name].to_pylist() for name in ("path", "size", "changed", "page"))
        for path, size, changed, page in zip(*columns, strict=True):
            content: bytes | ImageError | None = next(prefetched)
            if page is not None and self._paged[0] == path:
                content = self._paged[1]
            elif content is None:
                content = _read_file(self._root + path, size, changed)
            if page is not None:
                self._paged = path, content
            yield content if page is None or isinstance(content, ImageError) else EncodedPage(content, page)

    def close(self) -> None:
        if self._prefetcher is not None:
            self._prefetcher.close()
            self._prefetcher = None


def _format_ids(files: pa.Table) -> pa.StringArray:
    """The path of each file. From the second page of a file on, the number of the page follows: `scan.tif:page2`."""
    ids = text_array(files["path"].combine_chunks())
    pages = files["page"].combine_chunks()
    if pages.null_count == len(pages):
        return ids
    suffixes = [format_page(page) if page else "" for page in pages.to_pylist()]
    return pc.binary_join_element_wise(ids, pa.array(suffixes, pa.string()), "")


def _read_file(path: bytes, size: int, changed: int) -> bytes | ImageError:
    """The content of a file, or the error that makes it a reject.

    size, changed: the file's state when it was listed, as in `Stamp`.
    Raises InputError if the file is gone or has changed, StorageError if reading fails.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            status = os.fstat(descriptor)
            if status.st_size != size or status.st_mtime_ns != changed:
                Stamp(size, changed).check(Path(os.fsdecode(path)))
            if (image_error := check_encoded_size(size)) is not None:
                return image_error
            # Asks for one byte more than expected: only a file that has grown meanwhile has it.
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
