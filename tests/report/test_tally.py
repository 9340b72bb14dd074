"""Tallies: what is counted, and that any split and order of merging gives the same counts."""

from __future__ import annotations

import random
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnist_batch.documents import DocumentError, parse_document, parse_json, to_json
from mnist_batch.records import RejectReason
from mnist_batch.report.drift import build_profile
from mnist_batch.report.tally import TallyRecord, from_record, merge, tally_batch, to_record
from report.rows import Row, batch_of, guessed, scores_of, tally
from report.runs import report

# A few values are frequent, so that ties are common.
CONFIDENCE = st.sampled_from([0.3, 0.99, 1.0]) | st.floats(0.125, 1, width=32)
SCORED = st.tuples(st.none() | st.integers(0, 9), st.integers(0, 9), CONFIDENCE)
ROWS = st.lists(SCORED | st.sampled_from(RejectReason), max_size=120)


@given(ROWS, st.lists(st.integers(0, 120), max_size=6), st.randoms())
def test_split_and_order_change_no_byte(rows: list[Row], cuts: list[int], random: random.Random) -> None:
    parts = [tally(rows[start:stop], start) for start, stop in pairwise([0, *sorted(cuts), 120])]
    random.shuffle(parts)
    middle = random.randint(0, len(parts))
    merged = merge([merge(parts[:middle]), merge(parts[middle:])])
    assert to_json(report(merged)) == to_json(report(tally(rows)))
    assert to_json(to_record(merged)) == to_json(to_record(tally(rows)))


def test_batch_size_changes_no_byte() -> None:
    probabilities, labels = guessed(5_000)
    pixels = np.random.default_rng(0).integers(0, 256, (5_000, 28, 28), np.uint8)
    whole = batch_of(pixels, labels)
    expected = to_json(to_record(tally_batch(whole, 0, scores_of(probabilities))))
    for size in (7, 513, 4096):
        parts = []
        for start in range(0, 5_000, size):
            part = slice(start, start + size)
            batch = batch_of(pixels[part], labels[part])
            batch = type(batch)(whole.ids[part], batch.pixels, batch.labels, batch.positions)
            parts.append(tally_batch(batch, start, scores_of(probabilities[part])))
        assert to_json(to_record(merge(reversed(parts)))) == expected


@given(ROWS)
def test_every_row_is_counted_once(rows: list[Row]) -> None:
    counts = tally(rows)
    scored = [row for row in rows if isinstance(row, tuple)]
    assert counts.predicted + counts.rejected == len(rows)
    for histogram in (counts.predictions, counts.confidence, counts.ink, counts.stroke, counts.width, counts.height):
        assert histogram.sum() == len(scored)
    assert counts.labelled == counts.labelled_confidence.sum() == sum(label is not None for label, *_ in scored)
    assert counts.labelled - counts.correct == counts.mistakes.sum()
    assert counts.correct == sum(label == digit for label, digit, _ in scored)


@given(ROWS)
def test_shard_record_round_trip(rows: list[Row]) -> None:
    counts = tally(rows)
    record = parse_document(parse_json(to_json(to_record(counts)).encode()), TallyRecord)
    assert to_json(report(from_record(record))) == to_json(report(counts))


def test_record_size_is_bounded() -> None:
    rows: list[Row] = [(1, 2, 0.6), RejectReason.EMPTY]
    few, many = (len(to_json(to_record(tally(rows * times)))) for times in (100, 3_000))
    assert many < 1.05 * few


def test_incomplete_record_is_refused() -> None:
    record = to_record(tally([(1, 2, 0.6)]))
    counts = {name: sparse for name, sparse in record.counts.items() if name != "brier"}
    with pytest.raises(DocumentError, match="counts that are not those of this version: 'brier'"):
        from_record(replace(record, counts=counts))


def test_counts_out_of_place_are_refused() -> None:
    record = to_record(tally([(1, 2, 0.6)]))
    with pytest.raises(DocumentError, match="out of bounds"):
        from_record(replace(record, counts={**record.counts, "predictions": ([10], [1])}))


def test_confusion_is_label_by_prediction() -> None:
    counts = tally([(3, 5, 0.5), (3, 5, 0.5), (5, 3, 0.5), (None, 9, 0.5), RejectReason.EMPTY])
    assert counts.confusion[3, 5] == 2
    assert counts.confusion[5, 3] == 1
    assert counts.confusion.sum() == 3
    assert counts.predictions.tolist() == [0, 0, 0, 1, 0, 2, 0, 0, 0, 1]
    assert counts.rejects == {"empty": 1}


def test_non_finite_row_is_not_counted() -> None:
    probabilities, labels = guessed(5)
    probabilities[2] = np.nan
    counts = tally_batch(batch_of(np.zeros((5, 28, 28), np.uint8), labels), 100, scores_of(probabilities))
    assert counts.predicted == 4
    assert sorted(row.row for row in counts.doubtful) == [100, 101, 103, 104]


def test_examples_are_the_first_of_ties() -> None:
    counts = tally([(1, 1, 0.9)] * 50 + [(1, 2, 0.8)] * 50 + [(1, 2, 0.95), (1, 1, 0.2)])
    assert [row.row for row in counts.doubtful] == [101, *range(50, 89)]
    assert [row.row for row in counts.wrong] == [100, *range(50, 89)]


def test_merging_nothing_gives_zeros() -> None:
    assert merge([]).predicted == merge([]).rejected == merge([]).labelled == 0


def test_rejects_are_grouped_by_reason() -> None:
    found = report(tally([RejectReason.UNREADABLE, RejectReason.EMPTY, *[RejectReason.UNREADABLE] * 9]))
    assert list(found.rejects_by_reason.items()) == [("empty", 1), ("unreadable", 10)]
    assert [example.row for example in found.reject_examples["unreadable"]] == [0, 2, 3, 4, 5]


def test_figures_are_null_without_labels() -> None:
    found = report(tally([(None, 1, 0.5), (None, 2, 0.5)]))
    nulls = ("accuracy", "accuracy_interval", "confusion", "per_digit", "calibration", "coverage", "mistakes")
    assert [getattr(found, name) for name in nulls] == [None] * len(nulls)
    assert (found.predicted, found.mean_confidence, len(found.least_confident)) == (2, 0.5, 2)


def test_run_of_rejects_has_a_report() -> None:
    profile = build_profile(tally([(1, 1, 0.9)]), None)
    found = report(tally([RejectReason.EMPTY]), profile)
    assert (found.mean_confidence, found.drift, found.least_confident) == (None, None, ())
