"""Where the bins of the histograms lie. Bins are closed below and open above, the last one closed on both sides."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mnist_batch.records import Floats, Ints

# Of the reliability diagram (Guo et al. 2017).
CALIBRATION_BINS = 15

# A hundredth wide at first, ten times narrower at each nine: where a model is nearly sure, 0.999 and 0.9999 are far
# apart. The borders of the calibration bins are among them, so that one histogram is enough.
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
# The first fine bin of each calibration bin.
CALIBRATION_STARTS: Ints = np.searchsorted(CONFIDENCE_EDGES, np.arange(CALIBRATION_BINS) / CALIBRATION_BINS)

# What is measured of the pixels: lower edges, in the unit that a person reads.
IMAGE_EDGES: dict[str, npt.NDArray[np.float64]] = {
    "ink": np.arange(101) / 100,  # share of full white, of the whole image
    "stroke": np.arange(41) / 4,  # pixels
    # Pixels, of the box around the ink. MNIST's own scaling prefers even widths, which says nothing of a digit.
    "width": np.arange(0.0, 31, 2),
    "height": np.arange(0.0, 31, 2),
}
IMAGE_BINS = {name: len(edges) - 1 for name, edges in IMAGE_EDGES.items()}

# In the type of a confidence: a number that is printed like an edge lies above it.
_EDGES = CONFIDENCE_EDGES.astype(np.float32)


def confidence_bin(confidence: Floats) -> Ints:
    """The bin of each confidence, float32 [n] in 0..1: int64 [n]."""
    return np.minimum(np.searchsorted(_EDGES, confidence, side="right") - 1, CONFIDENCE_BINS - 1)
