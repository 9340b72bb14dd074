"""Checks a sample of a run's first images: whether they are what the model was trained on.

Images may be stored with rows and columns exchanged, as in EMNIST and files made from it: then the model's confidence
is low and rises markedly when they are transposed. If it is low and does not rise, the images or the model's scale are
others than the model expects.
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
# Set by hand: drawn digits are easier than many real ones, but not by so much.
_MAX_DROP = 0.15
# The mean over fewer images is too noisy.
_MIN_IMAGES = 32


def check_sample(
    batches: Sequence[Pixels], predictor: Predictor, transposed: bool, expected_confidence: float
) -> list[str]:
    """Returns a warning if the images, in batches of uint8 [n, 28, 28], do not look like those of the model's training.

    transposed: whether --transpose was given. Then a warning about it says to drop it.
    expected_confidence: the mean confidence on images that the model knows, 0..1.
    """
    # A single pass, because starting one takes longer than scoring a few hundred images.
    both = [*batches, *(batch.transpose(0, 2, 1) for batch in batches)]
    confidence = [scores.confidence for scores in predictor.score(both)]
    as_read, exchanged = _mean(confidence[: len(batches)]), _mean(confidence[len(batches) :])
    images = sum(map(len, batches))
    if images < _MIN_IMAGES:
        return []
    # NaN, from a model that gives no numbers, compares as false.
    if exchanged - as_read > _MIN_RISE:
        return [
            f"the images look transposed: mean confidence on {images} of them is {as_read:.2f} as read and "
            f"{exchanged:.2f} with rows and columns exchanged: {'drop' if transposed else 'try'} --transpose"
        ]
    if expected_confidence - as_read >= _MAX_DROP:
        return [
            f"mean confidence on {images} of the images is {as_read:.2f}, on digits that the model knows "
            f"{expected_confidence:.2f}: look at the images with `mnist-batch inspect --sheet`, and check --scale"
        ]
    return []


def _mean(confidence: Sequence[Floats]) -> float:
    """The mean over all batches; NaN if there are none."""
    return float(np.concatenate(confidence).mean()) if confidence else float("nan")
