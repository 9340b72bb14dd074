"""The metrics against the literature, results by hand, and simulation."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2  # type: ignore[import-untyped]  # ships no types

from mnist_batch.report.document import DigitFigures
from mnist_batch.report.metrics import (
    calibration_error_by_chance,
    difference_interval,
    expected_calibration_error,
    population_stability,
    precision_recall_f1,
    stability_by_chance,
    wilson_interval,
)

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
def test_wilson_interval_matches_the_paper(correct: int, total: int, low: float, high: float) -> None:
    assert wilson_interval(correct, total) == pytest.approx((low, high), abs=5e-5)


@given(SHARES)
@settings(deadline=None)
def test_wilson_interval_contains_the_share(counts: tuple[int, int]) -> None:
    correct, total = counts
    low, high = wilson_interval(correct, total)
    assert 0 <= low <= correct / total + 1e-12
    assert correct / total - 1e-12 <= high <= 1
    assert low < high


@given(SHARES)
@settings(deadline=None)
def test_wilson_interval_is_symmetric(counts: tuple[int, int]) -> None:
    correct, total = counts
    low, high = wilson_interval(correct, total)
    assert wilson_interval(total - correct, total) == pytest.approx((1 - high, 1 - low), abs=1e-12)


def test_precision_recall_f1_by_hand() -> None:
    # Class 0: 8 of its 10 rows are found, and 8 of 9 predictions of it are correct. Class 2 is never predicted, class 3
    # has no rows.
    confusion = np.array([[8, 2, 0, 0], [1, 4, 0, 5], [0, 3, 0, 0], [0, 0, 0, 0]])
    zero, one, two, three = precision_recall_f1(confusion)
    assert asdict(zero) == pytest.approx({"digit": 0, "precision": 8 / 9, "recall": 0.8, "f1": 16 / 19, "support": 10})
    assert asdict(one) == pytest.approx({"digit": 1, "precision": 4 / 9, "recall": 0.4, "f1": 8 / 19, "support": 10})
    assert two == DigitFigures(digit=2, precision=None, recall=0.0, f1=0.0, support=3)
    assert three == DigitFigures(digit=3, precision=0.0, recall=None, f1=0.0, support=0)


def test_absent_class_has_no_figures() -> None:
    _, one = precision_recall_f1(np.array([[3, 0], [0, 0]]))
    assert one == DigitFigures(digit=1, precision=None, recall=None, f1=None, support=0)


def test_difference_interval_matches_paper() -> None:
    # Newcombe 1998, "Interval estimation for the difference ...", table II, (a), method 10.
    assert difference_interval((56, 70), (48, 80)) == pytest.approx((0.0524, 0.3339), abs=5e-5)


@given(SHARES, SHARES)
@settings(deadline=None)
def test_difference_interval_is_symmetric(one: tuple[int, int], other: tuple[int, int]) -> None:
    low, high = difference_interval(one, other)
    assert low <= one[0] / one[1] - other[0] / other[1] <= high
    assert difference_interval(other, one) == pytest.approx((-high, -low), abs=1e-12)


def test_chance_error_approaches_the_normal() -> None:
    rows, chance = np.array([40_000, 10_000]), np.array([0.9, 0.6])
    mean, high = calibration_error_by_chance(rows, rows * chance, np.array([0, 1]))
    deviations = np.sqrt(rows * chance * (1 - chance))
    assert mean == pytest.approx(np.sqrt(2 / np.pi) * deviations.sum() / rows.sum(), rel=0.1)
    assert mean < high < 3 * mean


def test_certain_rows_have_no_chance_error() -> None:
    assert calibration_error_by_chance(np.array([0, 500]), np.array([0.0, 500.0]), np.array([0, 1])) == (0, 0)


def test_stability_grows_with_the_distance() -> None:
    same, near, far = np.array([500, 500]), np.array([400, 600]), np.array([50, 950])
    assert population_stability(same * 2, same) == pytest.approx(0, abs=1e-6)
    # By hand: (0.4 - 0.5) ln(0.4 / 0.5) + (0.6 - 0.5) ln(0.6 / 0.5).
    assert population_stability(near, same) == pytest.approx(0.0405, abs=5e-4)
    assert population_stability(far, same) > 1


@pytest.mark.parametrize("bins", [2, 5, 10, 13])
def test_stability_by_chance_is_a_quantile_of_chi_squared(bins: int) -> None:
    quantile = chi2.ppf(0.999, bins - 1)
    assert stability_by_chance(bins, 50, 400) == pytest.approx(quantile * (1 / 50 + 1 / 400), rel=0.035)


def test_stability_by_hand() -> None:
    # With half a row in each bin: 1.5 of 5 and 3.5 of 5, against 6.5 of 8 and 1.5 of 8.
    share, expected = np.array([0.3, 0.7]), np.array([0.8125, 0.1875])
    index = ((share - expected) * np.log(share / expected)).sum()
    assert population_stability(np.array([1, 3]), np.array([6, 1])) == pytest.approx(index)


def test_calibration_error_by_hand() -> None:
    sums, correct = np.array([0.0, 3.4, 0.5]), np.array([0.0, 4.0, 0.0])
    assert expected_calibration_error(sums, correct, 5) == pytest.approx((0.6 + 0.5) / 5)
    both = expected_calibration_error(np.stack([sums, sums * 0]), np.stack([correct, correct]), 5)
    assert both.tolist() == pytest.approx([1.1 / 5, 4 / 5])


def test_stability_rarely_exceeds_chance() -> None:
    generator = np.random.default_rng(0)
    shares, limit = np.full(10, 0.1), stability_by_chance(10, 2_000, 60_000)
    runs = generator.multinomial(2_000, shares, 4_000)
    references = generator.multinomial(60_000, shares, 4_000)
    beyond = sum(population_stability(run, reference) > limit for run, reference in zip(runs, references, strict=True))
    assert 0 < beyond < 14
