"""What the weights of a first dense layer tell about black. The networks are trained here."""

from dataclasses import replace

import keras
import numpy as np
import pytest

from mnist_batch.config import Scale
from mnist_batch.model.background import Background, DenseWeights, find_background
from mnist_batch.model.layers import find_first_dense
from model.perceptron import train_perceptron


def weights_of(scale: Scale) -> DenseWeights:
    return DenseWeights(*train_perceptron(scale).hidden)


@pytest.mark.parametrize("scale", Scale)
def test_weights_show_the_sign_of_black(scale: Scale) -> None:
    background = find_background(weights_of(scale))
    assert background is not Background.UNKNOWN
    assert scale in background.value


def test_no_layer_tells_nothing() -> None:
    assert find_background(None) is Background.UNKNOWN
    weights = weights_of(Scale.SYMMETRIC)
    assert find_background(replace(weights, bias=np.zeros_like(weights.bias))) is Background.UNKNOWN
    assert find_background(replace(weights, kernel=np.full_like(weights.kernel, np.nan))) is Background.UNKNOWN


def test_noise_tells_nothing() -> None:
    generator = np.random.default_rng(1)
    kernel, bias = generator.normal(0, 1, (784, 12)), generator.normal(0, 0.01, 12)
    noisy = DenseWeights(kernel.astype(np.float32), bias.astype(np.float32))
    assert find_background(noisy) is Background.UNKNOWN


def dense(first: list[keras.Layer], use_bias: bool = True) -> keras.Model:
    return keras.Sequential([keras.Input((28, 28)), *first, keras.layers.Dense(10, use_bias=use_bias)])


def test_first_dense_layer_is_that_which_is_fed_pixels() -> None:
    layers = keras.layers
    model = dense([layers.Flatten(), layers.Dropout(0.1)])
    found = find_first_dense(model)
    assert found is not None
    np.testing.assert_array_equal(found.kernel, model.layers[-1].kernel)
    np.testing.assert_array_equal(found.bias, model.layers[-1].bias)
    nested = find_first_dense(keras.Sequential([keras.Input((28, 28)), model]))
    assert nested is not None
    for first in (
        [layers.Rescaling(1 / 255), layers.Flatten()],
        [layers.Dense(3), layers.Flatten()],
        [layers.Flatten(), layers.BatchNormalization()],
        [layers.LSTM(4)],
    ):
        assert find_first_dense(dense(first)) is None
    assert find_first_dense(dense([layers.Flatten()], use_bias=False)) is None
