"""Compares a run's report with the report of an earlier run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from mnist_batch.records import CLASSES, Ints
from mnist_batch.report.bins import IMAGE_EDGES
from mnist_batch.report.drift import coarsen, compare_features
from mnist_batch.report.metrics import difference_interval


def compare_reports(report: Mapping[str, Any], earlier: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Returns the earlier report's figures and what changed since. name: the path of the earlier report."""
    both_predicted = bool(report["predicted"] and earlier["predicted"])
    return {
        "name": name,
        "finished": earlier["run"]["finished"],
        "model": earlier["model"]["name"],
        "same_model": earlier["model"]["sha256"] == report["model"]["sha256"],
        "rows": earlier["rows"],
        "rejected": earlier["rejected"],
        "labelled": earlier["labelled"],
        "accuracy": earlier["accuracy"],
        "accuracy_change": _compare_accuracy(report, earlier),
        "mean_confidence": earlier["mean_confidence"],
        "features": (
            compare_features(_read_histograms(report), _coarsen_all(_read_histograms(earlier)))
            if both_predicted
            else []
        ),
    }


def _compare_accuracy(report: Mapping[str, Any], earlier: Mapping[str, Any]) -> dict[str, Any] | None:
    """The change and its 95 % interval, or None if one of the reports has no labels."""
    if not report["labelled"] or not earlier["labelled"]:
        return None
    now, then = ((int(np.trace(r["confusion"])), r["labelled"]) for r in (report, earlier))
    return {"change": report["accuracy"] - earlier["accuracy"], "interval": list(difference_interval(now, then))}


def _read_histograms(report: Mapping[str, Any]) -> dict[str, Ints]:
    """The counts per bin of a report, by feature of `drift`."""
    histograms = {
        "digits": report["prediction_counts"],
        "confidence": report["confidence_histogram"]["counts"],
        **{name: report["images"][name]["counts"] for name in IMAGE_EDGES},
    }
    return {name: np.array(counts, np.int64) for name, counts in histograms.items()}


def _coarsen_all(histograms: Mapping[str, Ints]) -> dict[str, Any]:
    digits = {"edges": list(range(CLASSES)), "counts": histograms["digits"].tolist()}
    return {name: coarsen(counts, name) for name, counts in histograms.items()} | {"digits": digits}
