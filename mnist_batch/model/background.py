"""What a model's weights tell about the value of black in its training images.

Pixels at the border of MNIST's images are nearly always black. Where a first dense layer sees them as zeros, their
weights stay as they were initialized. Where it sees a constant `c`, a training step changes each of their weights by
`c` times the change of the unit's bias (with Adam or RMSprop: by the sign of `c`). So a regression of these weights on
the biases shows the sign of black.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import numpy as np

from mnist_batch.config import Scale
from mnist_batch.records import IMAGE_SIDE, Floats

# The outer pixels that are taken as always black.
_BORDER = 2
# On 40 dense networks of benchmarks/networks.py without batch normalization, slopes were within 0.13 of zero where
# black was zero and beyond 0.6 elsewhere, and none was clear and wrong. With batch normalization the bias stays near
# 0, and the error is far above the bound.
_CLEAR_SLOPE = 0.2
_MAX_ERROR = 0.1


@dataclass(frozen=True, slots=True)
class DenseWeights:
    """The weights of a dense layer that is fed the 784 pixels: kernel float32 [784, units], bias float32 [units]."""

    kernel: Floats
    bias: Floats


class Background(Enum):
    """The value of black in a model's training images, with the scales at which black has such a value."""

    ZERO = frozenset((Scale.UNIT, Scale.BYTE, Scale.COLUMNS))
    NEGATIVE = frozenset((Scale.SYMMETRIC, Scale.CENTRED, Scale.STANDARDISED))
    POSITIVE = frozenset((Scale.INVERTED,))
    UNKNOWN = frozenset(Scale)


def find_background(weights: DenseWeights | None) -> Background:
    """Returns what the first dense layer tells about black. UNKNOWN without one, or if the slope is not clear."""
    if weights is None or np.ptp(weights.bias) == 0:
        return Background.UNKNOWN
    slope, error = measure_slope(weights)
    if not error <= _MAX_ERROR:  # also if not a number
        return Background.UNKNOWN
    if abs(slope) < _CLEAR_SLOPE:
        return Background.ZERO if abs(slope) + error < _CLEAR_SLOPE else Background.UNKNOWN
    return Background.NEGATIVE if slope < 0 else Background.POSITIVE


def measure_slope(weights: DenseWeights) -> tuple[float, float]:
    """Returns the slope of the units' mean border weights over their biases, and its standard error."""
    border = np.ones((IMAGE_SIDE, IMAGE_SIDE), bool)
    border[_BORDER:-_BORDER, _BORDER:-_BORDER] = False
    means = weights.kernel[border.ravel()].astype(np.float64).mean(axis=0)
    means -= means.mean()
    biases = weights.bias.astype(np.float64) - weights.bias.mean(dtype=np.float64)
    spread = float((biases**2).sum())
    slope = float((means * biases).sum()) / spread
    residual = float(((means - slope * biases) ** 2).sum())
    return slope, (residual / spread / max(len(biases) - 2, 1)) ** 0.5
