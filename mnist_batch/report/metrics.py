"""The figures of a report, each with its source. Arrays and counts in, floats out; nothing here reads or writes."""

from __future__ import annotations

from math import sqrt

import numpy as np
import numpy.typing as npt

from mnist_batch.records import Floats, Ints

# The 97.5th percentile of the standard normal distribution.
_Z95 = 1.959963984540054


def wilson_interval(correct: int, total: int) -> tuple[float, float]:
    """95 % confidence interval of a proportion; `total` > 0. Returns (low, high) within 0..1.

    Wilson 1927, "Probable Inference, the Law of Succession, and Statistical Inference".
    """
    share = correct / total
    spread = _Z95**2 / total
    centre = (share + spread / 2) / (1 + spread)
    half = _Z95 * sqrt(share * (1 - share) / total + spread / (4 * total)) / (1 + spread)
    return max(0.0, centre - half), min(1.0, centre + half)


def expected_calibration_error(confidence: Floats, correct: npt.NDArray[np.bool_], bins: int = 15) -> float:
    """Gap between confidence and accuracy, averaged over equal-width bins and weighted by their size.

    confidence: float32 [n] in 0..1; correct: bool [n], n > 0. Returns a float in 0..1.
    Guo et al. 2017, "On Calibration of Modern Neural Networks", eq. 3.
    """
    index = np.minimum((confidence * bins).astype(np.int64), bins - 1)
    gap = np.bincount(index, confidence - correct.astype(np.float64), minlength=bins)
    return float(np.abs(gap).sum() / len(confidence))


def precision_recall_f1(confusion: Ints) -> list[dict[str, float | int | None]]:
    """For each class: precision, recall, f1 and support, from counts [true class, predicted class].

    A ratio with nothing below it is None, not zero: a digit that was never predicted has no precision.
    """
    figures: list[dict[str, float | int | None]] = []
    for digit in range(len(confusion)):
        hits = int(confusion[digit, digit])
        support, predicted = int(confusion[digit].sum()), int(confusion[:, digit].sum())
        figures.append(
            {
                "digit": digit,
                "precision": hits / predicted if predicted else None,
                "recall": hits / support if support else None,
                "f1": 2 * hits / (predicted + support) if predicted + support else None,
                "support": support,
            }
        )
    return figures
