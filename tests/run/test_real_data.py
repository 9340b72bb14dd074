"""MNIST's 10,000 test images give the same predictions in every input form and with every model form."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest
from contracts import FORMS, Array, Digits, Written

from mnist_batch import predict
from mnist_batch.config import TrainConfig
from mnist_batch.sources.idx import read_idx
from mnist_batch.training.fit import train

pytestmark = pytest.mark.real_data
MODELS = ["model_mnist.h5", "model_mnist.keras", "model_mnist"]
# One form per format of the input, with the model form it is tested with. The other combinations are slow tests.
QUICK = {
    "idx": "model_mnist.h5",
    "npz": "model_mnist.keras",
    "folder": "model_mnist",
    "zip deflated": "model_mnist.h5",
    "tar": "model_mnist.keras",
    "tar.gz": "model_mnist",
    "parquet: binary of 784": "model_mnist.h5",
}
CASES = [
    pytest.param(form, model, marks=() if QUICK.get(form) == model else pytest.mark.slow, id=f"{form}-{model}")
    for form in FORMS
    for model in MODELS
]


@pytest.fixture(scope="module")
def digits(real_data: Path) -> Digits:
    mnist = real_data / "mnist"
    return Digits(read_idx(mnist / "t10k-images-idx3-ubyte.gz"), read_idx(mnist / "t10k-labels-idx1-ubyte.gz"))


@pytest.fixture(scope="module")
def models(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the three forms of one model, trained for one epoch."""
    output = tmp_path_factory.mktemp("model") / "trained"
    train(TrainConfig(output, real_data / "mnist", seed=0, epochs=1), print)
    return output


@pytest.fixture(scope="module")
def evaluated(digits: Digits, models: Path) -> tuple[float, Array]:
    """The accuracy that Keras measures, and the predictions that it makes, int64 [n]."""
    model = keras.models.load_model(models / "model_mnist.keras", compile=False)
    model.compile(loss="categorical_crossentropy", metrics=["accuracy"])
    images = digits.pixels.reshape(-1, 784).astype(np.float32) / 255
    _, accuracy = model.evaluate(images, np.eye(10)[digits.labels], verbose=0)
    return accuracy, model.predict(images, verbose=0).argmax(axis=1)


@pytest.fixture(scope="module")
def written(digits: Digits, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Written]:
    """Returns the digits in the form of that name. Each form is written once, whatever the number of models."""
    forms: dict[str, Written] = {}

    def write(name: str) -> Written:
        if name not in forms:
            forms[name] = FORMS[name](tmp_path_factory.mktemp("form"), digits)
        return forms[name]

    return write


@pytest.mark.parametrize(("form", "model"), CASES)
def test_predictions_are_those_of_keras(
    form: str,
    model: str,
    written: Callable[[str], Written],
    models: Path,
    evaluated: tuple[float, Array],
    digits: Digits,
    tmp_path: Path,
) -> None:
    source = written(form)
    pixel_range = source.options.pixel_range
    result = predict(source.input, output=tmp_path / "out", model=models / model, pixel_range=pixel_range)
    frame = result.to_pandas()
    accuracy, predictions = evaluated
    assert frame["id"].tolist() == list(source.ids)
    assert frame["id"].is_unique
    assert frame["label"].tolist() == digits.labels.tolist()
    assert frame["prediction"].tolist() == predictions.tolist()
    assert result.accuracy == pytest.approx(accuracy, abs=1e-6)


@pytest.mark.slow
def test_two_processes_write_the_same_bytes(real_data: Path, models: Path, tmp_path: Path) -> None:
    source = real_data / "mnist" / "t10k-images-idx3-ubyte.gz"
    for name in ("first", "second"):
        command = [sys.executable, "-m", "mnist_batch", "predict", source, "--output", tmp_path / name]
        options = ["--model", models / "model_mnist.keras", "--rows-per-part", 3000, "--probabilities"]
        subprocess.run([str(word) for word in (*command, *options)], check=True, capture_output=True)
    parts = [{p.name: p.read_bytes() for p in (tmp_path / n / "predictions").iterdir()} for n in ("first", "second")]
    assert len(parts[0]) == 4
    assert parts[0] == parts[1]


def test_bundled_model_has_the_card_accuracy(real_data: Path, tmp_path: Path) -> None:
    result = predict(real_data / "mnist" / "t10k-images-idx3-ubyte.gz", output=tmp_path / "out")
    assert result.accuracy == pytest.approx(0.9788, abs=1e-9)


def test_most_semeion_digits_are_right(real_data: Path, tmp_path: Path) -> None:
    """Four of five, though the model was trained on other writers' digits."""
    result = predict(real_data / "semeion", output=tmp_path / "out")
    assert result.accuracy is not None
    assert result.accuracy * result.labelled >= 0.80 * 1593
