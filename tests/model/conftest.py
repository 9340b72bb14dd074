from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import pytest

from mnist_batch.config import Scale
from mnist_batch.records import Pixels
from model.perceptron import Perceptron, read_sample_digits, train_perceptron
from model.saved_models import BuildModel, SaveKeras, save


@pytest.fixture(scope="session")
def network() -> Perceptron:
    return train_perceptron()


@pytest.fixture(scope="session")
def digits() -> Pixels:
    """uint8 [300, 28, 28]."""
    return read_sample_digits()[0]


@pytest.fixture
def build_model() -> BuildModel:
    """Builds Keras models that compute what `train_perceptron(scale)` computes.

    shape, dtype: of the input.
    scale: the pixel values that the model takes.
    activation: of the last layer.
    first: layers before all others.
    """

    def build(
        shape: tuple[int, ...] = (28, 28),
        scale: Scale = Scale.UNIT,
        activation: str | None = "softmax",
        first: tuple[keras.Layer, ...] = (),
        dtype: str = "float32",
    ) -> keras.Model:
        network = train_perceptron(scale)
        layers = [keras.layers.Dense(64, "relu"), keras.layers.Dense(10, activation)]
        model = keras.Sequential([keras.Input(shape, dtype=dtype), *first, keras.layers.Flatten(), *layers])
        for layer, weights in zip(layers, (network.hidden, network.output), strict=True):
            layer.set_weights(weights)
        return model

    return build


@pytest.fixture
def save_keras(build_model: BuildModel, tmp_path: Path) -> SaveKeras:
    """Saves such a model as a `.keras` file, or under another name. The other keywords are those of `build_model`."""

    def build_and_save(name: str = "model.keras", **options: Any) -> Path:
        return save(build_model(**options), tmp_path / name)

    return build_and_save
