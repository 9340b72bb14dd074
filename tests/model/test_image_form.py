"""The forms in which models take an image."""

import keras
import numpy as np
import pytest

from mnist_batch.model.image_form import find_form
from mnist_batch.model.loading import load_model
from mnist_batch.records import Pixels
from model.perceptron import Perceptron
from model.saved_models import BuildModel, SaveKeras, save, score

PLAIN = "28x28"


@pytest.mark.parametrize(
    ("shape", "sizes", "text"),
    [
        ((784,), (784,), PLAIN),
        ((28, 28), (28, 28), PLAIN),
        ((28, 28, 1), (28, 28, 1), PLAIN),
        ((None, None, 1), (28, 28, 1), PLAIN),
        ((None, None, None), (28, 28, 1), PLAIN),
        ((28, 28, 3), (28, 28, 3), "28x28 with three equal channels"),
        ((1, 28, 28), (1, 28, 28), "28x28 with channels first"),
        ((3, 28, 28), (3, 28, 28), "28x28 with three equal channels and channels first"),
        ((1024,), (1024,), "32x32 with a black margin of 2 pixels"),
        ((32, 32), (32, 32), "32x32 with a black margin of 2 pixels"),
        ((32, 32, 3), (32, 32, 3), "32x32 with a black margin of 2 pixels and three equal channels"),
        ((1, 32, 32), (1, 32, 32), "32x32 with a black margin of 2 pixels and channels first"),
    ],
)
def test_form_of_each_shape(shape: tuple[int | None, ...], sizes: tuple[int, ...], text: str) -> None:
    form = find_form(shape)
    assert form is not None
    assert (form.sizes, str(form)) == (sizes, text)
    side = 28 + 2 * form.margin
    images = np.arange(2 * side * side, dtype=np.float32).reshape(2, side, side)
    arranged = form.arrange(images).numpy()
    assert arranged.shape == (2, *sizes)
    if form.is_colour:
        planes = arranged if form.channels_first else np.moveaxis(arranged, 3, 1)
        assert all((planes[:, channel] == images).all() for channel in range(3))
    else:
        assert (arranged.ravel() == images.ravel()).all()


@pytest.mark.parametrize("shape", [None, (), (10,), (27, 28), (28, 28, 2), (28, 32), (1, 28, 28, 1)])
def test_other_shapes_have_no_form(shape: tuple[int, ...] | None) -> None:
    assert find_form(shape) is None


@pytest.mark.parametrize(
    ("shape", "layers"),
    [
        ((32, 32, 1), [keras.layers.Cropping2D(2)]),
        (
            (28, 28, 3),
            [keras.layers.Conv2D(1, 1, use_bias=False, kernel_initializer="ones"), keras.layers.Rescaling(1 / 3)],
        ),
        ((1, 28, 28), [keras.layers.Permute((2, 3, 1))]),
    ],
)
def test_adapted_images_are_scored(
    shape: tuple[int, ...],
    layers: list[keras.Layer],
    build_model: BuildModel,
    network: Perceptron,
    digits: Pixels,
    save_keras: SaveKeras,
) -> None:
    path = save_keras()
    adapted = keras.Sequential([keras.Input(shape), *layers, keras.layers.Reshape((28, 28)), build_model()])
    model = load_model(save(adapted, path), None)
    assert str(model.form) != PLAIN
    np.testing.assert_allclose(score(model, digits), network.probabilities(digits), atol=1e-4)
