"""Trains small models in the forms that people save, and writes them: `python field_models.py MNIST OUT`.

Run it with Keras 3, and once more with TF_USE_LEGACY_KERAS=1 for files as Keras 2 writes them. Writes each model and
`truth.json` (or `truth-2.json`): for each the scale it was trained on, and the share of MNIST's test images that Keras
itself gets right with it. MNIST is the folder of the four idx files.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import numpy as np

from mnist_batch.config import Scale
from mnist_batch.records import Floats, Pixels
from mnist_batch.sources.idx import read_idx, read_labels
from model.perceptron import scale_pixels

IS_KERAS_2 = os.environ.get("TF_USE_LEGACY_KERAS") == "1"
keras: Any = __import__("tf_keras" if IS_KERAS_2 else "keras")
layers = keras.layers
TRAINED_ROWS = 8000

Form = Callable[[Pixels], Pixels]
FORMS: dict[tuple[int, ...], Form] = {
    (28, 28): lambda pixels: pixels,
    (784,): lambda pixels: pixels.reshape(-1, 784),
    (28, 28, 1): lambda pixels: pixels[..., None],
    (28, 28, 3): lambda pixels: np.repeat(pixels[..., None], 3, axis=3),
    (1, 28, 28): lambda pixels: pixels[:, None],
    (32, 32, 1): lambda pixels: np.pad(pixels, ((0, 0), (2, 2), (2, 2)))[..., None],
}


class Writer:
    """Trains models and writes them with their truth."""

    def __init__(self, mnist: Path, out: Path) -> None:
        self._out = out
        self._train = read_idx(mnist / "train-images-idx3-ubyte.gz")[:TRAINED_ROWS]
        self._labels = np.asarray(read_labels(mnist / "train-labels-idx1-ubyte.gz"))[:TRAINED_ROWS]
        self._test = read_idx(mnist / "t10k-images-idx3-ubyte.gz")
        self._test_labels = np.asarray(read_labels(mnist / "t10k-labels-idx1-ubyte.gz"))
        self.truth: dict[str, dict[str, object]] = {}

    def fit(
        self,
        model: Any,
        scale: Scale = Scale.UNIT,
        *,
        shape: tuple[int, ...] = (28, 28),
        epochs: int = 3,
        optimizer: Any = "adam",
        from_logits: bool = False,
    ) -> Callable[[str], None]:
        """Trains a model. Returns a function that saves it under a name. shape: of its input, without the batch."""

        def feed(pixels: Pixels) -> Floats:
            # The margin comes first: a column's norm does not change by it.
            scaled: Floats = scale_pixels(pixels, scale).astype(np.float32)
            return FORMS[shape](scaled)  # type: ignore[arg-type,return-value]  # each works on any numbers

        model.compile(optimizer, keras.losses.SparseCategoricalCrossentropy(from_logits=from_logits))
        model.fit(feed(self._train), self._labels, epochs=epochs, batch_size=64, verbose=0)
        predicted = model.predict(feed(self._test), batch_size=1000, verbose=0).argmax(axis=1)
        right = float(np.mean(predicted == self._test_labels))

        def save(name: str) -> None:
            if "." in name:
                model.save(self._out / name)
            elif IS_KERAS_2:
                model.save(self._out / name, save_format="tf")
            else:
                model.export(self._out / name, verbose=False)
            self.truth[name] = {"scale": scale, "right": right}

        return save


def chain(shape: tuple[int, ...] | None, *body: Any) -> Any:
    """A Sequential. shape: of its Input layer, None without one."""
    keras.utils.set_random_seed(0)
    return keras.Sequential([*([] if shape is None else [keras.Input(shape)]), *body])


def dense(last: str | None = "softmax") -> list[Any]:
    return [layers.Flatten(), layers.Dense(64, "relu"), layers.Dense(10, last)]


def convolutional() -> list[Any]:
    return [
        layers.Conv2D(16, 3, activation="relu"),
        layers.MaxPooling2D(),
        layers.Conv2D(32, 3, activation="relu"),
        layers.MaxPooling2D(),
        layers.Flatten(),
        layers.Dense(10, "softmax"),
    ]


def functional(scale_inside: bool = False) -> Any:
    """A Functional model. scale_inside: whether it divides its input by 255 as an operation on the tensor."""
    keras.utils.set_random_seed(0)
    image = keras.Input((28, 28))
    values: Any = image / 255.0 if scale_inside else image
    for layer in dense():
        values = layer(values)
    return keras.Model(image, values)


def write_keras_3(writer: Writer) -> None:
    import tensorflow as tf

    for scale in Scale:
        writer.fit(chain((28, 28), *dense()), scale)(f"dense_{scale}.keras")
        writer.fit(chain((28, 28, 1), *convolutional()), scale, shape=(28, 28, 1))(f"conv_{scale}.keras")
    body = [layers.Flatten(), layers.Dense(64, tf.nn.relu), layers.Dense(10, tf.nn.softmax)]
    save = writer.fit(chain(None, *body))
    for name in ("no_input_layer.keras", "no_input_layer.h5"):
        save(name)
    writer.fit(chain((28, 28), *dense("sigmoid")), epochs=5)("sigmoids.keras")
    writer.fit(chain((28, 28), *dense(None)), from_logits=True)("logits.keras")
    slow = keras.optimizers.Adadelta(0.02)
    writer.fit(chain((28, 28, 1), *convolutional()), shape=(28, 28, 1), optimizer=slow)("undertrained.keras")
    lenet = [layers.Conv2D(6, 5, activation="tanh"), layers.AveragePooling2D(2), *dense()]
    writer.fit(chain((32, 32, 1), *lenet), shape=(32, 32, 1))("lenet.keras")
    writer.fit(chain((28, 28, 3), *dense()), shape=(28, 28, 3))("three_channels.keras")
    first = layers.Permute((2, 3, 1))
    writer.fit(chain((1, 28, 28), first, *dense()), shape=(1, 28, 28))("channels_first.keras")
    augmented = [layers.Rescaling(1 / 255), layers.RandomRotation(0.05), layers.RandomZoom(0.05), *dense()]
    writer.fit(chain((28, 28, 1), *augmented), Scale.BYTE, shape=(28, 28, 1))("augmented.keras")
    writer.fit(chain((28, 28), *dense()))("exported")


def write_keras_2(writer: Writer) -> None:
    save = writer.fit(chain((28, 28), *dense()))
    for name in ("sequential_2.keras", "sequential_2.h5", "saved_2"):
        save(name)
    save = writer.fit(functional())
    for name in ("functional_2.keras", "functional_2.h5"):
        save(name)
    save = writer.fit(chain(None, *dense()))
    for name in ("no_input_2.keras", "no_input_2.h5", "no_input_2"):
        save(name)
    for optimizer in (keras.optimizers.legacy.Adam(), keras.optimizers.legacy.RMSprop()):
        writer.fit(chain((28, 28), *dense()), optimizer=optimizer)(f"slots_of_{optimizer.__class__.__name__.lower()}")
    writer.fit(functional(scale_inside=True), Scale.BYTE)("operation_2.h5")
    writer.fit(chain((28, 28), layers.Lambda(lambda x: x / 255.0), *dense()), Scale.BYTE)("lambda_2.h5")
    separable = [
        layers.Reshape((28, 28, 1)),
        layers.DepthwiseConv2D(3, depth_multiplier=8, strides=2, activation="relu"),
        layers.SeparableConv2D(16, 3, activation="relu"),
        layers.Flatten(),
        layers.Dense(10, "softmax"),
    ]
    writer.fit(chain((784,), *separable), shape=(784,), epochs=4)("separable_2.h5")


def main(arguments: Sequence[str]) -> None:
    mnist, out = map(Path, arguments)
    writer = Writer(mnist, out)
    (write_keras_2 if IS_KERAS_2 else write_keras_3)(writer)
    (out / ("truth-2.json" if IS_KERAS_2 else "truth.json")).write_text(json.dumps(writer.truth))


if __name__ == "__main__":
    main(sys.argv[1:])
