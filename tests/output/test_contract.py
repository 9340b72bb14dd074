"""What every sink must do (`mnist_batch/output/protocol.py`): write tables that read back exactly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mnist_batch.config import OutputFormat
from mnist_batch.output.formats import sink_for
from mnist_batch.output.parquet import ParquetSink
from mnist_batch.output.protocol import Sink
from mnist_batch.output.schema import prediction_table, reject_table
from mnist_batch.records import Predictions, Reject, RejectReason, Scores, string_array

# Texts that break a careless CSV writer, or that a careless reader takes for a number, a date, a boolean or null.
AWKWARD = [
    "a,b",
    'say "x"',
    "two\nlines",
    "two\r\nlines",
    "\r",
    "",
    " ",
    "007",
    "1e5",
    "NA",
    "null",
    "nan",
    "NULL",
    "true",
]
AWKWARD += ["2024-01-01", "é", "😀", "'", "\t", "#1", "a\\b", "\ufeff", '"', '""', "-0"]
TEXT = st.sampled_from(AWKWARD) | st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
FLOATS = st.floats(0, 1, width=32)
ROWS = st.lists(
    st.tuples(TEXT, st.none() | st.integers(0, 9), st.integers(0, 9), FLOATS, TEXT, st.none() | TEXT), max_size=20
)


@pytest.fixture(scope="module", params=OutputFormat)
def sink(request: pytest.FixtureRequest) -> Sink:
    return sink_for(request.param)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("parts")


def predictions(rows: Sequence[tuple[object, ...]], probabilities: bool) -> pa.Table:
    ids, labels, digits, confidence, page, note = zip(*rows, strict=True) if rows else [()] * 6
    extra = pa.table({"page": string_array(page), "note": string_array(note)})
    scores = np.repeat(np.array(confidence, np.float32), 10).reshape(-1, 10)
    batch = Predictions(
        string_array(ids), pa.array(labels, pa.int32()), np.array(digits, np.int32), Scores(scores, scores[:, 0]), extra
    )
    return prediction_table(batch, probabilities)


def write(sink: Sink, table: pa.Table, path: Path, metadata: Mapping[str, str] = {"version": "1"}) -> None:
    with path.open("wb") as file:
        sink.write(table, file, metadata)


def round_trip(sink: Sink, table: pa.Table, folder: Path) -> pa.Table:
    path = folder / f"part{sink.suffix}"
    write(sink, table, path)
    return sink.read(path)


@given(rows=ROWS, probabilities=st.booleans())
@settings(deadline=None)
def test_predictions_read_back_exactly(
    sink: Sink, folder: Path, rows: list[tuple[object, ...]], probabilities: bool
) -> None:
    table = predictions(rows, probabilities)
    assert round_trip(sink, table, folder).equals(table)


@given(texts=st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=10))
@settings(deadline=None)
def test_rejects_read_back_exactly(sink: Sink, folder: Path, texts: list[tuple[str, str]]) -> None:
    table = reject_table([Reject(name, RejectReason.EMPTY, detail) for name, detail in texts])
    assert round_trip(sink, table, folder).equals(table)


def test_null_is_not_the_empty_string(sink: Sink, folder: Path) -> None:
    rows = [("a", 1, 1, 0.5, "one,two", None), ("b", None, 2, 0.25, "", ""), ("c", 3, 3, 0.125, 'a "b"', "x")]
    back = round_trip(sink, predictions(rows, False), folder)
    assert back["page"].to_pylist() == ["one,two", "", 'a "b"']
    assert back["note"].to_pylist() == [None, "", "x"]


def test_float32_reads_back_to_the_bit(sink: Sink, folder: Path) -> None:
    bits = np.random.default_rng(0).integers(0, np.float32(1).view(np.uint32), 5000, dtype=np.uint32)
    confidence = np.concatenate([bits.view(np.float32), np.array([0, 1, 1e-45, 0.1, 1e-38], np.float32)])
    rows = [(str(row), None, 0, value, "", None) for row, value in enumerate(confidence)]
    back = round_trip(sink, predictions(rows, True), folder)
    for name in ("confidence", "p0", "p9"):
        assert np.array_equal(back[name].to_numpy().view(np.uint32), confidence.view(np.uint32))


@given(rows=ROWS)
@settings(deadline=None, max_examples=25)
def test_same_table_gives_same_bytes(sink: Sink, folder: Path, rows: list[tuple[object, ...]]) -> None:
    written = []
    for name in ("one", "two"):
        path = folder / f"{name}{sink.suffix}"
        write(sink, predictions(rows, True), path)
        written.append(path.read_bytes())
    assert written[0] == written[1]


def test_chunks_do_not_change_the_bytes(sink: Sink, folder: Path) -> None:
    table = predictions([(str(row), row % 10, row % 10, 0.5, "p", None) for row in range(100)], True)
    pieces = pa.concat_tables([table.slice(0, 1), table.slice(1, 60), table.slice(61)])
    for name, content in (("whole", table), ("pieces", pieces)):
        write(sink, content, folder / f"{name}{sink.suffix}")
    whole, in_pieces = (folder / f"{name}{sink.suffix}" for name in ("whole", "pieces"))
    assert whole.read_bytes() == in_pieces.read_bytes()


def test_suffixes_are_distinct() -> None:
    assert len({sink_for(form).suffix for form in OutputFormat}) == len(OutputFormat)


def test_parquet_footer_has_the_metadata(folder: Path) -> None:
    path = folder / "part.parquet"
    write(ParquetSink(), predictions([], False), path, {"version": "1", "fingerprint": "ab"})
    footer = pq.read_schema(path).metadata
    assert footer[b"mnist_batch.version"] == b"1"
    assert footer[b"mnist_batch.fingerprint"] == b"ab"


def test_csv_follows_rfc_4180(folder: Path) -> None:
    table = predictions([('a "b",\nc', None, 4, 0.5, "", None)], False)
    sink = sink_for(OutputFormat.CSV)
    write(sink, table, folder / "part.csv")
    header, row = (folder / "part.csv").read_bytes().split(b"\n", 1)
    assert header == b'"id","label","prediction","confidence","digit_score","page","note"'
    assert row == b'"a ""b"",\nc",,4,0.5,,"",\n'
