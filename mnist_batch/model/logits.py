"""A model's ten outputs as logits: values whose softmax is its probabilities."""

from __future__ import annotations

from mnist_batch.model.backend import tf
from mnist_batch.model.card import OutputKind

# The smallest normal float32. A smaller probability has no finite logarithm.
_MIN_PROBABILITY = 1.1754944e-38
# Half the step of float32 below 1. A sigmoid that is 1 in float32 may be nearer to 1 by any amount.
_MIN_ODDS_GAP = 2.0**-25


def compute_logits(outputs: tf.Tensor, kind: OutputKind) -> tf.Tensor:
    """float32 [n, 10] -> float32 [n, 10].

    Sigmoids are taken as odds, because Keras's cross-entropy is computed on the values before the sigmoid
    (docs/decisions.md).
    """
    if kind is OutputKind.LOGITS:
        return outputs
    odds = tf.maximum(outputs, _MIN_PROBABILITY)
    if kind is OutputKind.SIGMOIDS:
        odds /= tf.maximum(1.0 - outputs, _MIN_ODDS_GAP)
    return tf.math.log(odds)
