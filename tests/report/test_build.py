"""The figures of a small report, by hand. No two digits, counts or confidences are alike."""

from __future__ import annotations

from dataclasses import astuple

import numpy as np
import pytest

from mnist_batch.records import RejectReason
from mnist_batch.report.document import Below, ConfusedPair, CoverageTarget
from mnist_batch.report.labels import label_warnings
from mnist_batch.report.metrics import wilson_interval
from report.rows import Row, tally
from report.runs import report

ROWS: list[Row] = [
    *[(3, 3, 0.95)] * 6,
    (3, 5, 0.97),
    RejectReason.UNREADABLE,
    *[(5, 5, 0.85)] * 4,
    (5, 3, 0.91),
    (5, 3, 0.60),
    RejectReason.EMPTY,
    *[(9, 9, 0.55)] * 2,
    (None, 7, 0.45),
    RejectReason.UNREADABLE,
]
FOUND = report(tally(ROWS))


def test_rows_are_counted() -> None:
    assert (FOUND.rows, FOUND.predicted, FOUND.rejected, FOUND.labelled) == (19, 16, 3, 15)
    assert FOUND.rejects_by_reason == {"empty": 1, "unreadable": 2}
    assert [example.row for example in FOUND.reject_examples["unreadable"]] == [7, 18]
    assert [example.row for example in FOUND.reject_examples["empty"]] == [14]
    assert FOUND.prediction_counts == [0, 0, 0, 8, 0, 5, 0, 1, 0, 2]
    assert FOUND.mean_confidence == pytest.approx(13.13 / 16, abs=1e-7)
    for histogram in (FOUND.images.ink, FOUND.images.stroke, FOUND.images.width, FOUND.images.height):
        assert sum(histogram.counts) == 16
        assert len(histogram.edges) == len(histogram.counts) + 1


def test_rows_below_each_limit() -> None:
    # A confidence that prints like a limit is not below it: six rows have 0.95.
    counts = [(0.5, 1), (0.8, 4), (0.9, 8), (0.95, 9), (0.99, 16), (0.999, 16)]
    assert FOUND.below == [Below(limit, rows, rows / 16) for limit, rows in counts]


def test_accuracy_and_confusion() -> None:
    assert FOUND.accuracy == 12 / 15
    assert FOUND.accuracy_interval == wilson_interval(12, 15)
    assert FOUND.confusion is not None
    cells = {(i, j): count for i, row in enumerate(FOUND.confusion) for j, count in enumerate(row) if count}
    assert cells == {(3, 3): 6, (3, 5): 1, (5, 5): 4, (5, 3): 2, (9, 9): 2}
    assert FOUND.confused_pairs == [ConfusedPair(5, 3, 2, 2 / 6), ConfusedPair(3, 5, 1, 1 / 7)]
    assert FOUND.per_digit is not None
    assert astuple(FOUND.per_digit[3]) == pytest.approx((3, 6 / 8, 6 / 7, 12 / 15, 7))
    assert astuple(FOUND.per_digit[5]) == pytest.approx((5, 4 / 5, 4 / 6, 8 / 11, 6))
    assert astuple(FOUND.per_digit[7]) == (7, None, None, None, 0)


def test_equal_pairs_are_in_order_of_digits() -> None:
    pairs = report(tally([(2, 1, 0.5), (1, 2, 0.5), (1, 0, 0.5), (8, 0, 0.5), (8, 0, 0.5), (8, 8, 0.5)])).confused_pairs
    assert [(pair.rows, *astuple(pair)[:2]) for pair in pairs or ()] == [(2, 8, 0), (1, 1, 0), (1, 1, 2), (1, 2, 1)]


def test_only_the_most_frequent_pairs_are_named() -> None:
    rows: list[Row] = [(label, 9, 0.5) for label in range(9) for _ in range(label + 1)]
    rows += [(9, digit, 0.5) for digit in range(5)]
    pairs = report(tally(rows)).confused_pairs
    assert [pair.rows for pair in pairs or ()] == [9, 8, 7, 6, 5, 4, 3, 2, 1, 1]


def test_calibration() -> None:
    found = FOUND.calibration
    assert found is not None
    bins = {round(bin.low * 15): bin for bin in found.bins if bin.rows}
    assert {number: (bin.rows, bin.accuracy) for number, bin in bins.items()} == {
        8: (2, 1),
        9: (1, 0),
        12: (4, 1),
        13: (1, 0),
        14: (7, 6 / 7),
    }
    assert [bin.confidence for bin in bins.values()] == pytest.approx([0.55, 0.6, 0.85, 0.91, 6.67 / 7], abs=1e-7)
    assert [bin.low for bin in found.bins] == pytest.approx([n / 15 for n in range(15)])
    assert [bin.high for bin in found.bins] == pytest.approx([(n + 1) / 15 for n in range(15)])
    assert {(bin.confidence, bin.accuracy) for bin in found.bins if not bin.rows} == {(None, None)}
    assert found.ece == pytest.approx((0.9 + 0.6 + 0.6 + 0.91 + 0.67) / 15, abs=1e-7)
    assert found.mean_confidence == pytest.approx((13.13 - 0.45) / 15, abs=1e-7)
    own = np.array([0.95] * 6 + [0.03 / 9] + [0.85] * 4 + [0.09 / 9, 0.4 / 9] + [0.55] * 2)
    assert found.nll == pytest.approx(-np.log(own).mean(), abs=1e-6)
    # A wrong row with confidence c: the label's probability is missing, c is too much, and eight others share the rest.
    right = [(1 - c) ** 2 + (1 - c) ** 2 / 9 for c in [0.95] * 6 + [0.85] * 4 + [0.55] * 2]
    wrong = [c**2 + (1 - (1 - c) / 9) ** 2 + 8 * ((1 - c) / 9) ** 2 for c in (0.97, 0.91, 0.60)]
    assert found.brier == pytest.approx((sum(right) + sum(wrong)) / 15, abs=1e-6)


def test_coverage_counts_from_each_confidence_up() -> None:
    found = FOUND.coverage
    assert found is not None
    assert found.confidence == pytest.approx([0.55, 0.6, 0.85, 0.91, 0.95, 0.97])
    assert found.rows == [15, 13, 12, 8, 7, 1]
    assert found.correct == [12, 10, 10, 6, 6, 0]


def test_threshold_of_each_target() -> None:
    rows: list[Row] = [*[(1, 1, 0.9)] * 150, (1, 2, 0.7), *[(2, 2, 0.6)] * 40, *[(None, 4, 0.65)] * 9, (3, 4, 0.3)]
    found = report(tally(rows)).coverage_targets
    # Above 0.3: 190 of 191 are correct, which is 0.9948. From 0.7 on: 150 of 151, which is 0.9934. Above 0.7: all.
    expected = [
        CoverageTarget(0.99, 0.31, 191, 190, wilson_interval(190, 191), 1, 1 / 201),
        *(CoverageTarget(share, 0.71, 150, 150, wilson_interval(150, 150), 51, 51 / 201) for share in (0.995, 0.999)),
    ]
    assert list(found or ())[:3] == expected


def test_target_may_be_reached_exactly() -> None:
    found = report(tally([*[(1, 1, 0.9)] * 99, (1, 2, 0.95), (1, 2, 0.5)])).coverage_targets
    assert [target.confidence for target in found or ()] == [0.51, None, None, None]


def test_label_errors_are_judged_by_the_predicted_digit() -> None:
    """Predicted 5 with 0.97, 3 with 0.91, and 3 with 0.60, which only the threshold of its label, 5, would reach."""
    found = FOUND.label_errors
    assert found is not None
    assert [found.thresholds[digit] for digit in (3, 5, 9)] == pytest.approx(
        [(6 * 0.95 + 0.03 / 9) / 7, (4 * 0.85 + 0.01 + 0.4 / 9) / 6, 0.55], abs=1e-6
    )
    assert found.thresholds[7] is None
    assert found.rows == 2
    mistakes = [(row.row, row.label, row.prediction, row.suspected_label_error) for row in FOUND.mistakes or ()]
    assert mistakes == [(6, 3, 5, True), (12, 5, 3, True), (13, 5, 3, False)]


def test_digit_without_labels_makes_nothing_suspect() -> None:
    found = report(tally([(3, 3, 0.5), (3, 8, 1.0)]))
    assert found.label_errors is not None
    assert found.label_errors.rows == 0
    assert [row.suspected_label_error for row in found.mistakes or ()] == [False]


def test_least_confident_rows_come_first() -> None:
    assert [(row.row, row.label) for row in FOUND.least_confident[:5]] == [
        (17, None),
        (15, 9),
        (16, 9),
        (13, 5),
        (8, 5),
    ]
    assert len(FOUND.least_confident) == 16


@pytest.mark.parametrize(
    ("rows", "warns"),
    [
        ([(1, 2, 0.95)] * 80 + [(1, 1, 0.95)] * 20, True),
        ([(1, 2, 0.95)] * 79 + [(1, 1, 0.95)] * 20, False),  # fewer than 100 rows
        ([(1, 2, 0.95)] * 79 + [(1, 1, 0.95)] * 21, False),  # more accurate than 20 %
        ([(1, 2, 0.89)] * 80 + [(1, 1, 0.89)] * 20, False),  # not confident
        ([(1, 2, 0.87)] * 80 + [(1, 1, 0.95)] * 20 + [(None, 1, 1.0)] * 900, False),  # rows without a label
    ],
)
def test_labels_of_other_images_are_suspected(rows: list[Row], warns: bool) -> None:
    lines = label_warnings(tally(rows))
    assert len(lines) == warns
    if warns:
        assert lines[0].startswith("accuracy is 20% on 100 labelled rows, near chance, but mean confidence is 0.95:")
