"""The pixel values that models are trained on, each as a function of uint8 pixels."""

from __future__ import annotations

from mnist_batch.config import Scale
from mnist_batch.model.backend import tf

# Mean and standard deviation of all pixels of MNIST's training images in 0..1. PyTorch's examples made them customary.
MNIST_MEAN, MNIST_DEVIATION = 0.1307, 0.3081


def scale_pixels(pixels: tf.Tensor, scale: Scale, margin: int = 0) -> tf.Tensor:
    """Converts uint8 pixels [n, 28, 28] to the float32 values that a model of this scale was trained on.

    margin: black pixels to add on each side first.
    """
    values = tf.cast(pixels, tf.float32)
    if margin:
        values = tf.pad(values, ((0, 0), (margin, margin), (margin, margin)))
    match scale:
        case Scale.BYTE:
            return values
        case Scale.UNIT:
            return values / 255.0
        case Scale.SYMMETRIC:
            return values / 127.5 - 1.0
        case Scale.CENTRED:
            return values / 255.0 - 0.5
        case Scale.STANDARDISED:
            return (values / 255.0 - MNIST_MEAN) / MNIST_DEVIATION
        case Scale.COLUMNS:
            # As `keras.utils.normalize(x, axis=1)`. A column of zeros stays zero.
            norms = tf.sqrt(tf.reduce_sum(tf.square(values), axis=1, keepdims=True))
            return tf.math.divide_no_nan(values, norms)
        case Scale.INVERTED:
            return 1.0 - values / 255.0
