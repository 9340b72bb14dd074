"""Trains networks of the kinds that people save, on MNIST at every scale, to choose and judge the self-test's rule.

    MNIST_BATCH_DATA=... python benchmarks/networks.py --folder build/networks [--part judging]

Writes NAME.keras and NAME.json for each of `SPECS`; what exists is kept.
Each network is for choosing or for judging, by the hash of its name. The thresholds in `model/scale_choice.py` may
be chosen on the first kind only. Those of the first draw were judged on 2026-11-27, and are all for choosing since.
Training uses rows 0 to 49,999 of MNIST's training images. The right figures of a network for choosing come from the
other 10,000 rows, those of a network for judging from the 10,000 test images.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
from keras import layers

from mnist_batch.records import Floats, Ints, Pixels
from mnist_batch.sources.idx import read_idx, read_labels

COUNT = 360
# The networks of the first draw.
_JUDGED = 180
TRAINED_ROWS = 50_000


SCALES: dict[str, Callable[[Floats], Floats]] = {
    "0..1": lambda values: values / np.float32(255),
    "0..255": lambda values: values,
    "-1..1": lambda values: values / np.float32(127.5) - np.float32(1),
    "-0.5..0.5": lambda values: values / np.float32(255) - np.float32(0.5),
    "standardised": lambda values: (values / np.float32(255) - np.float32(0.1307)) / np.float32(0.3081),
    "columns": lambda values: keras.utils.normalize(values, axis=1),
    "inverted": lambda values: np.float32(1) - values / np.float32(255),
}
# How often each is seen in public repositories, roughly. The rare ones are drawn more often than they are seen.
_SCALE_SHARES = (0.34, 0.16, 0.1, 0.06, 0.1, 0.16, 0.08)
_DENSE = ("linear", "dense", "deep", "tanh", "sigmoid", "dropout", "dense_bn", "sigmoids", "logits")
_CONVOLUTIONAL = ("cnn", "cnn_dropout", "cnn_bn", "lenet", "cnn_augmented", "cnn_sigmoids")
# Epochs and rows.
_AMOUNTS = ((1, 5_000), (1, 50_000), (3, 10_000), (10, 10_000), (30, 2_000), (5, 50_000))
_SMALL_AMOUNTS = ((1, 5_000), (1, 50_000), (3, 10_000), (30, 2_000), (8, 12_000), (3, 50_000))


@dataclass(frozen=True)
class Spec:
    """What a network is and how it is trained.

    form: the architecture. scale: a key of `SCALES`. rows: the first rows of the training images.
    """

    name: str
    form: str
    scale: str
    epochs: int
    rows: int
    seed: int

    @property
    def is_for_judging(self) -> bool:
        return self.seed >= _JUDGED and sha256(self.name.encode()).digest()[0] % 2 == 1

    @property
    def part(self) -> str:
        return "judging" if self.is_for_judging else "choosing"


def draw_specs(count: int) -> list[Spec]:
    """Draws each network with a generator of its own."""
    specs = []
    for number in range(count):
        generator = np.random.default_rng([2026, number])
        convolutional = generator.random() < 0.45
        forms = _CONVOLUTIONAL if convolutional else _DENSE
        form = "lstm" if number % 45 == 44 else str(generator.choice(forms))
        scale = str(generator.choice(list(SCALES), p=_SCALE_SHARES))
        amounts = _AMOUNTS if form in _DENSE else _SMALL_AMOUNTS
        epochs, rows = amounts[generator.integers(len(amounts))]
        specs.append(Spec(f"{number:03}-{form}-{scale}-{epochs}x{rows}", form, scale, epochs, rows, number))
    return specs


SPECS = draw_specs(COUNT)


def build(spec: Spec) -> keras.Model:
    """Builds the untrained network. Its width depends on the seed."""
    width = (32, 64, 128, 256)[spec.seed % 4]
    filters = (8, 16, 32)[spec.seed % 3]
    hidden = {"tanh": "tanh", "sigmoid": "sigmoid"}.get(spec.form, "relu")
    last = {"sigmoids": "sigmoid", "cnn_sigmoids": "sigmoid", "logits": None}.get(spec.form, "softmax")
    body: list[keras.Layer]
    if spec.form == "lstm":
        body = [layers.LSTM(64)]
    elif spec.form in _DENSE:
        body = [layers.Flatten()]
        if spec.form != "linear":
            body.append(layers.Dense(width, hidden))
        if spec.form in ("deep", "dropout") or spec.seed % 5 == 0:
            body.append(layers.Dense(width, hidden))
        if spec.form == "dropout":
            body.append(layers.Dropout(0.3))
        if spec.form == "dense_bn":
            body = [layers.Flatten(), layers.Dense(width), layers.BatchNormalization(), layers.ReLU()]
    elif spec.form == "lenet":
        body = [
            layers.Conv2D(6, 5, activation="tanh" if spec.seed % 2 else "relu", padding="same"),
            layers.AveragePooling2D(2),
            layers.Conv2D(16, 5, activation="relu"),
            layers.AveragePooling2D(2),
            layers.Flatten(),
            layers.Dense(120, "relu"),
            layers.Dense(84, "relu"),
        ]
    else:
        normalize = [layers.BatchNormalization()] if spec.form == "cnn_bn" else []
        drop = [layers.Dropout(0.4)] if spec.form in ("cnn_dropout", "cnn_augmented") else []
        body = [layers.Conv2D(filters, 3, activation="relu"), *normalize, layers.MaxPooling2D()]
        body += [layers.Conv2D(2 * filters, 3, activation="relu"), layers.MaxPooling2D(), *drop, layers.Flatten()]
        if spec.seed % 2:
            body.append(layers.Dense(64, "relu"))
    shape = (28, 28, 1) if spec.form in _CONVOLUTIONAL else (28, 28)
    return keras.Sequential([keras.Input(shape), *body, layers.Dense(10, last)])


def augment(images: Floats, seed: int) -> Floats:
    """Rotates, shifts and zooms images, as `ImageDataGenerator` does. The border gets the nearest values."""
    layer = keras.Sequential(
        [
            layers.RandomRotation(0.03, fill_mode="nearest", seed=seed),
            layers.RandomTranslation(0.08, 0.08, fill_mode="nearest", seed=seed),
            layers.RandomZoom(0.1, fill_mode="nearest", seed=seed),
        ]
    )
    return np.concatenate(
        [np.asarray(layer(images[at : at + 1000], training=True)) for at in range(0, len(images), 1000)]
    )


def train(spec: Spec, images: Pixels, labels: Ints) -> keras.Model:
    """Trains a network. images: uint8 [n, 28, 28]; labels: the digits, [n]."""
    keras.utils.set_random_seed(spec.seed)
    model = build(spec)
    one_hot = np.eye(10, dtype=np.float32)[labels[: spec.rows]]
    optimizer = ("adam", "adam", "rmsprop")[spec.seed % 3]
    loss = keras.losses.CategoricalCrossentropy(from_logits=spec.form == "logits")
    model.compile(optimizer, loss)
    values = SCALES[spec.scale](images[: spec.rows].astype(np.float32)).reshape(-1, *model.input_shape[1:])
    batch_size = (32, 64, 128)[spec.seed % 3]
    for epoch in range(spec.epochs):
        fed = augment(values, spec.seed + epoch) if spec.form == "cnn_augmented" else values
        model.fit(fed, one_hot, batch_size=batch_size, verbose=0)
    return model


def read_mnist(part: str) -> tuple[Pixels, Ints]:
    """Reads MNIST's part `train` or `t10k`: uint8 [n, 28, 28] and the digits, [n]."""
    mnist = Path(os.environ["MNIST_BATCH_DATA"]) / "mnist"
    labels = np.asarray(read_labels(mnist / f"{part}-labels-idx1-ubyte.gz"))
    return read_idx(mnist / f"{part}-images-idx3-ubyte.gz"), labels


def read_held_out() -> tuple[Pixels, Ints]:
    """Reads the training images that no network is trained on."""
    images, labels = read_mnist("train")
    return images[TRAINED_ROWS:], labels[TRAINED_ROWS:]


def main() -> None:
    """Trains the networks that are missing."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=Path("build/networks"))
    parser.add_argument("--part", choices=("choosing", "judging"), help="train only these")
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    images, labels = read_mnist("train")
    for spec in SPECS:
        card = given.folder / f"{spec.name}.json"
        if card.exists() or given.part not in (None, spec.part):
            continue
        model = train(spec, images[:TRAINED_ROWS], labels[:TRAINED_ROWS])
        model.save(given.folder / f"{spec.name}.keras")
        card.write_text(json.dumps({**asdict(spec), "for": spec.part}))
        print(spec.name, flush=True)
        keras.backend.clear_session()


if __name__ == "__main__":
    main()
