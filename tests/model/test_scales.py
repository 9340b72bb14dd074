"""Each scale is what people write in NumPy before they train."""

import keras
import numpy as np
import pytest

from mnist_batch.config import Scale
from mnist_batch.model.scales import scale_pixels
from mnist_batch.records import Pixels
from model import perceptron


@pytest.mark.parametrize("scale", Scale)
def test_scale_is_that_of_numpy(scale: Scale, digits: Pixels) -> None:
    scaled = scale_pixels(digits, scale).numpy()
    assert scaled.dtype == np.float32
    np.testing.assert_allclose(scaled, perceptron.scale_pixels(digits, scale), atol=1e-6)


def test_columns_are_those_of_keras(digits: Pixels) -> None:
    expected = keras.utils.normalize(digits.astype(np.float32), axis=1)
    np.testing.assert_allclose(scale_pixels(digits, Scale.COLUMNS).numpy(), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("scale", "values"),
    [
        (Scale.UNIT, [0, 0.2, 1]),
        (Scale.BYTE, [0, 51, 255]),
        (Scale.SYMMETRIC, [-1, -0.6, 1]),
        (Scale.CENTRED, [-0.5, -0.3, 0.5]),
        (Scale.STANDARDISED, [-0.4242, 0.2249, 2.8215]),
        (Scale.COLUMNS, [0, 0.19612, 0.98058]),
        (Scale.INVERTED, [1, 0.8, 0]),
    ],
)
def test_values_of_one_column(scale: Scale, values: list[float]) -> None:
    column = np.array([[[0], [51], [255]]], np.uint8)
    assert scale_pixels(column, scale).numpy().ravel().tolist() == pytest.approx(values, abs=1e-4)
