"""What every source of images must do. `tests/contracts.py` holds each implementation to it."""

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
    """The error for a file that was there when the run was planned."""
    return InputError(f"{path}: must stay in place while it is scored, is gone: start again")


@dataclass(frozen=True, slots=True)
class Stamp:
    """What a file was when the run was planned. size: bytes; changed: time of the last change, ns since 1970."""

    size: int
    changed: int

    @classmethod
    def of(cls, status: os.stat_result) -> Stamp:
        return cls(status.st_size, status.st_mtime_ns)

    def check(self, path: Path) -> None:
        """Raises InputError where the file at `path` is gone or is another by now."""
        try:
            now = Stamp.of(path.stat())
        except FileNotFoundError:
            raise missing_file(path) from None
        if now != self:
            raise InputError(
                f"{path}: must not change while it is scored, had {self.size} bytes and has {now.size}"
                f"{' of another time' if now.size == self.size else ''}: start again when it is complete"
            )


class Reader(Protocol):
    """An open source. Reading on from where the last call ended is cheap; going back may start over."""

    def read(self, start: int, stop: int) -> Iterable[Rows]:
        """Rows start..stop, each once and in stored order, in pieces; a piece is done with before the next is taken.

        0 <= start < stop <= the source's rows, a few thousand of them. Errors may come as the pieces are iterated over.
        """
        ...

    def close(self) -> None:
        """Gives back what is held open; the reader is not used again."""
        ...


class Source(Protocol):
    """A planned container of images. Frozen and picklable, so that any worker can read any part of it.

    name: what its rows' ids begin with, unique in a run; rows: how many it holds, images and rejects to be;
    labelled: whether labels may come with the rows; `repr` tells format, name and rows.
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
        """How many entries inside were neither images nor labels, by suffix."""
        ...

    @property
    def sidecars(self) -> Sequence[Path]:
        """Files besides the container itself that decide what comes out, such as a label file."""
        ...

    def split_points(self) -> Sequence[int]:
        """Row numbers, 0 and `rows` included, at which a shard had better be cut."""
        ...

    def open(self) -> Reader: ...


def format_repr(source: Source) -> str:
    """The `repr` of a source whose rows are in a table."""
    return f"{type(source).__name__}(format={source.format!r}, name={source.name!r}, rows={source.rows})"


def display_name(path: Path, root: Path) -> str:
    """How a file is named in ids: its path below `root`, `/`-separated."""
    return to_text(os.fsencode(path.relative_to(root).as_posix()))


def suffix_of(path: bytes) -> str:
    """The kind under which a skipped file is counted: `.txt`, or its name where there is no suffix."""
    name = path.rsplit(b"/", 1)[-1]
    stem, dot, suffix = name.rpartition(b".")
    return to_text(dot + suffix if stem else name).lower()
