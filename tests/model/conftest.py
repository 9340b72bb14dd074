from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest

from mnist_batch.config import ValueRange
from model.perceptron import Perceptron, sample_digits, trained
from model.saved_models import save

Build = Callable[..., keras.Model]


@pytest.fixture(scope="session")
def network() -> Perceptron:
    return trained()


@pytest.fixture(scope="session")
def digits() -> np.ndarray:
    """uint8 [300, 28, 28]."""
    return sample_digits()[0]


@pytest.fixture
def build(network: Perceptron) -> Build:
    """Keras models that compute what `network` computes, in any form."""

    def built(
        shape: tuple[int, ...] = (28, 28),
        scale: ValueRange = ValueRange.UNIT,
        activation: str | None = "softmax",
        first: tuple[keras.Layer, ...] = (),
        dtype: str = "float32",
    ) -> keras.Model:
        folded = network.folded(scale)
        layers = [keras.layers.Dense(64, "relu"), keras.layers.Dense(10, activation)]
        model = keras.Sequential([keras.Input(shape, dtype=dtype), *first, keras.layers.Flatten(), *layers])
        for layer, weights in zip(layers, (folded.hidden, folded.output), strict=True):
            layer.set_weights(weights)
        return model

    return built


@pytest.fixture
def keras_file(build: Build, tmp_path: Path) -> Callable[..., Path]:
    """The same, saved."""

    def saved(name: str = "model.keras", **form: object) -> Path:
        return save(build(**form), tmp_path / name)

    return saved
