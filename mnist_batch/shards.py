"""Shards: the unit of work, of retry and of distribution.

This module only knows row numbers, not files or images.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

# The number of sampled rows, and of positions they are taken from: a sorted folder begins with a single class.
SAMPLE_ROWS, SAMPLE_POSITIONS = 512, 16


@dataclass(frozen=True, slots=True)
class Span:
    """Rows start..stop (exclusive) of one source. source: index in the plan's list of sources."""

    source: int
    start: int
    stop: int

    @property
    def rows(self) -> int:
        return self.stop - self.start


@dataclass(frozen=True, slots=True)
class Shard:
    """Consecutive rows of a run, possibly from several sources. first_row: counted from the start of the run."""

    index: int
    first_row: int
    spans: tuple[Span, ...]

    @property
    def rows(self) -> int:
        return sum(span.rows for span in self.spans)

    def chunks(self, size: int) -> Iterator[tuple[Span, ...]]:
        """Splits the shard into chunks of `size` rows; the last chunk may be smaller."""
        group: list[Span] = []
        room = size
        for span in self.spans:
            start = span.start
            while start < span.stop:
                stop = min(span.stop, start + room)
                group.append(Span(span.source, start, stop))
                room -= stop - start
                start = stop
                if room == 0:
                    yield tuple(group)
                    group, room = [], size
        if group:
            yield tuple(group)


def spread_sample(spans: Sequence[Span], rows: int = SAMPLE_ROWS, positions: int = SAMPLE_POSITIONS) -> Iterator[Span]:
    """Picks about `rows` rows, in order, from `positions` evenly spaced positions; all if there are no more."""
    whole = sum(span.rows for span in spans)
    if whole <= rows:
        yield from spans
        return
    starts = [position * whole // positions for position in range(positions)]
    wanted = [(start, start + rows // positions) for start in starts]
    first = 0
    for span in spans:
        for start, stop in wanted:
            low, high = max(start - first, 0), min(stop - first, span.rows)
            if low < high:
                yield Span(span.source, span.start + low, span.start + high)
        first += span.rows


def cut_shards(spans: Iterable[Span], rows_per_part: int) -> Iterator[Shard]:
    """Cuts rows into shards of at most `rows_per_part` rows. Every row is in exactly one shard, in order.

    A span is a group of rows that should not be split, such as a Parquet row group. If a span does not fit into a shard
    that is at least half full, a new shard starts before it. Empty spans are dropped.
    """
    assert rows_per_part >= 1, rows_per_part
    index = first_row = filled = 0
    current: list[Span] = []

    def close() -> Shard:
        nonlocal index, first_row, filled, current
        shard = Shard(index, first_row, tuple(current))
        index, first_row, filled, current = index + 1, first_row + filled, 0, []
        return shard

    for span in spans:
        if filled + span.rows > rows_per_part >= span.rows and filled * 2 >= rows_per_part:
            yield close()
        start = span.start
        while start < span.stop:
            stop = min(span.stop, start + rows_per_part - filled)
            current.append(Span(span.source, start, stop))
            filled += stop - start
            start = stop
            if filled == rows_per_part:
                yield close()
    if current:
        yield close()
