from __future__ import annotations

import json
import random
from itertools import pairwise

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from mnist_batch.records import Predictions, Reject, RejectReason, string_array
from mnist_batch.report.document import report_of
from mnist_batch.report.tally import Tally, as_json, from_json, merge, tally_of

# A row as (label, prediction), or the reason it was rejected for.
SCORED = st.tuples(st.none() | st.integers(0, 9), st.integers(0, 9))
ROWS = st.lists(SCORED | st.sampled_from(RejectReason), max_size=40)


def tally(rows: list[tuple[int | None, int] | RejectReason]) -> Tally:
    scored = [row for row in rows if isinstance(row, tuple)]
    labels, digits = zip(*scored, strict=True) if scored else ((), ())
    predictions = Predictions(
        string_array(str(row) for row in range(len(scored))),
        pa.array(labels, pa.int32()),
        np.array(digits, np.int32),
        np.ones(len(scored), np.float32),
        np.ones((len(scored), 10), np.float32),
    )
    return tally_of(predictions, [Reject("id", row, "") for row in rows if isinstance(row, RejectReason)])


@given(ROWS, st.lists(st.integers(0, 40), max_size=6), st.randoms())
@settings(deadline=None)
def test_any_split_merged_in_any_order_gives_the_same_bytes(
    rows: list[tuple[int | None, int] | RejectReason], cuts: list[int], random: random.Random
) -> None:
    bounds = [0, *sorted(cuts), 40]
    parts = [tally(rows[start:stop]) for start, stop in pairwise(bounds)]
    random.shuffle(parts)
    middle = random.randint(0, len(parts))
    merged = merge([merge(parts[:middle]), merge(parts[middle:])])
    assert json.dumps(report_of(merged)) == json.dumps(report_of(tally(rows)))
    assert merged.confusion.dtype == merged.predictions.dtype == np.int64


@given(ROWS)
@settings(deadline=None)
def test_every_row_is_counted_once(rows: list[tuple[int | None, int] | RejectReason]) -> None:
    counts = tally(rows)
    scored = [row for row in rows if isinstance(row, tuple)]
    assert counts.predicted + counts.rejected == len(rows)
    assert counts.predicted == len(scored)
    assert counts.labelled == sum(label is not None for label, _ in scored)
    assert counts.correct == sum(label == digit for label, digit in scored)


@given(ROWS)
@settings(deadline=None)
def test_a_tally_survives_the_record_of_its_shard(rows: list[tuple[int | None, int] | RejectReason]) -> None:
    counts = tally(rows)
    back = from_json(json.loads(json.dumps(as_json(counts))))
    assert json.dumps(report_of(back)) == json.dumps(report_of(counts))


def test_the_confusion_has_a_row_per_label_and_a_column_per_prediction() -> None:
    counts = tally([(3, 5), (3, 5), (5, 3), (None, 9), RejectReason.EMPTY])
    assert counts.confusion[3, 5] == 2
    assert counts.confusion[5, 3] == 1
    assert counts.confusion.sum() == 3
    assert counts.predictions.tolist() == [0, 0, 0, 1, 0, 2, 0, 0, 0, 1]
    assert counts.rejects == {"empty": 1}


def test_nothing_merged_is_zeros() -> None:
    assert merge([]).predicted == merge([]).rejected == merge([]).labelled == 0


def test_rejects_are_reported_by_reason_in_one_order() -> None:
    reasons = [RejectReason.UNREADABLE, RejectReason.EMPTY, RejectReason.UNREADABLE]
    for rows in (reasons, reasons[::-1]):
        assert list(report_of(tally(rows))["rejects_by_reason"].items()) == [("empty", 1), ("unreadable", 2)]


def test_what_needs_labels_is_null_without_them() -> None:
    report = report_of(tally([(None, 1), (None, 2)]))
    assert [report[name] for name in ("accuracy", "accuracy_interval", "confusion", "per_digit")] == [None] * 4
    assert report["predicted"] == 2
