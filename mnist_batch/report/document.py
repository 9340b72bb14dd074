"""`report.json`: the figures of a run as one JSON object, unrounded. `schema.json` says what it holds."""

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
# Below which confidences it is counted how many rows there are.
_BELOW = (0.5, 0.8, 0.9, 0.95, 0.99, 0.999)
# For which accuracies the threshold of confidence is looked up.
_TARGETS = (0.99, 0.995, 0.999, 0.9999)
_PAIRS = 10


def build_report(tally: Tally, profile: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The part of `report.json` that depends on the rows alone; what needs labels is null where there are none.

    profile: what the model's card knows of its training data (`drift.profile_of`).
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
        "mean_confidence": _total(tally.confidence_sum) / predicted if predicted else None,
        "confidence_histogram": {"edges": CONFIDENCE_EDGES.tolist(), "counts": tally.confidence.tolist()},
        "below": [_count_below(tally, threshold) for threshold in _BELOW],
        "least_confident": [row.as_json() for row in tally.doubtful],
        "images": {
            name: {"edges": edges.tolist(), "counts": getattr(tally, name).tolist()}
            for name, edges in IMAGE_EDGES.items()
        },
        "drift": measure_drift(tally, profile),
        **_label_figures(tally),
    }


def _label_figures(tally: Tally) -> dict[str, Any]:
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
        "confused_pairs": _confused_pairs(tally.confusion),
        "calibration": _calibration(tally),
        "coverage": _coverage(tally),
        "coverage_targets": [_operating_point(tally, target) for target in _TARGETS],
        "label_errors": {"thresholds": thresholds, "rows": _count_suspected(tally, thresholds)},
        "mistakes": [
            row.as_json() | {"suspected_label_error": row.confidence >= (thresholds[row.prediction] or 2)}
            for row in tally.wrong
        ],
    }


def _total(sums: Ints) -> float:
    return int(sums.sum()) / UNIT


def _count_below(tally: Tally, threshold: float) -> dict[str, Any]:
    rows = int(tally.confidence[: np.searchsorted(CONFIDENCE_EDGES, threshold)].sum())
    return {"confidence": threshold, "rows": rows, "share": rows / tally.predicted if tally.predicted else None}


def _confused_pairs(confusion: Ints) -> list[dict[str, Any]]:
    """The most frequent mistakes; share: of the rows with that label."""
    pairs = [
        (-int(confusion[i, j]), i, j) for i in range(CLASSES) for j in range(CLASSES) if i != j and confusion[i, j]
    ]
    return [
        {"label": i, "prediction": j, "rows": -count, "share": -count / int(confusion[i].sum())}
        for count, i, j in sorted(pairs)[:_PAIRS]
    ]


def _correct(tally: Tally) -> Ints:
    return tally.labelled_confidence - tally.mistakes.sum(axis=0)


def _calibration(tally: Tally) -> dict[str, Any]:
    confidence = tally.labelled_confidence_sum / UNIT
    rows, sums, correct = (
        np.add.reduceat(fine, CALIBRATION_STARTS) for fine in (tally.labelled_confidence, confidence, _correct(tally))
    )
    edges = [*CONFIDENCE_EDGES[CALIBRATION_STARTS].tolist(), 1.0]
    mean, high = calibration_error_by_chance(tally.labelled_confidence, confidence, CALIBRATION_STARTS)
    return {
        "ece": float(expected_calibration_error(sums, correct, tally.labelled)),
        "ece_by_chance": {"mean": mean, "percentile_95": high},
        "nll": int(tally.nll) / NLL_UNIT / tally.labelled,
        "brier": int(tally.brier) / UNIT / tally.labelled,
        "mean_confidence": _total(tally.labelled_confidence_sum) / tally.labelled,
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


def _at_least(fine: Ints) -> Ints:
    """How many rows lie in each bin or above."""
    return fine[::-1].cumsum()[::-1]


def _coverage(tally: Tally) -> dict[str, Any]:
    """For each confidence that occurs: labelled rows that have at least that, and how many of them are right."""
    occurs = tally.labelled_confidence > 0
    return {
        "confidence": CONFIDENCE_EDGES[:-1][occurs].tolist(),
        "rows": _at_least(tally.labelled_confidence)[occurs].tolist(),
        "correct": _at_least(_correct(tally))[occurs].tolist(),
    }


def _operating_point(tally: Tally, target: float) -> dict[str, Any]:
    """The lowest confidence above which so many are right; null where no confidence is enough.

    below: how many rows of the run, labelled or not, lie below it.
    """
    rows, correct = _at_least(tally.labelled_confidence), _at_least(_correct(tally))
    enough = np.flatnonzero((rows > 0) & (correct >= target * rows))
    if not len(enough):
        return {"accuracy": target} | dict.fromkeys(
            ("confidence", "rows", "correct", "interval", "below", "below_share")
        )
    at = int(enough[0])
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
    """For each digit, the mean probability that rows with that label have of it; None where no row has it."""
    support = tally.confusion.sum(axis=1)
    return [
        int(total) / UNIT / int(rows) if rows else None
        for total, rows in zip(tally.own_probability, support, strict=True)
    ]


def _count_suspected(tally: Tally, thresholds: list[float | None]) -> int:
    """Rows predicted as another digit than their label, as surely as rows of that digit are on average.

    Northcutt et al. 2021, "Confident Learning": the off-diagonal of the confident joint, for the predicted digit, with
    thresholds rounded up to the next bin.
    """
    starts = [np.searchsorted(CONFIDENCE_EDGES, 2 if threshold is None else threshold) for threshold in thresholds]
    return sum(int(tally.mistakes[digit, start:].sum()) for digit, start in enumerate(starts))
