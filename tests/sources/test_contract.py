"""The contract of sources (`mnist_batch/sources/protocol.py`), checked on the same digits in every format."""

from __future__ import annotations

import pickle
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from contracts import AUTO, DIGITS, FORMS, LABELS, PIXELS, ROWS, Written
from hypothesis import given, settings
from hypothesis import strategies as st

from mnist_batch.images.preprocess import preprocess
from mnist_batch.records import ImageBatch, concat_batches
from mnist_batch.sources.protocol import Source


@pytest.fixture(scope="module", params=FORMS)
def written(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Written:
    return FORMS[request.param](tmp_path_factory.mktemp("form"), DIGITS)


@pytest.fixture(scope="module")
def source(written: Written) -> Source:
    (only,) = written.open().sources
    return only


def read(source: Source, *spans: tuple[int, int]) -> ImageBatch:
    """The rows of the spans as one batch, read by one reader."""
    reader = source.open()
    try:
        pieces = [preprocess(rows, AUTO) for start, stop in spans for rows in reader.read(start, stop)]
        return concat_batches(pieces)
    finally:
        reader.close()


def assert_rows(batch: ImageBatch, written: Written, rows: list[int]) -> None:
    assert batch.ids.to_pylist() == [written.ids[row] for row in rows]
    assert batch.labels.to_pylist() == LABELS[rows].tolist()
    assert batch.pixels.dtype == np.uint8
    assert np.array_equal(batch.pixels, PIXELS[rows])
    assert batch.positions.tolist() == list(range(len(rows)))
    assert not batch.rejects


def test_plan_covers_every_row_once(written: Written) -> None:
    inputs = written.open()
    assert inputs.rows == ROWS
    assert inputs.labelled
    assert [row for span in inputs.spans for row in range(span.start, span.stop)] == list(range(ROWS))


def test_rows_are_the_digits_in_order(written: Written, source: Source) -> None:
    assert_rows(read(source, (0, ROWS)), written, list(range(ROWS)))


def test_ids_are_unique(source: Source) -> None:
    assert len(set(read(source, (0, ROWS)).ids.to_pylist())) == ROWS


@given(data=st.data())
@settings(deadline=None, max_examples=15)
def test_reads_split_anywhere_agree(written: Written, source: Source, data: st.DataObject) -> None:
    inner = data.draw(st.sets(st.integers(1, ROWS - 1), max_size=8))
    bounds = [0, *sorted(inner), ROWS]
    assert_rows(read(source, *pairwise(bounds)), written, list(range(ROWS)))


@given(data=st.data())
@settings(deadline=None, max_examples=15)
def test_reads_in_any_order_agree(written: Written, source: Source, data: st.DataObject) -> None:
    bounds = st.tuples(st.integers(0, ROWS - 1), st.integers(1, 20)).map(lambda b: (b[0], min(ROWS, sum(b))))
    spans = data.draw(st.lists(bounds, min_size=1, max_size=5))
    assert_rows(read(source, *spans), written, [row for span in spans for row in range(*span)])


def test_pickled_source_reads_the_same(written: Written, source: Source) -> None:
    copy = pickle.loads(pickle.dumps(source))
    assert repr(copy) == repr(source)
    assert_rows(read(copy, (7, 31)), written, list(range(7, 31)))


def test_repr_has_format_name_and_rows(written: Written, source: Source) -> None:
    assert source.format == written.format
    for part in (source.format, source.name, str(source.rows)):
        assert part in repr(source)
    assert len(repr(source)) < 1000


def test_split_points_span_all_rows(source: Source) -> None:
    bounds = list(source.split_points())
    assert bounds[0] == 0
    assert bounds[-1] == source.rows == ROWS
    assert bounds == sorted(set(bounds))


def test_sidecars_are_files(source: Source) -> None:
    sidecars = source.list_sidecars()
    assert all(path.is_file() for path in sidecars if isinstance(path, Path))
    assert bool(sidecars) == (source.format in ("idx", "npy"))


def test_nothing_is_skipped(written: Written) -> None:
    assert written.open().skipped == {}
