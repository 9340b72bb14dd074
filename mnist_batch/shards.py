"""Shards: the unit of work, of retry and of distribution.

This module only knows row numbers, not files or images.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass


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


def spread_sample(spans: Sequence[Span], rows: int, positions: int) -> Iterator[Span]:
    """Picks about `rows` rows, in order, from `positions` evenly spaced positions; all rows if there are not more."""
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


def cut_shards(runs: Iterable[Span], rows_per_part: int) -> Iterator[Shard]:
    """Cuts rows into shards of at most `rows_per_part` rows. Every row is in exactly one shard, in order.

    A run is a group of rows that should not be split, such as a Parquet row group. If a run does not fit into a shard
    that is at least half full, a new shard starts before it. Empty runs are dropped.
    """
    assert rows_per_part >= 1, rows_per_part
    index = first_row = filled = 0
    spans: list[Span] = []

    def close() -> Shard:
        nonlocal index, first_row, filled, spans
        shard = Shard(index, first_row, tuple(spans))
        index, first_row, filled, spans = index + 1, first_row + filled, 0, []
        return shard

    for run in runs:
        if filled + run.rows > rows_per_part >= run.rows and filled * 2 >= rows_per_part:
            yield close()
        start = run.start
        while start < run.stop:
            stop = min(run.stop, start + rows_per_part - filled)
            spans.append(Span(run.source, start, stop))
            filled += stop - start
            start = stop
            if filled == rows_per_part:
                yield close()
    if spans:
        yield close()
