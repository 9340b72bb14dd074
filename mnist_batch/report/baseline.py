"""What changed since another run: two reports side by side."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from mnist_batch.records import CLASSES, Ints
from mnist_batch.report.bins import IMAGE_EDGES
from mnist_batch.report.drift import coarsen, compare_features
from mnist_batch.report.metrics import difference_interval


def compare_reports(report: Mapping[str, Any], earlier: Mapping[str, Any], name: str) -> dict[str, Any]:
    """An earlier report's figures, and what changed since. name: where it lies."""
    both = bool(report["predicted"] and earlier["predicted"])
    return {
        "name": name,
        "finished": earlier["run"]["finished"],
        "model": earlier["model"]["name"],
        "same_model": earlier["model"]["sha256"] == report["model"]["sha256"],
        "rows": earlier["rows"],
        "rejected": earlier["rejected"],
        "labelled": earlier["labelled"],
        "accuracy": earlier["accuracy"],
        "accuracy_change": _accuracy_change(report, earlier),
        "mean_confidence": earlier["mean_confidence"],
        "features": compare_features(_read_counts(report), _coarsen_all(_read_counts(earlier))) if both else [],
    }


def _accuracy_change(report: Mapping[str, Any], earlier: Mapping[str, Any]) -> dict[str, Any] | None:
    """None where one of the two has no labels."""
    if not report["labelled"] or not earlier["labelled"]:
        return None
    now, then = ((int(np.trace(r["confusion"])), r["labelled"]) for r in (report, earlier))
    return {"change": report["accuracy"] - earlier["accuracy"], "interval": list(difference_interval(now, then))}


def _read_counts(report: Mapping[str, Any]) -> dict[str, Ints]:
    """The histograms of a report, by feature of `drift`."""
    histograms = {
        "digits": report["prediction_counts"],
        "confidence": report["confidence_histogram"]["counts"],
        **{name: report["images"][name]["counts"] for name in IMAGE_EDGES},
    }
    return {name: np.array(counts, np.int64) for name, counts in histograms.items()}


def _coarsen_all(counts: Mapping[str, Ints]) -> dict[str, Any]:
    digits = {"edges": list(range(CLASSES)), "counts": counts["digits"].tolist()}
    return {name: coarsen(fine, name) for name, fine in counts.items()} | {"digits": digits}
