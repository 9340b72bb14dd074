"""MNIST's 10,000 test images in every input form, with every model form: one set of predictions."""

import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from contracts import FORMS, Digits

from mnist_batch import predict
from mnist_batch.config import TrainConfig
from mnist_batch.sources.idx import read_idx
from mnist_batch.training.fit import train

pytestmark = pytest.mark.real_data
MODELS = ["model_mnist.h5", "model_mnist.keras", "model_mnist"]


@pytest.fixture(scope="module")
def digits(real_data):
    mnist = real_data / "mnist"
    return Digits(read_idx(mnist / "t10k-images-idx3-ubyte.gz"), read_idx(mnist / "t10k-labels-idx1-ubyte.gz"))


@pytest.fixture(scope="module")
def models(real_data, tmp_path_factory) -> Path:
    """A folder with the three forms of one model, trained for as long as a test may take."""
    output = tmp_path_factory.mktemp("model") / "trained"
    train(TrainConfig(output, real_data / "mnist", seed=0, epochs=1), print)
    return output


@pytest.fixture(scope="module")
def evaluated(digits, models):
    """Accuracy as Keras itself measures it, and Keras's own predictions."""
    model = keras.models.load_model(models / "model_mnist.keras", compile=False)
    model.compile(loss="categorical_crossentropy", metrics=["accuracy"])
    images = digits.pixels.reshape(-1, 784).astype(np.float32) / 255
    _, accuracy = model.evaluate(images, np.eye(10)[digits.labels], verbose=0)
    return accuracy, model.predict(images, verbose=0).argmax(axis=1)


@pytest.fixture(scope="module")
def written(digits, tmp_path_factory):
    """Each form, written once however many models score it."""
    forms = {}

    def write(name):
        if name not in forms:
            forms[name] = FORMS[name](tmp_path_factory.mktemp("form"), digits)
        return forms[name]

    return write


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("form", FORMS)
def test_every_form_and_model_gives_the_predictions_and_the_accuracy_keras_gives(
    form, model, written, models, evaluated, digits, tmp_path
):
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


def test_two_runs_on_real_data_write_the_same_bytes(real_data, models, tmp_path):
    source = real_data / "mnist" / "t10k-images-idx3-ubyte.gz"
    for name in ("first", "second"):
        command = [sys.executable, "-m", "mnist_batch", "predict", source, "--output", tmp_path / name]
        options = ["--model", models / "model_mnist.keras", "--rows-per-part", 3000, "--probabilities"]
        subprocess.run([str(word) for word in (*command, *options)], check=True, capture_output=True)
    parts = [{p.name: p.read_bytes() for p in (tmp_path / n / "predictions").iterdir()} for n in ("first", "second")]
    assert len(parts[0]) == 4
    assert parts[0] == parts[1]


def test_the_bundled_model_is_as_good_as_its_card_says(real_data, tmp_path):
    result = predict(real_data / "mnist" / "t10k-images-idx3-ubyte.gz", output=tmp_path / "out")
    assert result.accuracy == pytest.approx(0.9788, abs=1e-9)


def test_four_of_five_semeion_digits_are_right_though_nothing_was_trained_on_them(real_data, tmp_path):
    result = predict(real_data / "semeion", output=tmp_path / "out")
    assert result.accuracy * result.labelled >= 0.80 * 1593
