"""Drift: whether the images and predictions of a run look like the model's training data.

A profile is the part of a model card that describes the training data. For each feature it has the number of rows in
each of about ten bins. A run is compared with it by the population stability index. Knows nothing of cards.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mnist_batch.records import CLASSES, Ints, first_line
from mnist_batch.report.bins import CONFIDENCE_EDGES, IMAGE_EDGES
from mnist_batch.report.metrics import population_stability, stability_by_chance
from mnist_batch.report.tally import EMPTY_TALLY, Tally

# The index from which a feature counts as moved, and from which it is flagged: the convention of credit scoring.
MODERATE, MAJOR = 0.1, 0.25
# About this share of the rows is in each bin of a profile. The outermost bins are empty: they are beyond all rows.
_BIN_SHARE = 0.1
# A smaller share than this does not get a bin of its own.
_MIN_BIN_SHARE = 0.01

FEATURES = {
    "digits": "mix of digits",
    "confidence": "confidence",
    "ink": "share of ink",
    "stroke": "stroke width",
    "width": "width of the digit",
    "height": "height of the digit",
}
_TALLY_FIELDS = {name: "predictions" if name == "digits" else name for name in FEATURES}
_EDGES = {"digits": np.arange(CLASSES + 1.0), "confidence": CONFIDENCE_EDGES, **IMAGE_EDGES}


def build_profile(training: Tally, held_out: Tally | None) -> dict[str, Any]:
    """Returns the profile of a model.

    training: the rows it was trained on, with their labels as predictions.
    held_out: rows it was not trained on, for the confidences. None if there are none.
    """
    profile: dict[str, Any] = {
        "rows": training.predicted,
        "digits": {"edges": list(range(CLASSES)), "counts": training.predictions.tolist()},
    }
    profile |= {name: coarsen(getattr(training, name), name) for name in IMAGE_EDGES}
    profile["confidence"] = None if held_out is None else coarsen(held_out.confidence, "confidence")
    profile["confidence_of"] = None if held_out is None else "training rows that were held out to choose the epoch"
    return profile


def measure_drift(tally: Tally, profile: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Compares a run with a profile, feature by feature. Returns None without a profile or without predictions."""
    if profile is None or not tally.predicted:
        return None
    features = compare_features({name: getattr(tally, field) for name, field in _TALLY_FIELDS.items()}, profile)
    return {
        "thresholds": {"moderate": MODERATE, "major": MAJOR},
        "profile_rows": profile["rows"],
        "confidence_of": profile["confidence_of"],
        "flagged": [feature["name"] for feature in features if feature["level"] == "major"],
        "features": features,
    }


def check_profile(profile: Mapping[str, Any] | None) -> None:
    """Raises ValueError for a profile that `build_profile` did not make, so that a run fails before it scores."""
    if profile is None:
        return
    one_per_bin = {name: getattr(EMPTY_TALLY, field) + 1 for name, field in _TALLY_FIELDS.items()}
    try:
        figures = [feature["psi"] + feature["psi_by_chance"] for feature in compare_features(one_per_bin, profile)]
        valid = bool(np.isfinite([*figures, profile["rows"]]).all()) and "confidence_of" in profile
    except (LookupError, TypeError, ValueError, ArithmeticError) as error:
        raise ValueError(f"an invalid profile: {first_line(error)}") from error
    if not valid:
        raise ValueError("a profile without rows")


def drift_warnings(drift: Mapping[str, Any] | None) -> list[str]:
    """Returns one line if a feature is flagged."""
    if drift is None or not drift["flagged"]:
        return []
    names = ", ".join(FEATURES[name] for name in drift["flagged"])
    return [
        f"what was scored does not look like what the model was trained on ({names}): "
        "look at the images in report.html before trusting the predictions"
    ]


def compare_features(counts: Mapping[str, Ints], bins: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Compares the counts of each feature, in its fine bins, with the counts expected in the coarse ones of `bins`."""
    return [_compare_feature(name, counts[name], bins[name]) for name in FEATURES if bins[name] is not None]


def _compare_feature(name: str, fine: Ints, coarse: Mapping[str, Any]) -> dict[str, Any]:
    edges, expected = coarse["edges"], np.array(coarse["counts"])
    counts = np.add.reduceat(fine, np.searchsorted(_EDGES[name], edges))
    index = population_stability(counts, expected)
    chance = stability_by_chance(len(edges), int(counts.sum()), int(expected.sum()))
    beyond = index > chance
    return {
        "name": name,
        "psi": index,
        "psi_by_chance": chance,
        "level": "major" if beyond and index >= MAJOR else "moderate" if beyond and index >= MODERATE else "stable",
        "edges": edges,
        "expected": (expected / expected.sum()).tolist(),
        "found": (counts / counts.sum()).tolist(),
    }


def coarsen(fine: Ints, name: str) -> dict[str, Any]:
    """Merges the fine bins of a feature into about ten of similar share. Returns their lower edges and counts."""
    starts = _find_bin_starts(fine.tolist())
    return {"edges": _EDGES[name][starts].tolist(), "counts": np.add.reduceat(fine, starts).tolist()}


def _find_bin_starts(fine: Sequence[int]) -> list[int]:
    """The first fine bin of each coarse bin.

    A fine bin with many rows is a coarse bin of its own. So are the fine bins without rows at either end.
    """
    filled = [position for position, count in enumerate(fine) if count]
    first, beyond = filled[0], filled[-1] + 1
    total = sum(fine)
    starts, gathered = [first], 0
    for position in range(first, beyond):
        heavy = fine[position] >= _BIN_SHARE * total and gathered >= _MIN_BIN_SHARE * total
        if gathered >= _BIN_SHARE * total or heavy:
            starts.append(position)
            gathered = 0
        gathered += fine[position]
    if gathered < _MIN_BIN_SHARE * total and len(starts) > 1:
        starts.pop()
    return [*([0] if first else []), *starts, *([beyond] if beyond < len(fine) else [])]
