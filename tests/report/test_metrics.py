from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mnist_batch.report.metrics import expected_calibration_error, precision_recall_f1, wilson_interval

SHARES = st.integers(1, 10_000).flatmap(lambda total: st.tuples(st.integers(0, total), st.just(total)))


@pytest.mark.parametrize(
    ("correct", "total", "low", "high"),
    [
        # Newcombe 1998, "Two-sided confidence intervals for the single proportion", table I, method 3.
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0000, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_the_wilson_interval_is_that_of_the_literature(correct: int, total: int, low: float, high: float) -> None:
    assert wilson_interval(correct, total) == pytest.approx((low, high), abs=5e-5)


@given(SHARES)
@settings(deadline=None)
def test_the_wilson_interval_holds_the_share_and_lies_within_0_and_1(counts: tuple[int, int]) -> None:
    correct, total = counts
    low, high = wilson_interval(correct, total)
    assert 0 <= low <= correct / total + 1e-12
    assert correct / total - 1e-12 <= high <= 1
    assert low < high


@given(SHARES)
@settings(deadline=None)
def test_errors_have_the_mirrored_interval(counts: tuple[int, int]) -> None:
    correct, total = counts
    low, high = wilson_interval(correct, total)
    assert wilson_interval(total - correct, total) == pytest.approx((1 - high, 1 - low), abs=1e-12)


def test_precision_recall_and_f1_of_a_confusion_worked_by_hand() -> None:
    # Class 0: 8 of 10 found, 8 of 9 named so are right. Class 2 was never predicted, class 3 never seen.
    confusion = np.array([[8, 2, 0, 0], [1, 4, 0, 5], [0, 3, 0, 0], [0, 0, 0, 0]])
    zero, one, two, three = precision_recall_f1(confusion)
    assert zero == pytest.approx({"digit": 0, "precision": 8 / 9, "recall": 0.8, "f1": 16 / 19, "support": 10})
    assert one == pytest.approx({"digit": 1, "precision": 4 / 9, "recall": 0.4, "f1": 8 / 19, "support": 10})
    assert two == {"digit": 2, "precision": None, "recall": 0.0, "f1": 0.0, "support": 3}
    assert three == {"digit": 3, "precision": 0.0, "recall": None, "f1": 0.0, "support": 0}


def test_a_class_that_neither_occurs_nor_is_predicted_has_no_figures() -> None:
    _, one = precision_recall_f1(np.array([[3, 0], [0, 0]]))
    assert one == {"digit": 1, "precision": None, "recall": None, "f1": None, "support": 0}


def loop(confidence: np.ndarray, correct: np.ndarray, bins: int) -> float:
    """The definition, bin by bin."""
    error = 0.0
    for index in range(bins):
        inside = np.minimum((confidence * bins).astype(int), bins - 1) == index
        if inside.any():
            gap = abs(confidence[inside].astype(np.float64).mean() - correct[inside].mean())
            error += inside.sum() / len(confidence) * gap
    return error


@given(st.lists(st.tuples(st.floats(0, 1, width=32), st.booleans()), min_size=1, max_size=60), st.integers(1, 20))
@settings(deadline=None)
def test_the_calibration_error_is_that_of_its_definition(rows: list[tuple[float, bool]], bins: int) -> None:
    confidence, correct = (np.array(column) for column in zip(*rows, strict=True))
    confidence = confidence.astype(np.float32)
    error = expected_calibration_error(confidence, correct, bins)
    assert error == pytest.approx(loop(confidence, correct, bins), abs=1e-9)
    assert 0 <= error <= 1


def test_certainty_that_is_right_has_no_calibration_error_and_wrong_certainty_all_of_it() -> None:
    certain = np.ones(7, np.float32)
    assert expected_calibration_error(certain, np.ones(7, bool)) == 0
    assert expected_calibration_error(certain, np.zeros(7, bool)) == 1


def test_three_rights_in_four_at_confidence_three_quarters_is_calibrated() -> None:
    assert expected_calibration_error(np.full(4, 0.75, np.float32), np.array([True, True, False, True])) == 0
