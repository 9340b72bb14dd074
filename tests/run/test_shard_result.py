"""What is stored of a shard, and the sum of all shards."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from report.rows import Row, tally

from mnist_batch.documents import DocumentError
from mnist_batch.output.files import FileRecord
from mnist_batch.records import RejectReason
from mnist_batch.run.shard_result import RunTally, ShardResult, decode_result, encode_result
from mnist_batch.shards import Shard, Span

ROWS: list[Row] = [(3, 3, 0.9), (None, 5, 0.8), RejectReason.EMPTY, (4, 5, 0.7), RejectReason.BLANK]
# Shard 2 of a run: rows 10 to 14, of the second and third source.
SHARD = Shard(2, 10, (Span(1, 40, 43), Span(2, 0, 2)))
FILES = {
    "predictions/part-00002.parquet": FileRecord(100, "aa"),
    "rejects/part-00002.parquet": FileRecord(20, "bb"),
}
RESULT = ShardResult(
    index=2,
    rows=5,
    tally=tally(ROWS, 10),
    preprocessing={1: Counter(as_is=2), 2: Counter(framed=1, inverted=1)},
    files=FILES,
    batch_splits=3,
    seconds={"read": 0.5, "model": 1.5},
)


def test_record_reads_back() -> None:
    back = decode_result(encode_result(RESULT), SHARD)
    assert encode_result(back) == encode_result(RESULT)
    assert replace(back, tally=RESULT.tally) == RESULT
    assert (back.tally.predicted, back.tally.rejected, back.tally.labelled) == (3, 2, 2)


def test_record_does_not_depend_on_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    before = encode_result(RESULT)
    monkeypatch.setattr("time.time", lambda: 1.0)
    assert encode_result(RESULT) == before


@pytest.mark.parametrize(
    "change",
    [
        {"index": 1},
        {"rows": 4},
        {"rows": 6},
        {"files": {"predictions/part-00002.parquet": {"size": 1, "sha256": "a"}}},
        {"files": {"predictions/part-00001.parquet": {"size": 1, "sha256": "a"}}},
        {"preprocessing": {"0": {"as_is": 1}}},
        {"preprocessing": {"3": {"as_is": 1}}},
        {"batch_splits": -1},
        {"tally": {}},
    ],
    ids=str,
)
def test_record_of_something_else_is_refused(change: Mapping[str, Any]) -> None:
    record = json.loads(gzip.decompress(encode_result(RESULT)))
    with pytest.raises(DocumentError):
        decode_result(gzip.compress(json.dumps(record | change).encode()), SHARD)


@pytest.mark.parametrize(
    "content",
    [b"", b"{}", gzip.compress(b"{}")[:-1], gzip.compress(b"[]")],
    ids=["empty", "not compressed", "cut off", "a list"],
)
def test_damaged_record_is_refused(content: bytes) -> None:
    with pytest.raises(DocumentError):
        decode_result(content, SHARD)


def test_record_of_another_shard_is_refused() -> None:
    for other in (replace(SHARD, index=3), replace(SHARD, spans=SHARD.spans[:1])):
        with pytest.raises(DocumentError, match="the record of another shard"):
            decode_result(encode_result(RESULT), other)


def test_results_add_up() -> None:
    first = replace(
        RESULT,
        index=0,
        tally=tally([(1, 1, 0.6)] * 5),
        preprocessing={1: Counter(as_is=4, framed=1)},
        files={"predictions/part-00000.parquet": FileRecord(50, "cc")},
        batch_splits=1,
        seconds={"read": 0.25},
    )
    run = RunTally()
    run.add(SHARD, RESULT)
    run.add(Shard(0, 0, (Span(1, 0, 5),)), first)
    assert (len(run), run.rows, run.batch_splits) == (2, 10, 4)
    assert (run.tally.predicted, run.tally.rejected, run.tally.labelled) == (8, 2, 7)
    assert run.preprocessing == {1: Counter(as_is=6, framed=1), 2: Counter(framed=1, inverted=1)}
    assert run.seconds == {"read": 0.75, "model": 1.5}
    # In the order of the shards, not in that of their arrival.
    assert list(run.files) == ["predictions/part-00000.parquet", *FILES]
    assert SHARD in run
    assert replace(SHARD, index=1) not in run


def test_shard_that_arrives_twice_counts_once() -> None:
    run = RunTally()
    run.add(SHARD, RESULT)
    run.add(SHARD, RESULT)
    assert (len(run), run.rows, run.batch_splits, run.tally.predicted) == (1, 5, 3, 3)


@pytest.mark.parametrize(
    "wrong", [{"rows": 4}, {"tally": tally(ROWS[:4])}, {"tally": tally([*ROWS, (1, 1, 0.5)]), "rows": 6}]
)
def test_lost_or_doubled_row_is_a_bug(wrong: Mapping[str, Any]) -> None:
    with pytest.raises(AssertionError, match="shard 2 has 5 rows, but"):
        RunTally().add(SHARD, replace(RESULT, **wrong))
