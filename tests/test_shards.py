"""How rows are cut into shards and chunks, and how a sample is spread over them."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnist_batch.shards import Shard, Span, cut_shards, spread_sample

RUNS = st.lists(st.tuples(st.integers(0, 50), st.integers(0, 90)), max_size=30).map(
    lambda pairs: [Span(source, start, start + rows) for source, (rows, start) in enumerate(pairs)]
)
SIZES = st.integers(1, 40)


def rows(spans: list[Span] | tuple[Span, ...]) -> list[tuple[int, int]]:
    return [(span.source, row) for span in spans for row in range(span.start, span.stop)]


@given(RUNS, SIZES)
def test_every_row_is_in_one_shard_in_order(runs: list[Span], rows_per_part: int) -> None:
    shards = list(cut_shards(runs, rows_per_part))
    assert [row for shard in shards for row in rows(shard.spans)] == rows(runs)


@given(RUNS, SIZES)
def test_no_shard_is_empty_or_too_large(runs: list[Span], rows_per_part: int) -> None:
    for shard in cut_shards(runs, rows_per_part):
        assert 1 <= shard.rows <= rows_per_part
        assert all(span.rows > 0 for span in shard.spans)


@given(RUNS, SIZES)
def test_shards_know_index_and_first_row(runs: list[Span], rows_per_part: int) -> None:
    shards = list(cut_shards(runs, rows_per_part))
    assert [shard.index for shard in shards] == list(range(len(shards)))
    assert all(after.first_row == shard.first_row + shard.rows for shard, after in pairwise(shards))
    assert not shards or shards[0].first_row == 0


@given(RUNS, SIZES)
def test_half_full_shard_does_not_split_runs(runs: list[Span], rows_per_part: int) -> None:
    runs_by_source = {run.source: run for run in runs}
    for shard in cut_shards(runs, rows_per_part):
        filled = 0
        for span in shard.spans:
            run = runs_by_source[span.source]
            if span.start == run.start and span.rows < run.rows <= rows_per_part:
                assert filled * 2 < rows_per_part
            filled += span.rows


def test_row_group_moves_to_the_next_shard() -> None:
    runs = [Span(0, 0, 60), Span(0, 60, 120), Span(0, 120, 130)]
    assert [shard.spans for shard in cut_shards(runs, 100)] == [(runs[0],), (runs[1], runs[2])]


def test_row_group_fills_nearly_empty_shard() -> None:
    runs = [Span(0, 0, 40), Span(0, 40, 120)]
    assert [shard.rows for shard in cut_shards(runs, 100)] == [100, 20]


@pytest.mark.parametrize(
    ("first", "shards"),
    [
        (49, [100, 11]),  # less than half full: filled up
        (50, [50, 61]),
        (51, [51, 61]),
    ],
)
def test_shard_is_closed_if_half_full(first: int, shards: list[int]) -> None:
    rows_after = sum(shards) - first
    runs = [Span(0, 0, first), Span(1, 7, 7 + rows_after)]
    assert [shard.rows for shard in cut_shards(runs, 100)] == shards


def test_run_that_fits_exactly_is_not_moved() -> None:
    runs = [Span(0, 0, 60), Span(0, 60, 100), Span(0, 100, 160)]
    assert [shard.spans for shard in cut_shards(runs, 100)] == [(runs[0], runs[1]), (runs[2],)]


def test_run_as_large_as_a_shard_is_moved_whole() -> None:
    runs = [Span(0, 0, 60), Span(0, 60, 160), Span(0, 160, 261)]
    assert [shard.rows for shard in cut_shards(runs, 100)] == [60, 100, 100, 1]


def test_sample_takes_the_first_rows_of_each_position() -> None:
    runs = [Span(0, 5, 15), Span(1, 0, 90)]
    assert list(spread_sample(runs, 8, 4)) == [Span(0, 5, 7), Span(1, 15, 17), Span(1, 40, 42), Span(1, 65, 67)]
    assert list(spread_sample(runs, 100, 4)) == runs
    assert sum(span.rows for span in spread_sample(runs, 99, 4)) == 96


def test_run_larger_than_a_shard_is_split() -> None:
    assert [shard.rows for shard in cut_shards([Span(0, 0, 250)], 100)] == [100, 100, 50]


def test_no_rows_make_no_shard() -> None:
    assert list(cut_shards([Span(0, 0, 0)], 10)) == []


@given(RUNS, SIZES)
def test_chunks_have_every_row_and_one_size(runs: list[Span], size: int) -> None:
    shard = Shard(0, 0, tuple(runs))
    chunks = list(shard.chunks(size))
    assert [row for chunk in chunks for row in rows(chunk)] == rows(runs)
    sizes = [sum(span.rows for span in chunk) for chunk in chunks]
    assert all(count == size for count in sizes[:-1])
    assert all(0 < count <= size for count in sizes[-1:])


@given(RUNS, st.integers(1, 200), st.integers(1, 20))
def test_sample_is_spread_over_the_rows(runs: list[Span], wanted: int, positions: int) -> None:
    all_rows = rows(runs)
    sample = rows(list(spread_sample(runs, wanted, positions)))
    assert sample == sorted(set(sample))
    assert set(sample) <= set(all_rows)
    if len(all_rows) <= wanted:
        assert sample == all_rows
    else:
        assert len(sample) == wanted // positions * positions
        if sample:
            assert all_rows.index(sample[-1]) >= len(all_rows) * (positions - 1) // positions
