"""The figures of a report against other implementations of them."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.calibration import calibration_curve
from sklearn.metrics import (
    accuracy_score,
    brier_score_loss,
    confusion_matrix,
    log_loss,
    precision_recall_fscore_support,
)

from mnist_batch.records import Floats
from mnist_batch.report.document import build_report
from mnist_batch.report.tally import tally_batch
from report.rows import batch_of, guessed, tally

DIGITS = list(range(10))


def reported(probabilities: Floats, labels: np.ndarray) -> dict:
    return build_report(tally_batch(batch_of(np.zeros((len(labels), 28, 28), np.uint8), labels), 0, probabilities))


def second_ece(confidence: Floats, correct: np.ndarray) -> float:
    """From scikit-learn's reliability curve, whose bins are closed above: none of these lies on a border."""
    accuracy, mean = calibration_curve(correct, confidence, n_bins=15, strategy="uniform")
    rows = np.histogram(confidence, bins=15, range=(0, 1))[0]
    return float((rows[rows > 0] / len(confidence) * np.abs(accuracy - mean)).sum())


def agree(report: dict, probabilities: Floats, labels: np.ndarray) -> None:
    digits, exact = probabilities.argmax(axis=1), probabilities.astype(np.float64)
    exact /= exact.sum(axis=1, keepdims=True)  # scikit-learn minds the last bits of a float32
    precision, recall, f1, support = precision_recall_fscore_support(
        labels, digits, labels=DIGITS, zero_division=np.nan
    )
    for name, expected in {"precision": precision, "recall": recall, "f1": f1, "support": support}.items():
        found = [np.nan if d[name] is None else d[name] for d in report["per_digit"]]
        assert found == pytest.approx(expected, abs=1e-12, nan_ok=True), name
    assert report["confusion"] == confusion_matrix(labels, digits, labels=DIGITS).tolist()
    assert report["accuracy"] == accuracy_score(labels, digits)
    calibration = report["calibration"]
    assert calibration["brier"] == pytest.approx(
        brier_score_loss(labels, exact, labels=DIGITS, scale_by_half=False), abs=1e-6
    )
    assert calibration["nll"] == pytest.approx(log_loss(labels, exact, labels=DIGITS), abs=1e-6)
    confidence = probabilities.max(axis=1)
    assert calibration["ece"] == pytest.approx(second_ece(confidence, digits == labels), abs=1e-8)
    assert report["mean_confidence"] == pytest.approx(confidence.astype(np.float64).mean(), abs=1e-9)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("rows", "sharpness"), [(30, 1.0), (2_000, 3.0), (2_000, 12.0)])
def test_random_predictions_have_the_figures_scikit_learn_gives(rows: int, sharpness: float, seed: int) -> None:
    probabilities, labels = guessed(rows, seed, sharpness)
    probabilities = np.maximum(probabilities, 1e-12)  # below that scikit-learn cuts off, and so do we, elsewhere
    agree(reported(probabilities, labels), probabilities, labels)


def test_calibrated_predictions_show_no_more_error_than_chance_explains() -> None:
    chance = reported(*guessed(20_000))["calibration"]
    assert chance["ece"] < chance["ece_by_chance"]["percentile_95"] * 1.5
    probabilities, labels = guessed(20_000)
    sharper = probabilities**3 / (probabilities**3).sum(axis=1, keepdims=True)
    overconfident = reported(sharper, labels)["calibration"]
    assert overconfident["ece"] > 10 * overconfident["ece_by_chance"]["percentile_95"]


def test_a_threshold_gives_the_accuracy_it_was_looked_up_for_and_the_next_lower_one_does_not() -> None:
    probabilities, labels = guessed(20_000, sharpness=8.0)
    confidence, correct = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    points = reported(probabilities, labels)["coverage_targets"]
    assert [point["accuracy"] for point in points] == [0.99, 0.995, 0.999, 0.9999]
    for point in points[:3]:
        kept = confidence >= np.float32(point["confidence"])
        assert (point["rows"], point["correct"], point["below"]) == (kept.sum(), correct[kept].sum(), (~kept).sum())
        assert correct[kept].mean() >= point["accuracy"]
        lower = confidence >= np.float32(point["confidence"] - 1e-6)
        more = confidence[confidence < np.float32(point["confidence"])].max()
        assert (
            correct[confidence >= np.floor(more * 1000) / 1000].mean() < point["accuracy"] or lower.sum() == kept.sum()
        )


def test_rows_without_any_confidence_that_is_enough_have_no_threshold() -> None:
    points = build_report(tally([(1, 2, 0.99)] * 5))["coverage_targets"]
    assert {point["confidence"] for point in points} == {None}


def test_labels_that_were_exchanged_are_suspected_and_doubtful_mistakes_are_not() -> None:
    right = [(digit, digit, 0.9) for digit in range(10) for _ in range(50)]
    report = build_report(tally([*right, (3, 5, 0.97), (3, 5, 0.98), (4, 9, 0.4)]))
    assert report["label_errors"]["rows"] == 2
    assert [row["suspected_label_error"] for row in report["mistakes"]] == [True, True, False]
    assert report["label_errors"]["thresholds"][5] == pytest.approx(0.9, abs=1e-6)


@pytest.mark.real_data
def test_real_predictions_have_the_figures_scikit_learn_gives(real_data, tmp_path) -> None:
    from mnist_batch import predict

    run = predict(real_data / "mnist" / "t10k-images-idx3-ubyte.gz", output=tmp_path / "out", probabilities=True)
    frame = run.to_pandas()
    probabilities = frame[[f"p{digit}" for digit in DIGITS]].to_numpy(np.float32)
    agree(run.report, probabilities, frame["label"].to_numpy(np.int64))
    assert run.report["drift"]["flagged"] == []
