"""`report.json`: the figures of a run as one JSON object, unrounded."""

from __future__ import annotations

from typing import Any

from mnist_batch.report.metrics import precision_recall_f1, wilson_interval
from mnist_batch.report.tally import Tally


def report_of(tally: Tally) -> dict[str, Any]:
    """The part of `report.json` that depends on the rows alone; what needs labels is null where there are none."""
    labelled = tally.labelled
    return {
        "rows": tally.predicted + tally.rejected,
        "predicted": tally.predicted,
        "rejected": tally.rejected,
        "rejects_by_reason": dict(sorted(tally.rejects.items())),
        "labelled": labelled,
        "accuracy": tally.correct / labelled if labelled else None,
        "accuracy_interval": list(wilson_interval(tally.correct, labelled)) if labelled else None,
        "confusion": tally.confusion.tolist() if labelled else None,
        "per_digit": precision_recall_f1(tally.confusion) if labelled else None,
        "prediction_counts": tally.predictions.tolist(),
    }
