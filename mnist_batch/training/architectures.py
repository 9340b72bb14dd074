"""The networks that recipes train. Each is a function without arguments that builds a new, uncompiled model.

This module knows nothing of data or optimizers. Keras is imported in the functions, so that a recipe can be named
without it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mnist_batch.records import CLASSES, IMAGE_SIDE

if TYPE_CHECKING:
    from mnist_batch.model.backend import keras


def build_mlp_512() -> keras.Sequential:
    """Builds two hidden layers of 512: float32 [n, 784] -> probabilities float32 [n, 10].

    Keras's own first example on MNIST (keras-team/keras 2, examples/mnist_mlp.py) without its dropout.
    """
    from mnist_batch.model.backend import keras

    return keras.Sequential(
        [
            keras.Input((IMAGE_SIDE * IMAGE_SIDE,)),
            keras.layers.Dense(512, activation="relu"),
            keras.layers.Dense(512, activation="relu"),
            keras.layers.Dense(CLASSES, activation="softmax"),
        ]
    )
