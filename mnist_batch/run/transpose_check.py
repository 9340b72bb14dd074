"""Detects images stored with rows and columns exchanged, as in EMNIST and files made from it.

On such digits the model's confidence is low and rises markedly when they are transposed.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mnist_batch.records import Floats, Pixels
from mnist_batch.run.scoring import Predictor

# Measured on 512 images by writers that a 512-512 network was not trained on: transposing lowers its mean confidence by
# 0.10, by at least 0.083 in 200 samples, and for a single class by 0.006 (zeros) to 0.15. The threshold is half of
# 0.10: transposed samples of mixed classes reach it, others never do.
_MIN_RISE = 0.05
# The mean over fewer images is too noisy.
_MIN_IMAGES = 32


def transpose_warning(batches: Sequence[Pixels], predictor: Predictor, transposed: bool) -> str | None:
    """Returns a warning if the images, in batches of uint8 [n, 28, 28], look transposed to the model.

    transposed: whether --transpose was given. Then the warning says to drop it.
    """
    # A single pass, because starting one takes longer than scoring a few hundred images.
    both = [*batches, *(batch.transpose(0, 2, 1) for batch in batches)]
    confidence = [scores.confidence for scores in predictor.score(both)]
    as_read, exchanged = _mean(confidence[: len(batches)]), _mean(confidence[len(batches) :])
    images = sum(map(len, batches))
    # NaN, from a model that gives no numbers, also compares as false.
    if images < _MIN_IMAGES or not exchanged - as_read > _MIN_RISE:
        return None
    return (
        f"the images look transposed: mean confidence on {images} of them is {as_read:.2f} as read and "
        f"{exchanged:.2f} with rows and columns exchanged: {'drop' if transposed else 'try'} --transpose"
    )


def _mean(confidence: Sequence[Floats]) -> float:
    """The mean over all batches; NaN if there are none."""
    return float(np.concatenate(confidence).mean()) if confidence else float("nan")
