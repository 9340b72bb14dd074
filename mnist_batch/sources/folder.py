"""Image files under a folder, at any depth, as one source."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from mnist_batch.errors import StorageError
from mnist_batch.names import text_of
from mnist_batch.records import EncodedRows, Refusal, RejectReason, Rows, text_array
from mnist_batch.sources.members import too_large
from mnist_batch.sources.protocol import Stamp, gone, repr_of


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
    def companions(self) -> Sequence[Path]:
        return []

    def boundaries(self) -> Sequence[int]:
        return [0, self.rows]

    def open(self) -> FolderReader:
        return FolderReader(self)

    def __repr__(self) -> str:
        return repr_of(self)


class FolderReader:
    def __init__(self, source: FolderSource) -> None:
        self._source = source
        self._root = os.path.join(os.fsencode(source.root), b"")  # noqa: PTH118  (bytes: a name may be no UTF-8)

    def read(self, start: int, stop: int) -> Sequence[Rows]:
        files = self._source.files.slice(start, stop - start)
        labels = files["label"].combine_chunks().cast(pa.int32())
        paths, sizes, changes = (files[name].to_pylist() for name in ("path", "size", "changed"))
        return [
            EncodedRows(text_array(files["path"].combine_chunks()), labels, map(self._image, paths, sizes, changes))
        ]

    def _image(self, path: bytes, size: int, changed: int) -> bytes | Refusal:
        return read_file(self._root + path, size, changed)

    def close(self) -> None:
        pass


def read_file(path: bytes, size: int, changed: int) -> bytes | Refusal:
    """The content of a file, or why it is refused; size, changed: what it was when it was listed, as in `Stamp`.

    Raises InputError where it is gone or another by now, StorageError where reading fails.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            status = os.fstat(descriptor)
            if status.st_size != size or status.st_mtime_ns != changed:
                Stamp(size, changed).check(Path(os.fsdecode(path)))
            if (refusal := too_large(size)) is not None:
                return refusal
            # One byte more than promised: a file that grows while it is read is seen to.
            content = os.read(descriptor, size + 1)
            while len(content) < size and (more := os.read(descriptor, size + 1 - len(content))):
                content += more
        finally:
            os.close(descriptor)
    except FileNotFoundError as error:
        raise gone(text_of(path)) from error
    except PermissionError as error:
        return Refusal(RejectReason.UNREADABLE, str(error.strerror))
    except OSError as error:
        raise StorageError(f"{text_of(path)}: must be readable, but: {error.strerror}; start again to go on") from error
    return content
