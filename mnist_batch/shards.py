"""The plan's arithmetic: runs of rows cut into shards, the unit of work, of retry and of distribution.

Knows row numbers only, neither files nor images.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Span:
    """Rows start..stop of one source, by its place in the plan's list."""

    source: int
    start: int
    stop: int

    @property
    def rows(self) -> int:
        return self.stop - self.start


@dataclass(frozen=True, slots=True)
class Shard:
    """Consecutive rows of the run, across sources where they are small; `first_row` counts from the run's start."""

    index: int
    first_row: int
    spans: tuple[Span, ...]

    @property
    def rows(self) -> int:
        return sum(span.rows for span in self.spans)

    def chunks(self, size: int) -> Iterator[tuple[Span, ...]]:
        """The shard's spans in groups of `size` rows, the last one smaller."""
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
    """About `rows` of the rows, in order, from `positions` places at equal distances; all where there are no more."""
    whole = sum(span.rows for span in spans)
    if whole <= rows:
        yield from spans
        return
    wanted = [
        (position * whole // positions, position * whole // positions + rows // positions)
        for position in range(positions)
    ]
    first = 0
    for span in spans:
        for start, stop in wanted:
            low, high = max(start - first, 0), min(stop - first, span.rows)
            if low < high:
                yield Span(span.source, span.start + low, span.start + high)
        first += span.rows


def cut_shards(runs: Iterable[Span], rows_per_part: int) -> Iterator[Shard]:
    """Shards of at most `rows_per_part` rows that hold every row of `runs` once, in order; empty runs vanish.

    A run is something better not split, such as a Parquet row group: where it does not fit into what is left of a
    shard that is at least half full, the shard ends before it.
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
