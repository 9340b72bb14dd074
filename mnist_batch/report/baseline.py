"""Compares a run's report with the report of an earlier run."""

from __future__ import annotations

import numpy as np

from mnist_batch.profile import Bins
from mnist_batch.records import Ints
from mnist_batch.report.bins import IMAGE_EDGES, FeatureName
from mnist_batch.report.document import AccuracyChange, Baseline, Report
from mnist_batch.report.drift import coarsen, compare_features, keep_digits
from mnist_batch.report.metrics import difference_interval


def compare_reports(report: Report, earlier: Report, name: str) -> Baseline:
    """Returns the earlier report's figures and what changed since. name: the path of the earlier report."""
    both_predicted = bool(report.predicted and earlier.predicted)
    return Baseline(
        name=name,
        finished=earlier.run.finished,
        model=earlier.model.name,
        same_model=earlier.model.sha256 == report.model.sha256,
        rows=earlier.rows,
        rejected=earlier.rejected,
        labelled=earlier.labelled,
        accuracy=earlier.accuracy,
        accuracy_change=_compare_accuracy(report, earlier),
        mean_confidence=earlier.mean_confidence,
        features=compare_features(_list_counts(report), _coarsen_all(earlier)) if both_predicted else [],
    )


def _compare_accuracy(report: Report, earlier: Report) -> AccuracyChange | None:
    """The change and its 95 % interval, or None if one of the reports has no labels."""
    if report.confusion is None or report.accuracy is None or earlier.confusion is None or earlier.accuracy is None:
        return None
    now = int(np.trace(report.confusion)), report.labelled
    then = int(np.trace(earlier.confusion)), earlier.labelled
    return AccuracyChange(report.accuracy - earlier.accuracy, difference_interval(now, then))


def _list_counts(report: Report) -> dict[FeatureName, Ints]:
    """The counts per bin of a report, by feature."""
    counts: dict[FeatureName, Ints] = {
        "digits": np.array(report.prediction_counts, np.int64),
        "confidence": np.array(report.confidence_histogram.counts, np.int64),
    }
    return counts | {name: np.array(getattr(report.images, name).counts, np.int64) for name in IMAGE_EDGES}


def _coarsen_all(report: Report) -> dict[FeatureName, Bins]:
    return {
        name: keep_digits(counts) if name == "digits" else coarsen(counts, name)
        for name, counts in _list_counts(report).items()
    }
