"""The bin edges of the histograms. A bin includes its lower edge and not its upper one; the last includes both."""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

from mnist_batch.records import Floats, Ints

FeatureName = Literal["digits", "confidence", "ink", "stroke", "width", "height"]

# As in the reliability diagrams of Guo et al. 2017.
CALIBRATION_BINS = 15

# Bins are 0.01 wide at first and ten times narrower after each nine, because 0.999 and 0.9999 are far apart for a model
# that is nearly certain. The edges of the calibration bins are included, so that one histogram serves both.
CONFIDENCE_EDGES: npt.NDArray[np.float64] = np.array(
    sorted(
        {step / 10**2 for step in range(90)}
        | {step / 10**3 for step in range(900, 990)}
        | {step / 10**4 for step in range(9_900, 9_990)}
        | {step / 10**5 for step in range(99_900, 99_990)}
        | {step / 10**6 for step in range(999_900, 10**6 + 1)}
        | {step / CALIBRATION_BINS for step in range(CALIBRATION_BINS)}
    )
)
CONFIDENCE_BINS = len(CONFIDENCE_EDGES) - 1
# The first confidence bin of each calibration bin.
CALIBRATION_STARTS: Ints = np.searchsorted(CONFIDENCE_EDGES, np.arange(CALIBRATION_BINS) / CALIBRATION_BINS)

# The bin edges of what is measured on the images, in units that people read.
IMAGE_EDGES: dict[FeatureName, npt.NDArray[np.float64]] = {
    "ink": np.arange(101) / 100,  # as a share: 1 is an image that is all white
    "stroke": np.arange(41) / 4,  # in pixels
    # The bounding box of the ink, in pixels. Bins are two pixels wide because MNIST's own scaling prefers even widths,
    # which says nothing about a digit.
    "width": np.arange(0.0, 31, 2),
    "height": np.arange(0.0, 31, 2),
}
IMAGE_BINS = {name: len(edges) - 1 for name, edges in IMAGE_EDGES.items()}

# In the type of a confidence, so that a confidence that prints like an edge is at or above that edge.
_FLOAT32_EDGES = CONFIDENCE_EDGES.astype(np.float32)


def confidence_bin(confidence: Floats) -> Ints:
    """Returns the bin of each confidence, int64 [n]. confidence: float32 [n] in 0..1."""
    return np.minimum(np.searchsorted(_FLOAT32_EDGES, confidence, side="right") - 1, CONFIDENCE_BINS - 1)
