"""The metrics of a report, each with its source. Pure functions of arrays and counts."""

from __future__ import annotations

from math import hypot, sqrt
from typing import Any

import numpy as np
import numpy.typing as npt

from mnist_batch.records import Ints
from mnist_batch.report.document import DigitFigures

# The 97.5th percentile of the standard normal distribution.
_Z95 = 1.959963984540054
# Gives two digits of the mean and takes 20 ms.
_SIMULATIONS = 400


def wilson_interval(correct: int, total: int) -> tuple[float, float]:
    """95 % confidence interval of a proportion; `total` > 0. Returns (low, high) within 0..1.

    Wilson 1927, "Probable Inference, the Law of Succession, and Statistical Inference".
    """
    share = correct / total
    spread = _Z95**2 / total
    centre = (share + spread / 2) / (1 + spread)
    half = _Z95 * sqrt(share * (1 - share) / total + spread / (4 * total)) / (1 + spread)
    return max(0.0, centre - half), min(1.0, centre + half)


def difference_interval(one: tuple[int, int], other: tuple[int, int]) -> tuple[float, float]:
    """95 % confidence interval of share `one` minus share `other`. Each is (correct, total), of independent rows.

    Newcombe 1998, "Interval Estimation for the Difference between Independent Proportions", method 10.
    """
    share, other_share = one[0] / one[1], other[0] / other[1]
    (low, high), (other_low, other_high) = wilson_interval(*one), wilson_interval(*other)
    difference = share - other_share
    return difference - hypot(share - low, other_high - other_share), difference + hypot(
        high - share, other_share - other_low
    )


def expected_calibration_error(confidence: npt.NDArray[Any], correct: npt.NDArray[Any], rows: int) -> Any:
    """Gap between confidence and accuracy in 0..1, averaged over bins and weighted by their size.

    confidence: [..., bins], the sum of the confidences in each bin.
    correct: [..., bins], the number of correct rows in each bin.
    rows: the number of rows in all bins.

    Guo et al. 2017, "On Calibration of Modern Neural Networks", eq. 3. Multiplied by their size, the means of the bins
    become the sums that are taken here.
    """
    return np.abs(confidence - correct).sum(axis=-1) / rows


def calibration_error_by_chance(rows: Ints, confidence: npt.NDArray[np.float64], starts: Ints) -> tuple[float, float]:
    """Calibration error that a perfectly calibrated model shows on this many rows.

    Simulates runs in which each row is correct with the probability of its confidence. Returns the mean and the 95th
    percentile of their errors.

    rows: [confidence bins], the number of rows in each.
    confidence: [confidence bins], the sum of the confidences in each.
    starts: the first confidence bin of each calibration bin.
    """
    filled = rows > 0
    chances = np.minimum(confidence[filled] / rows[filled], 1)
    generator = np.random.default_rng(0)
    correct = np.zeros((_SIMULATIONS, len(rows)))
    correct[:, filled] = generator.binomial(rows[filled], chances, size=(_SIMULATIONS, int(filled.sum())))
    correct = np.add.reduceat(correct, starts, axis=1)
    errors = expected_calibration_error(np.add.reduceat(confidence, starts), correct, int(rows.sum()))
    return float(errors.mean()), float(np.quantile(errors, 0.95))


def precision_recall_f1(confusion: Ints) -> list[DigitFigures]:
    """Precision, recall, F1 and support of each class, from counts [true class, predicted class].

    A ratio with a zero denominator is None, not 0: a digit that was never predicted has no precision.
    """
    figures: list[DigitFigures] = []
    for digit in range(len(confusion)):
        hits = int(confusion[digit, digit])
        support, predicted = int(confusion[digit].sum()), int(confusion[:, digit].sum())
        figures.append(
            DigitFigures(
                digit=digit,
                precision=hits / predicted if predicted else None,
                recall=hits / support if support else None,
                f1=2 * hits / (predicted + support) if predicted + support else None,
                support=support,
            )
        )
    return figures


def population_stability(counts: Ints, reference: Ints) -> float:
    """Population stability index of two distributions over the same bins: 0 if they are equal, without an upper bound.

    The sum of (p - q) ln(p / q), as used in credit scoring (Siddiqi 2006). Half a row is added to each bin, because an
    empty one would make the index infinite.
    """
    bins = len(counts)
    share = (counts + 0.5) / (counts.sum() + bins / 2)
    expected = (reference + 0.5) / (reference.sum() + bins / 2)
    return float(((share - expected) * np.log(share / expected)).sum())


def stability_by_chance(bins: int, rows: int, reference_rows: int) -> float:
    """Value that `population_stability` exceeds once in a thousand times if both samples have the same distribution.

    The index is then chi-squared times the sum of both reciprocals (Yurdakul 2018). The quantile of chi-squared is the
    approximation of Wilson and Hilferty 1931.
    """
    freedom = bins - 1
    quantile = freedom * (1 - 2 / (9 * freedom) + 3.0902 * sqrt(2 / (9 * freedom))) ** 3
    return quantile * (1 / rows + 1 / reference_rows)
