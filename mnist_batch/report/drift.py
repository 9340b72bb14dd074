"""Drift: whether the images and predictions of a run look like the model's training data.

A profile is the part of a model card that describes the training data. For each feature it has the number of rows in
each of about ten bins. A run is compared with it by the population stability index. Knows nothing of cards.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from mnist_batch.profile import Bins, Profile
from mnist_batch.records import CLASSES, Ints
from mnist_batch.report.bins import CONFIDENCE_EDGES, IMAGE_EDGES, FeatureName
from mnist_batch.report.document import Drift, Feature, Thresholds
from mnist_batch.report.metrics import population_stability, stability_by_chance
from mnist_batch.report.tally import Tally

# The index from which a feature counts as moved, and from which it is flagged: the convention of credit scoring.
MODERATE, MAJOR = 0.1, 0.25
# About this share of the rows is in each bin of a profile. The outermost bins are empty: they are beyond all rows.
_BIN_SHARE = 0.1
# A smaller share than this does not get a bin of its own.
_MIN_BIN_SHARE = 0.01

FEATURES: dict[FeatureName, str] = {
    "digits": "mix of digits",
    "confidence": "confidence",
    "ink": "share of ink",
    "stroke": "stroke width",
    "width": "width of the digit",
    "height": "height of the digit",
}
# The fine bins of each feature. The bins of a profile are made of whole ones.
_EDGES: dict[FeatureName, npt.NDArray[np.float64]] = {
    "digits": np.arange(CLASSES + 1.0),
    "confidence": CONFIDENCE_EDGES,
    **IMAGE_EDGES,
}


def build_profile(training: Tally, held_out: Tally | None) -> Profile:
    """Returns the profile of a model.

    training: the rows it was trained on, with their labels as predictions.
    held_out: rows it was not trained on, for the confidences. None if there are none.
    """
    return Profile(
        rows=training.predicted,
        digits=keep_digits(training.predictions),
        **{name: coarsen(getattr(training, name), name) for name in IMAGE_EDGES},
        confidence=None if held_out is None else coarsen(held_out.confidence, "confidence"),
        confidence_of=None if held_out is None else "training rows that were held out to choose the epoch",
    )


def measure_drift(tally: Tally, profile: Profile | None) -> Drift | None:
    """Compares a run with a profile, feature by feature. Returns None without a profile or without predictions."""
    if profile is None or not tally.predicted:
        return None
    counts: dict[FeatureName, Ints] = {"digits": tally.predictions, "confidence": tally.confidence}
    counts |= {name: getattr(tally, name) for name in IMAGE_EDGES}
    features = compare_features(counts, _list_bins(profile))
    return Drift(
        thresholds=Thresholds(MODERATE, MAJOR),
        profile_rows=profile.rows,
        confidence_of=profile.confidence_of,
        flagged=[feature.name for feature in features if feature.level == "major"],
        features=features,
    )


def _list_bins(profile: Profile) -> dict[FeatureName, Bins]:
    """The bins of a profile by feature, without those that were not measured."""
    return {name: bins for name in FEATURES if (bins := getattr(profile, name)) is not None}


def check_profile(profile: Profile | None) -> None:
    """Raises ValueError for a profile that a run cannot be compared with, so that it fails before it scores."""
    if profile is None:
        return
    for name, bins in _list_bins(profile).items():
        edges = list(bins.edges)
        valid = (
            len(edges) == len(bins.counts)
            and sum(bins.counts) > 0
            and edges[0] == _EDGES[name][0]
            and all(low < high for low, high in pairwise(edges))
            and set(edges) <= set(_EDGES[name][:-1].tolist())
        )
        if not valid:
            raise ValueError(f"edges or counts in `profile.{name}` that `train` does not write")


def drift_warnings(drift: Drift | None) -> list[str]:
    """Returns one line if a feature is flagged."""
    if drift is None or not drift.flagged:
        return []
    names = ", ".join(FEATURES[name] for name in drift.flagged)
    return [
        f"what was scored does not look like what the model was trained on ({names}): "
        "look at the images in report.html before trusting the predictions"
    ]


def compare_features(counts: Mapping[FeatureName, Ints], reference: Mapping[FeatureName, Bins]) -> list[Feature]:
    """Compares counts per fine bin with a reference, for each feature that the reference has."""
    return [_compare_feature(name, counts[name], reference[name]) for name in FEATURES if name in reference]


def _compare_feature(name: FeatureName, fine: Ints, reference: Bins) -> Feature:
    edges, expected = reference.edges, np.array(reference.counts)
    counts = np.add.reduceat(fine, np.searchsorted(_EDGES[name], edges))
    index = population_stability(counts, expected)
    chance = stability_by_chance(len(edges), int(counts.sum()), int(expected.sum()))
    beyond = index > chance
    return Feature(
        name=name,
        psi=index,
        psi_by_chance=chance,
        level="major" if beyond and index >= MAJOR else "moderate" if beyond and index >= MODERATE else "stable",
        edges=edges,
        expected=(expected / expected.sum()).tolist(),
        found=(counts / counts.sum()).tolist(),
    )


def coarsen(fine: Ints, name: FeatureName) -> Bins:
    """Merges the fine bins of a feature into about ten of similar share."""
    starts = _find_bin_starts(fine.tolist())
    return Bins(_EDGES[name][starts].tolist(), np.add.reduceat(fine, starts).tolist())


def keep_digits(counts: Ints) -> Bins:
    """The bins of the mix of digits: one per digit."""
    return Bins(list(range(CLASSES)), counts.tolist())


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
