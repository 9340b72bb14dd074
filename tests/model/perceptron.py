"""A small network in plain numpy, so that the expected output of a loaded model is known without Keras."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np

from mnist_batch.config import Scale
from mnist_batch.records import Pixels

SAMPLE_DATA = Path(__file__).parents[2] / "sample_data"


@dataclass(frozen=True)
class Perceptron:
    """784 pixels -> 64 relu -> 10 logits, for pixels of `scale`. hidden, output: kernel and bias of each layer."""

    scale: Scale
    hidden: tuple[np.ndarray, np.ndarray]
    output: tuple[np.ndarray, np.ndarray]

    def logits(self, pixels: Pixels) -> np.ndarray:
        values = scale_pixels(pixels, self.scale).reshape(len(pixels), 784)
        return np.maximum(values @ self.hidden[0] + self.hidden[1], 0) @ self.output[0] + self.output[1]

    def probabilities(self, pixels: Pixels) -> np.ndarray:
        return softmax(self.logits(pixels))


def scale_pixels(pixels: Pixels, scale: Scale) -> np.ndarray:
    """float32 [n, 28, 28], as people write it in NumPy."""
    values = pixels.astype(np.float32)
    norms = np.linalg.norm(values, axis=1, keepdims=True)
    scaled: dict[Scale, np.ndarray] = {
        Scale.UNIT: values / 255,
        Scale.BYTE: values,
        Scale.SYMMETRIC: values / 127.5 - 1,
        Scale.CENTRED: values / 255 - 0.5,
        Scale.STANDARDISED: (values / 255 - 0.1307) / 0.3081,
        Scale.COLUMNS: values / np.where(norms == 0, 1, norms),
        Scale.INVERTED: 1 - values / 255,
    }
    return scaled[scale]


def softmax(logits: np.ndarray) -> np.ndarray:
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exponentials / exponentials.sum(axis=1, keepdims=True)


def read_sample_digits() -> tuple[Pixels, Pixels]:
    """The drawn digits of `sample_data`: uint8 [300, 28, 28] and their labels. The self-test has other digits."""
    images = (SAMPLE_DATA / "digits-images-idx3-ubyte").read_bytes()
    labels = (SAMPLE_DATA / "digits-labels-idx1-ubyte").read_bytes()
    return np.frombuffer(images, np.uint8, offset=16).reshape(-1, 28, 28), np.frombuffer(labels, np.uint8, offset=8)


@cache
def train_perceptron(scale: Scale = Scale.UNIT, seed: int = 0, steps: int = 600) -> Perceptron:
    """Trains with Adam on the sample digits, shifted by up to two pixels.

    The network for 0..255 computes what that for 0..1 does.
    """
    if scale is Scale.BYTE:
        network = train_perceptron(Scale.UNIT, seed, steps)
        return replace(network, scale=scale, hidden=(network.hidden[0] / 255, network.hidden[1]))
    rng = np.random.default_rng(seed)
    images, labels = read_sample_digits()
    parameters = [rng.normal(0, 0.05, (784, 64)), np.zeros(64), rng.normal(0, 0.1, (64, 10)), np.zeros(10)]
    means = [np.zeros_like(values) for values in parameters]
    squares = [np.zeros_like(values) for values in parameters]
    for step in range(1, steps + 1):
        rows = rng.integers(len(images), size=64)
        shifts = rng.integers(-2, 3, size=2)
        x = scale_pixels(np.roll(images[rows], shifts, axis=(1, 2)), scale).reshape(64, 784)
        hidden = np.maximum(x @ parameters[0] + parameters[1], 0)
        error = (softmax(hidden @ parameters[2] + parameters[3]) - np.eye(10)[labels[rows]]) / 64
        back = (error @ parameters[2].T) * (hidden > 0)
        gradients = [x.T @ back, back.sum(0), hidden.T @ error, error.sum(0)]
        for index, gradient in enumerate(gradients):
            means[index] = 0.9 * means[index] + 0.1 * gradient
            squares[index] = 0.999 * squares[index] + 0.001 * gradient**2
            rate = 0.003 * np.sqrt(1 - 0.999**step) / (1 - 0.9**step)
            parameters[index] = parameters[index] - rate * means[index] / (np.sqrt(squares[index]) + 1e-8)
    weights = [values.astype(np.float32) for values in parameters]
    return Perceptron(scale, (weights[0], weights[1]), (weights[2], weights[3]))
