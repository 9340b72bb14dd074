"""Rows of planned sources, read and brought to MNIST form, with what goes wrong meanwhile told as what it is."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from mnist_batch.config import PreprocessOptions
from mnist_batch.errors import StorageError
from mnist_batch.images.preprocess import preprocess
from mnist_batch.records import ImageBatch, Rows, concat_batches
from mnist_batch.shards import Shard, Span
from mnist_batch.sources.protocol import Reader, Source, Stamp, missing_file
from mnist_batch.timing import Stage, Stopwatch

T = TypeVar("T")

# Batches read before they are asked for: the next shard's first, while the last one's are scored and written.
_AHEAD = 4


@dataclass(frozen=True, slots=True)
class Chunk:
    """As many rows of a shard as the model takes at once.

    first_row: counted from the run's start; parts: by span, in order; seconds: by stage, to read them.
    """

    first_row: int
    parts: Sequence[tuple[Span, ImageBatch]]
    seconds: Mapping[str, float]


class Readers:
    """Keeps the source that was read last open, for the next shard usually goes on in it. One for each worker.

    stamps: for each source, the files it reads and what they were when the run was planned.
    """

    def __init__(
        self, sources: Sequence[Source], stamps: Sequence[Mapping[Path, Stamp]], preprocess_options: PreprocessOptions
    ) -> None:
        self._sources = sources
        self._stamps = stamps
        self._preparation = preprocess_options
        self._watch = Stopwatch()
        self._index: int | None = None
        self._reader: Reader | None = None

    def chunks(self, shards: Iterable[Shard], size: int) -> Iterator[Chunk]:
        """The rows of all these shards, prepared, in chunks of `size` rows, of which each shard's last may be smaller.

        Raises InputError where the input is gone, StorageError where reading fails.
        """
        for shard in shards:
            row = shard.first_row
            for spans in shard.chunks(size):
                parts = [(span, self.read(span)) for span in spans]
                yield Chunk(row, parts, self._watch.lap())
                row += sum(span.rows for span in spans)

    def read(self, span: Span) -> ImageBatch:
        """The rows of a span, prepared. Raises as `chunks` does."""
        return concat_batches(self.each(span, lambda rows: preprocess(rows, self._preparation, self._watch)))

    def each(self, span: Span, use: Callable[[Rows], T]) -> list[T]:
        """What `use` makes of each piece of a span's rows, in order. Raises as `read` does, also while it is used."""
        source = self._sources[span.source]
        try:
            if self._reader is None or span.source != self._index:
                self.close()
                self._reader, self._index = source.open(), span.source
            used: list[T] = []
            pieces = iter(self._reader.read(span.start, span.stop))
            while True:
                with self._watch.stage(Stage.READ):
                    rows = next(pieces, None)
                if rows is None:
                    return used
                used.append(use(rows))
        except FileNotFoundError as error:
            raise missing_file(error.filename) from error
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


class ReadAhead(Iterator[Chunk]):
    """Chunks, a few of them read before they are asked for, in a thread of its own. To be closed before their source.

    What reading a chunk raises is raised where that chunk is asked for.
    """

    def __init__(self, chunks: Iterator[Chunk]) -> None:
        self._chunks = chunks
        self._thread = ThreadPoolExecutor(1, "reader")
        self._pending: deque[Future[Chunk | None]] = deque()
        for _ in range(_AHEAD):
            self._ask()

    def __next__(self) -> Chunk:
        chunk = self._pending.popleft().result()
        if chunk is None:
            raise StopIteration
        self._ask()
        return chunk

    def close(self) -> None:
        """Reads no further."""
        self._thread.shutdown(cancel_futures=True)

    def _ask(self) -> None:
        self._pending.append(self._thread.submit(next, self._chunks, None))
