"""The figures of a report against those of scikit-learn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from sklearn.calibration import calibration_curve  # type: ignore[import-untyped]  # ships no types
from sklearn.metrics import (  # type: ignore[import-untyped]  # ships no types
    accuracy_score,
    brier_score_loss,
    confusion_matrix,
    log_loss,
    precision_recall_fscore_support,
)

from mnist_batch import predict
from mnist_batch.records import Floats, Ints
from mnist_batch.report.document import Report
from mnist_batch.report.tally import tally_batch
from report.rows import batch_of, guessed, scores_of, tally
from report.runs import report

DIGITS = list(range(10))


def report_of(probabilities: Floats, labels: Ints) -> Report:
    return report(tally_batch(batch_of(np.zeros((len(labels), 28, 28), np.uint8), labels), 0, scores_of(probabilities)))


def sklearn_ece(confidence: Floats, correct: npt.NDArray[np.bool]) -> float:
    """ECE from scikit-learn's reliability curve. Its bins include their upper edge, but no confidence is on an edge."""
    accuracy, mean = calibration_curve(correct, confidence, n_bins=15, strategy="uniform")
    rows = np.histogram(confidence, bins=15, range=(0, 1))[0]
    return float((rows[rows > 0] / len(confidence) * np.abs(accuracy - mean)).sum())


def assert_agrees(found: Report, probabilities: Floats, labels: Ints) -> None:
    digits, exact = probabilities.argmax(axis=1), probabilities.astype(np.float64)
    exact /= exact.sum(axis=1, keepdims=True)  # scikit-learn rejects sums that are off by float32 rounding
    precision, recall, f1, support = precision_recall_fscore_support(
        labels, digits, labels=DIGITS, zero_division=np.nan
    )
    for name, expected in {"precision": precision, "recall": recall, "f1": f1, "support": support}.items():
        figures = [np.nan if getattr(d, name) is None else getattr(d, name) for d in found.per_digit or ()]
        assert figures == pytest.approx(expected, abs=1e-12, nan_ok=True), name
    assert found.confusion == confusion_matrix(labels, digits, labels=DIGITS).tolist()
    assert found.accuracy == accuracy_score(labels, digits)
    calibration = found.calibration
    assert calibration is not None
    assert calibration.brier == pytest.approx(
        brier_score_loss(labels, exact, labels=DIGITS, scale_by_half=False), abs=1e-6
    )
    assert calibration.nll == pytest.approx(log_loss(labels, exact, labels=DIGITS), abs=1e-6)
    confidence = probabilities.max(axis=1)
    assert calibration.ece == pytest.approx(sklearn_ece(confidence, digits == labels), abs=1e-8)
    assert found.mean_confidence == pytest.approx(confidence.astype(np.float64).mean(), abs=1e-9)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("rows", "sharpness"), [(30, 1.0), (2_000, 3.0), (2_000, 12.0)])
def test_random_predictions_match_sklearn(rows: int, sharpness: float, seed: int) -> None:
    probabilities, labels = guessed(rows, seed, sharpness)
    probabilities = np.maximum(
        probabilities, 1e-12
    )  # scikit-learn clips smaller values, and this program clips at another bound
    assert_agrees(report_of(probabilities, labels), probabilities, labels)


def test_calibrated_error_is_within_chance() -> None:
    chance = report_of(*guessed(20_000)).calibration
    assert chance is not None
    assert chance.ece < chance.ece_by_chance.percentile_95 * 1.5
    probabilities, labels = guessed(20_000)
    sharper = probabilities**3 / (probabilities**3).sum(axis=1, keepdims=True)
    overconfident = report_of(sharper, labels).calibration
    assert overconfident is not None
    assert overconfident.ece > 10 * overconfident.ece_by_chance.percentile_95


def test_threshold_is_the_lowest_sufficient() -> None:
    probabilities, labels = guessed(20_000, sharpness=8.0)
    confidence, correct = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    points = report_of(probabilities, labels).coverage_targets
    assert points is not None
    assert [point.accuracy for point in points] == [0.99, 0.995, 0.999, 0.9999]
    for point in points[:3]:
        assert point.confidence is not None
        accepted = confidence >= np.float32(point.confidence)
        assert (point.rows, point.correct, point.below) == (
            accepted.sum(),
            correct[accepted].sum(),
            (~accepted).sum(),
        )
        assert correct[accepted].mean() >= point.accuracy
        lower = confidence >= np.float32(point.confidence - 1e-6)
        next_lower = confidence[confidence < np.float32(point.confidence)].max()
        assert (
            correct[confidence >= np.floor(next_lower * 1000) / 1000].mean() < point.accuracy
            or lower.sum() == accepted.sum()
        )


def test_unreached_target_has_no_threshold() -> None:
    points = report(tally([(1, 2, 0.99)] * 5)).coverage_targets
    assert points is not None
    assert {point.confidence for point in points} == {None}


def test_only_confident_mistakes_are_suspect() -> None:
    right = [(digit, digit, 0.9) for digit in range(10) for _ in range(50)]
    found = report(tally([*right, (3, 5, 0.97), (3, 5, 0.98), (4, 9, 0.4)]))
    assert found.label_errors is not None
    assert found.label_errors.rows == 2
    assert [row.suspected_label_error for row in found.mistakes or ()] == [True, True, False]
    assert found.label_errors.thresholds[5] == pytest.approx(0.9, abs=1e-6)


@pytest.mark.real_data
def test_real_predictions_match_sklearn(real_data: Path, tmp_path: Path) -> None:
    run = predict(real_data / "mnist" / "t10k-images-idx3-ubyte.gz", output=tmp_path / "out", probabilities=True)
    frame = run.to_pandas()
    probabilities = frame[[f"p{digit}" for digit in DIGITS]].to_numpy(np.float32)
    assert_agrees(run.report, probabilities, frame["label"].to_numpy(np.int64))
    assert run.report.drift is not None
    assert run.report.drift.flagged == []
