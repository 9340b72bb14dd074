"""`report.json`: the figures of a run as one JSON object, unrounded. `schema.json` describes its content."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from mnist_batch.records import CLASSES, Ints
from mnist_batch.report.bins import CALIBRATION_STARTS, CONFIDENCE_EDGES, IMAGE_EDGES
from mnist_batch.report.drift import measure_drift
from mnist_batch.report.metrics import (
    calibration_error_by_chance,
    expected_calibration_error,
    precision_recall_f1,
    wilson_interval,
)
from mnist_batch.report.tally import NLL_UNIT, UNIT, Tally

REPORT_VERSION = 1
# The report counts the rows below each of these confidences.
_CONFIDENCE_LIMITS = (0.5, 0.8, 0.9, 0.95, 0.99, 0.999)
# The report gives the confidence threshold that reaches each of these accuracies.
_TARGET_ACCURACIES = (0.99, 0.995, 0.999, 0.9999)
_MAX_PAIRS = 10


def build_report(tally: Tally, profile: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Returns the part of `report.json` that depends on the rows alone. Figures that need labels are null without them.

    profile: the model card's profile of its training data (`drift.build_profile`).
    """
    predicted = tally.predicted
    return {
        "report_version": REPORT_VERSION,
        "rows": predicted + tally.rejected,
        "predicted": predicted,
        "rejected": tally.rejected,
        "rejects_by_reason": dict(sorted(tally.rejects.items())),
        "reject_examples": {
            reason: [{"row": example.row, "id": example.id, "detail": example.detail} for example in examples]
            for reason, examples in sorted(tally.reject_examples.items())
        },
        "prediction_counts": tally.predictions.tolist(),
        "mean_confidence": _sum_fixed_point(tally.confidence_sum) / predicted if predicted else None,
        "confidence_histogram": {"edges": CONFIDENCE_EDGES.tolist(), "counts": tally.confidence.tolist()},
        "below": [_count_below(tally, limit) for limit in _CONFIDENCE_LIMITS],
        "least_confident": [row.as_json() for row in tally.doubtful],
        "images": {
            name: {"edges": edges.tolist(), "counts": getattr(tally, name).tolist()}
            for name, edges in IMAGE_EDGES.items()
        },
        "drift": measure_drift(tally, profile),
        **_report_labelled(tally),
    }


def _report_labelled(tally: Tally) -> dict[str, Any]:
    labelled = tally.labelled
    if not labelled:
        names = ("accuracy", "accuracy_interval", "confusion", "per_digit", "confused_pairs", "calibration", "coverage")
        return {"labelled": 0} | dict.fromkeys((*names, "coverage_targets", "label_errors", "mistakes"))
    thresholds = _mean_own_probability(tally)
    return {
        "labelled": labelled,
        "accuracy": tally.correct / labelled,
        "accuracy_interval": list(wilson_interval(tally.correct, labelled)),
        "confusion": tally.confusion.tolist(),
        "per_digit": precision_recall_f1(tally.confusion),
        "confused_pairs": _rank_confused_pairs(tally.confusion),
        "calibration": _measure_calibration(tally),
        "coverage": _measure_coverage(tally),
        "coverage_targets": [_find_threshold(tally, target) for target in _TARGET_ACCURACIES],
        "label_errors": {"thresholds": thresholds, "rows": _count_suspected(tally, thresholds)},
        "mistakes": [
            row.as_json() | {"suspected_label_error": row.confidence >= (thresholds[row.prediction] or 2)}
            for row in tally.wrong
        ],
    }


def _sum_fixed_point(sums: Ints) -> float:
    """The total of sums that are stored times `UNIT`."""
    return int(sums.sum()) / UNIT


def _count_below(tally: Tally, limit: float) -> dict[str, Any]:
    rows = int(tally.confidence[: np.searchsorted(CONFIDENCE_EDGES, limit)].sum())
    return {"confidence": limit, "rows": rows, "share": rows / tally.predicted if tally.predicted else None}


def _rank_confused_pairs(confusion: Ints) -> list[dict[str, Any]]:
    """The most frequent mistakes. share: of the rows with that label."""
    pairs = [
        (-int(confusion[i, j]), i, j) for i in range(CLASSES) for j in range(CLASSES) if i != j and confusion[i, j]
    ]
    return [
        {"label": i, "prediction": j, "rows": -count, "share": -count / int(confusion[i].sum())}
        for count, i, j in sorted(pairs)[:_MAX_PAIRS]
    ]


def _count_correct(tally: Tally) -> Ints:
    """int64 [confidence bins]: labelled rows whose prediction is their label."""
    return tally.labelled_confidence - tally.mistakes.sum(axis=0)


def _measure_calibration(tally: Tally) -> dict[str, Any]:
    confidence = tally.labelled_confidence_sum / UNIT
    rows, sums, correct = (
        np.add.reduceat(counts, CALIBRATION_STARTS)
        for counts in (tally.labelled_confidence, confidence, _count_correct(tally))
    )
    edges = [*CONFIDENCE_EDGES[CALIBRATION_STARTS].tolist(), 1.0]
    mean, high = calibration_error_by_chance(tally.labelled_confidence, confidence, CALIBRATION_STARTS)
    return {
        "ece": float(expected_calibration_error(sums, correct, tally.labelled)),
        "ece_by_chance": {"mean": mean, "percentile_95": high},
        "nll": int(tally.nll) / NLL_UNIT / tally.labelled,
        "brier": int(tally.brier) / UNIT / tally.labelled,
        "mean_confidence": _sum_fixed_point(tally.labelled_confidence_sum) / tally.labelled,
        "bins": [
            {
                "low": edges[i],
                "high": edges[i + 1],
                "rows": int(rows[i]),
                "confidence": float(sums[i] / rows[i]) if rows[i] else None,
                "accuracy": float(correct[i] / rows[i]) if rows[i] else None,
            }
            for i in range(len(rows))
        ],
    }


def _count_from_bin_up(counts: Ints) -> Ints:
    """For each bin, the rows in it and in all higher bins."""
    return counts[::-1].cumsum()[::-1]


def _measure_coverage(tally: Tally) -> dict[str, Any]:
    """For each confidence that occurs: the labelled rows at or above it, and how many of them are correct."""
    occurs = tally.labelled_confidence > 0
    return {
        "confidence": CONFIDENCE_EDGES[:-1][occurs].tolist(),
        "rows": _count_from_bin_up(tally.labelled_confidence)[occurs].tolist(),
        "correct": _count_from_bin_up(_count_correct(tally))[occurs].tolist(),
    }


def _find_threshold(tally: Tally, target: float) -> dict[str, Any]:
    """The lowest confidence at and above which labelled rows reach the target accuracy; null if no confidence does.

    below: the rows of the run below it, labelled or not.
    """
    rows, correct = _count_from_bin_up(tally.labelled_confidence), _count_from_bin_up(_count_correct(tally))
    sufficient = np.flatnonzero((rows > 0) & (correct >= target * rows))
    if not len(sufficient):
        return {"accuracy": target} | dict.fromkeys(
            ("confidence", "rows", "correct", "interval", "below", "below_share")
        )
    at = int(sufficient[0])
    below = int(tally.confidence[:at].sum())
    return {
        "accuracy": target,
        "confidence": float(CONFIDENCE_EDGES[at]),
        "rows": int(rows[at]),
        "correct": int(correct[at]),
        "interval": list(wilson_interval(int(correct[at]), int(rows[at]))),
        "below": below,
        "below_share": below / tally.predicted,
    }


def _mean_own_probability(tally: Tally) -> list[float | None]:
    """For each digit, the mean probability of that digit over the rows labelled with it; None if there are none."""
    support = tally.confusion.sum(axis=1)
    return [
        int(total) / UNIT / int(rows) if rows else None
        for total, rows in zip(tally.own_probability, support, strict=True)
    ]


def _count_suspected(tally: Tally, thresholds: list[float | None]) -> int:
    """Counts wrong predictions that are at least as confident as rows labelled with that digit are on average.

    Northcutt et al. 2021, "Confident Learning": the off-diagonal of the confident joint. Only the predicted digit is
    considered, and thresholds are rounded up to the next bin.
    """
    starts = [np.searchsorted(CONFIDENCE_EDGES, 2 if threshold is None else threshold) for threshold in thresholds]
    return sum(int(tally.mistakes[digit, start:].sum()) for digit, start in enumerate(starts))
