"""The contract for sources of images. `tests/contracts.py` writes the same digits in every format to check it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import IO, Literal, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mnist_batch.config import ReadOptions
from mnist_batch.errors import InputError
from mnist_batch.names import to_text
from mnist_batch.records import Rows
from mnist_batch.regular_files import open_regular


def missing_file(path: object) -> InputError:
    """The error for a file that has disappeared since the run was planned."""
    return InputError(f"{path}: must stay in place while it is scored, is gone: start again")


class File(Protocol):
    """A file to read: a `Path`, or a member of an archive. `str()` gives its name for messages."""

    @property
    def name(self) -> str: ...
    @property
    def parent(self) -> PurePath: ...
    def open(self, mode: Literal["rb"]) -> IO[bytes]: ...


def open_file(file: File) -> IO[bytes]:
    """Opens a file for reading. Raises OSError if a pipe or a device has taken its place, instead of waiting."""
    return open_regular(file) if isinstance(file, Path) else file.open("rb")


@dataclass(frozen=True, slots=True)
class Stamp:
    """The state of a file when the run was planned.

    size: bytes.
    changed: modification time, ns since 1970.
    """

    size: int
    changed: int

    @classmethod
    def of(cls, status: os.stat_result) -> Stamp:
        return cls(status.st_size, status.st_mtime_ns)

    def check(self, path: Path) -> None:
        """Raises InputError if the file at `path` is gone or has changed."""
        try:
            now = Stamp.of(path.stat())
        except FileNotFoundError:
            raise missing_file(path) from None
        if now != self:
            same_size = ", with another modification time" if now.size == self.size else ""
            raise InputError(
                f"{path}: must not change while it is scored, had {self.size} bytes and has {now.size}{same_size}: "
                "start again when it is complete"
            )


class NotImages(Exception):
    """A container has a known format, but is not a collection of images. kind: what it is, for counts and messages."""

    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self.kind = kind


class Reader(Protocol):
    """An open source. Reading on from where the last call ended is cheap; going back may start over."""

    def read(self, start: int, stop: int) -> Iterable[Rows]:
        """Reads the rows start..stop in pieces, each row once and in stored order.

        0 <= start < stop <= the source's rows, and the range is a few thousand rows. The caller finishes with one piece
        before it takes the next. Errors may be raised while the pieces are iterated over.
        """
        ...

    def close(self) -> None:
        """Releases open files and subprocesses. The reader is not used afterwards."""
        ...


class Source(Protocol):
    """One planned container of images. Frozen and picklable, so that any worker can read any part of it.

    name: the beginning of its rows' ids, unique in a run.
    rows: the number of rows, including those that will become rejects.
    labelled: whether rows may come with labels.
    `repr` shows format, name and rows.
    """

    @property
    def format(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def rows(self) -> int: ...
    @property
    def labelled(self) -> bool: ...
    def count_skipped(self) -> Mapping[str, int]:
        """Returns the number of entries inside that are neither images nor labels, by suffix."""
        ...

    def list_sidecars(self) -> Sequence[File]:
        """Returns the files besides the container that affect the rows, such as a label file."""
        ...

    def list_kept_columns(self) -> Sequence[pa.Field]:
        """Returns the columns that are copied to the output."""
        ...

    def list_warnings(self) -> Sequence[str]:
        """Returns what a person should know about how the rows are read, one line each."""
        ...

    @property
    def numbered(self) -> bool:
        """Whether rows are identified by their number, so that labels by position can belong to them."""
        ...

    def list_names(self) -> pa.StringArray:
        """Returns the ids of all rows, if they are the names of files. Otherwise returns none."""
        ...

    def split_points(self) -> Sequence[int]:
        """Returns the row numbers where shards should be cut if possible, in order, including 0 and `rows`."""
        ...

    def open(self) -> Reader: ...


class SourceDefaults:
    """What a source is unless it says otherwise: a container that nothing is skipped in, and that needs no other file.

    A base class for sources. Declare them with `dataclass(repr=False)`.
    """

    __slots__ = ()

    def count_skipped(self) -> Mapping[str, int]:
        return {}

    def list_sidecars(self) -> Sequence[File]:
        return []

    def list_kept_columns(self) -> Sequence[pa.Field]:
        return []

    def list_warnings(self) -> Sequence[str]:
        return []

    @property
    def numbered(self) -> bool:
        return True

    def list_names(self) -> pa.StringArray:
        return pa.array([], pa.string())

    def split_points(self: Source) -> Sequence[int]:
        return [0, self.rows]

    def __repr__(self: Source) -> str:
        return f"{type(self).__name__}(format={self.format!r}, name={self.name!r}, rows={self.rows})"


@dataclass(frozen=True, slots=True)
class Container:
    """A file that a format is asked to open.

    name: its name in ids.
    siblings: of a member of an archive, the files in the same folder, by name.
    arrays: the arrays that were requested as `FILE:ARRAY`; without any, the format chooses.
    named: whether the file is itself an input, and not only found in a folder or an archive.
    """

    file: File
    name: str
    options: ReadOptions
    siblings: Mapping[str, File] = field(default_factory=dict)
    arrays: Sequence[str] = ()
    named: bool = True

    @property
    def path(self) -> Path:
        """The path of an archive. Archives inside archives are not opened."""
        if not isinstance(self.file, Path):
            raise AssertionError(f"{self.file} is not a file of its own")
        return self.file

    def find_beside(self, names: Iterable[str]) -> File | None:
        """Returns the first of these files in the same folder, None if there is none."""
        if isinstance(self.file, Path):
            paths = map(self.file.with_name, names)
            return next((path for path in paths if path.is_file()), None)
        return next((self.siblings[name] for name in names if name in self.siblings), None)


def display_name(path: Path, root: Path) -> str:
    """A file's name in ids: its path relative to `root`, separated by `/`."""
    return to_text(os.fsencode(path.relative_to(root).as_posix()))


def format_row_ids(name: str, start: int, stop: int) -> pa.StringArray:
    """Ids of the rows start..stop of a container without ids of its own: `NAME#ROW`, counted from 0."""
    rows = pa.array(np.arange(start, stop)).cast(pa.string())
    return pc.binary_join_element_wise(f"{name}#", rows, "")


def suffix_of(path: bytes) -> str:
    """The suffix under which a skipped file is counted, such as `.txt`, or its name if it has no suffix. Lower case."""
    name = path.rsplit(b"/", 1)[-1]
    stem, dot, suffix = name.rpartition(b".")
    return to_text(dot + suffix if stem else name).lower()
