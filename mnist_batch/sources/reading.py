"""Rows of planned sources, read and brought to MNIST form, with what goes wrong meanwhile told as what it is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from mnist_batch.config import Preparation
from mnist_batch.errors import StorageError
from mnist_batch.images.batches import prepared
from mnist_batch.records import ImageBatch, Rows, concat_batches
from mnist_batch.shards import Span
from mnist_batch.sources.protocol import Reader, Source, Stamp, gone

T = TypeVar("T")


class Readers:
    """Keeps the source that was read last open, for the next shard usually goes on in it. One for each worker.

    stamps: for each source, the files it reads and what they were when the run was planned.
    """

    def __init__(
        self, sources: Sequence[Source], stamps: Sequence[Mapping[Path, Stamp]], preparation: Preparation
    ) -> None:
        self._sources = sources
        self._stamps = stamps
        self._preparation = preparation
        self._index: int | None = None
        self._reader: Reader | None = None

    def read(self, span: Span) -> ImageBatch:
        """The rows of a span, prepared. Raises InputError where the input is gone, StorageError where reading fails."""
        return concat_batches(self.each(span, lambda rows: prepared(rows, self._preparation)))

    def each(self, span: Span, use: Callable[[Rows], T]) -> list[T]:
        """What `use` makes of each piece of a span's rows, in order. Raises as `read` does, also while it is used."""
        source = self._sources[span.source]
        try:
            if self._reader is None or span.source != self._index:
                self.close()
                self._reader, self._index = source.open(), span.source
            return [use(rows) for rows in self._reader.read(span.start, span.stop)]
        except FileNotFoundError as error:
            raise gone(error.filename) from error
        except Exception as error:
            # Whatever a reader stumbles over in a file that is not the one that was planned, that is what is wrong.
            self.check_unchanged([span])
            if isinstance(error, OSError):
                raise StorageError(f"{source!r}: must be readable, but: {error}; start again once it is") from error
            raise

    def check_unchanged(self, spans: Iterable[Span]) -> None:
        """Raises InputError where a file of these spans is not what it was when the run was planned."""
        for source in {span.source for span in spans}:
            for path, stamp in self._stamps[source].items():
                stamp.check(path)

    def close(self) -> None:
        if self._reader is not None:
            self._reader.close()
            self._reader = None
