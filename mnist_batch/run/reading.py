"""Reads and preprocesses the rows of planned sources."""

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

# Chunks read ahead: the first of the next shard are read while the current shard is scored and written.
_CHUNKS_AHEAD = 4


@dataclass(frozen=True, slots=True)
class Chunk:
    """The rows of a shard that the model scores in one batch.

    first_row: row number counted from the start of the run.
    parts: the rows of each span, in order.
    seconds: the time to read them, by stage.
    """

    first_row: int
    parts: Sequence[tuple[Span, ImageBatch]]
    seconds: Mapping[str, float]


class Readers:
    """Reads any rows of a run. Each worker has its own.

    The source that was read last stays open, because the next shard usually continues in it.
    stamps: for each source, its files with their size and time of change when the run was planned.
    """

    def __init__(
        self, sources: Sequence[Source], stamps: Sequence[Mapping[Path, Stamp]], preprocess_options: PreprocessOptions
    ) -> None:
        self._sources = sources
        self._stamps = stamps
        self._preprocess_options = preprocess_options
        self._stopwatch = Stopwatch()
        self._index: int | None = None
        self._reader: Reader | None = None

    def chunks(self, shards: Iterable[Shard], size: int) -> Iterator[Chunk]:
        """Reads and preprocesses the shards in chunks of `size` rows. The last chunk of a shard may be smaller.

        Raises InputError if an input is missing or has changed, StorageError if reading fails.
        """
        for shard in shards:
            row = shard.first_row
            for spans in shard.chunks(size):
                parts = [(span, self.read(span)) for span in spans]
                yield Chunk(row, parts, self._stopwatch.lap())
                row += sum(span.rows for span in spans)

    def read(self, span: Span) -> ImageBatch:
        """Reads and preprocesses the rows of a span. Raises as `chunks` does."""
        return concat_batches(
            self.map_pieces(span, lambda rows: preprocess(rows, self._preprocess_options, self._stopwatch))
        )

    def map_pieces(self, span: Span, function: Callable[[Rows], T]) -> list[T]:
        """Applies `function` to each piece of the rows of a span, in order. Raises as `read` does."""
        source = self._sources[span.source]
        try:
            if self._reader is None or span.source != self._index:
                self.close()
                self._reader, self._index = source.open(), span.source
            results: list[T] = []
            pieces = iter(self._reader.read(span.start, span.stop))
            while True:
                with self._stopwatch.stage(Stage.READ):
                    rows = next(pieces, None)
                if rows is None:
                    return results
                results.append(function(rows))
        except FileNotFoundError as error:
            raise missing_file(error.filename) from error
        except Exception as error:
            # If the file was replaced after planning, that is the error to report.
            self.check_unchanged([span])
            if isinstance(error, OSError):
                raise StorageError(f"{source!r}: must be readable, but: {error}; start again once it is") from error
            raise

    def check_unchanged(self, spans: Iterable[Span]) -> None:
        """Raises InputError if a file of these spans has changed since the run was planned."""
        for source in {span.source for span in spans}:
            for path, stamp in self._stamps[source].items():
                stamp.check(path)

    def close(self) -> None:
        if self._reader is not None:
            self._reader.close()
            self._reader = None


class ReadAhead(Iterator[Chunk]):
    """Iterates over chunks and reads a few ahead in a thread. Close it before the source of the chunks.

    An exception raised while reading a chunk is raised by `__next__` for that chunk.
    """

    def __init__(self, chunks: Iterator[Chunk]) -> None:
        self._chunks = chunks
        self._thread = ThreadPoolExecutor(1, "reader")
        self._pending: deque[Future[Chunk | None]] = deque()
        for _ in range(_CHUNKS_AHEAD):
            self._submit()

    def __next__(self) -> Chunk:
        chunk = self._pending.popleft().result()
        if chunk is None:
            raise StopIteration
        self._submit()
        return chunk

    def close(self) -> None:
        """Stops reading."""
        self._thread.shutdown(cancel_futures=True)

    def _submit(self) -> None:
        self._pending.append(self._thread.submit(next, self._chunks, None))
