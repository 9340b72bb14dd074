"""The contract for sources of images. `tests/contracts.py` writes the same digits in every format to check it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from mnist_batch.errors import InputError
from mnist_batch.names import to_text
from mnist_batch.records import Rows


def missing_file(path: object) -> InputError:
    """The error for a file that has disappeared since the run was planned."""
    return InputError(f"{path}: must stay in place while it is scored, is gone: start again")


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
    @property
    def skipped(self) -> Mapping[str, int]:
        """The number of entries inside that are neither images nor labels, by suffix."""
        ...

    @property
    def sidecars(self) -> Sequence[Path]:
        """Files besides the container that affect the rows, such as a label file."""
        ...

    def split_points(self) -> Sequence[int]:
        """Row numbers where shards should be cut if possible, in order, including 0 and `rows`."""
        ...

    def open(self) -> Reader: ...


def format_repr(source: Source) -> str:
    """The `repr` of a source that holds its rows in a table."""
    return f"{type(source).__name__}(format={source.format!r}, name={source.name!r}, rows={source.rows})"


def display_name(path: Path, root: Path) -> str:
    """A file's name in ids: its path relative to `root`, separated by `/`."""
    return to_text(os.fsencode(path.relative_to(root).as_posix()))


def suffix_of(path: bytes) -> str:
    """The suffix under which a skipped file is counted, such as `.txt`, or its name if it has no suffix. Lower case."""
    name = path.rsplit(b"/", 1)[-1]
    stem, dot, suffix = name.rpartition(b".")
    return to_text(dot + suffix if stem else name).lower()
