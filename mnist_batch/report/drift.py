"""Drift: whether what was scored looks like what the model was trained on.

A profile is what a model card holds of the training data: for each feature how many rows lie in some ten bins. A run
is held against it by the population stability index. Knows nothing of cards.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mnist_batch.records import CLASSES, Ints, first_line
from mnist_batch.report.bins import CONFIDENCE_EDGES, IMAGE_EDGES
from mnist_batch.report.metrics import population_stability, stability_by_chance
from mnist_batch.report.tally import EMPTY_TALLY, Tally

# The index from which a feature is said to have moved, and from which it is flagged: the custom of credit scoring.
MODERATE, MAJOR = 0.1, 0.25
# Bins of a profile hold about this share of its rows, the outermost ones excepted: they are beyond all of its rows.
_BIN_SHARE = 0.1
# Less than this is not worth a bin of its own.
_LEAST_SHARE = 0.01

FEATURES = {
    "digits": "mix of digits",
    "confidence": "confidence",
    "ink": "share of ink",
    "stroke": "stroke width",
    "width": "width of the digit",
    "height": "height of the digit",
}
# Where a tally holds them.
_COLUMNS = {name: "predictions" if name == "digits" else name for name in FEATURES}
_EDGES = {"digits": np.arange(CLASSES + 1.0), "confidence": CONFIDENCE_EDGES, **IMAGE_EDGES}


def build_profile(training: Tally, held_out: Tally | None) -> dict[str, Any]:
    """The profile of a model. training: of the rows it was trained on, with labels for predictions; held_out: of rows
    that it was not trained on, None where there were none.
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
    """How far a run is from a profile, feature by feature; None where there is no profile or nothing was predicted."""
    if profile is None or not tally.predicted:
        return None
    features = compare_features({name: getattr(tally, column) for name, column in _COLUMNS.items()}, profile)
    return {
        "thresholds": {"moderate": MODERATE, "major": MAJOR},
        "profile_rows": profile["rows"],
        "confidence_of": profile["confidence_of"],
        "flagged": [feature["name"] for feature in features if feature["level"] == "major"],
        "features": features,
    }


def check_profile(profile: Mapping[str, Any] | None) -> None:
    """Raises ValueError where that is no profile as `build_profile` makes it: a run is to know before it scores."""
    if profile is None:
        return
    one_each = {name: getattr(EMPTY_TALLY, column) + 1 for name, column in _COLUMNS.items()}
    try:
        figures = [feature["psi"] + feature["psi_by_chance"] for feature in compare_features(one_each, profile)]
        sound = bool(np.isfinite([*figures, profile["rows"]]).all()) and "confidence_of" in profile
    except (LookupError, TypeError, ValueError, ArithmeticError) as error:
        raise ValueError(f"no profile: {first_line(error)}") from error
    if not sound:
        raise ValueError("a profile without rows")


def drift_warnings(drift: Mapping[str, Any] | None) -> list[str]:
    """A line where a feature is flagged."""
    if drift is None or not drift["flagged"]:
        return []
    names = ", ".join(FEATURES[name] for name in drift["flagged"])
    return [
        f"what was scored does not look like what the model was trained on ({names}): "
        "look at the images in report.html before trusting the predictions"
    ]


def compare_features(counts: Mapping[str, Ints], bins: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Each feature's counts, in its fine bins, held against what is expected in the coarse ones of `bins`."""
    return [_compare_feature(name, counts[name], bins[name]) for name in FEATURES if bins[name] is not None]


def _compare_feature(name: str, fine: Ints, profile: Mapping[str, Any]) -> dict[str, Any]:
    edges, expected = profile["edges"], np.array(profile["counts"])
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
    """Some ten bins of about the same share: their lower edges, and the rows in each."""
    starts = _find_bin_starts(fine.tolist())
    return {"edges": _EDGES[name][starts].tolist(), "counts": np.add.reduceat(fine, starts).tolist()}


def _find_bin_starts(fine: Sequence[int]) -> list[int]:
    """Where the bins begin: a heavy one stands alone, and what no row reaches on either side has its own."""
    filled = [position for position, count in enumerate(fine) if count]
    first, beyond = filled[0], filled[-1] + 1
    total = sum(fine)
    starts, gathered = [first], 0
    for position in range(first, beyond):
        heavy = fine[position] >= _BIN_SHARE * total and gathered >= _LEAST_SHARE * total
        if gathered >= _BIN_SHARE * total or heavy:
            starts.append(position)
            gathered = 0
        gathered += fine[position]
    if gathered < _LEAST_SHARE * total and len(starts) > 1:
        starts.pop()
    return [*([0] if first else []), *starts, *([beyond] if beyond < len(fine) else [])]
