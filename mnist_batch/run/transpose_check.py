"""The EMNIST trap: its images, and files made from them, are stored with rows and columns exchanged.

The model tells: on digits that lie wrong its confidence is low, and rises markedly when they are transposed.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mnist_batch.records import Floats, Pixels
from mnist_batch.run.scoring import Predictor

# On 512 images by writers that a 512-512 network was not trained on, transposing costs 0.10 of its mean confidence, at
# least 0.083 in 200 samples; of a single class 0.006 (zeros) to 0.15. Half of the 0.10: for images that lie wrong it
# is won, and never for others.
_MARKED_RISE = 0.05
# The mean of fewer images says little.
_ENOUGH = 32


def check_transposed(batches: Sequence[Pixels], predictor: Predictor, transposed: bool) -> str | None:
    """A line where the images, in batches of uint8 [n, 28, 28], look transposed to the model.

    transposed: whether --transpose was given, so that it is that which should go.
    """
    # In one pass, for beginning one takes longer than scoring a few hundred images.
    both = [*batches, *(batch.transpose(0, 2, 1) for batch in batches)]
    confidence = [scored.max(axis=1) for scored in predictor.probabilities(both)]
    as_read, turned = _mean(confidence[: len(batches)]), _mean(confidence[len(batches) :])
    # False as well where one is NaN, for a model that gives no numbers.
    if sum(map(len, batches)) < _ENOUGH or not turned - as_read > _MARKED_RISE:
        return None
    return (
        f"the images look transposed: mean confidence on {sum(map(len, batches))} of them is {as_read:.2f} as read and "
        f"{turned:.2f} with rows and columns exchanged: {'drop' if transposed else 'try'} --transpose"
    )


def _mean(confidence: Sequence[Floats]) -> float:
    """The mean over all batches; NaN where there is none."""
    return float(np.concatenate(confidence).mean()) if confidence else float("nan")
