import gc
import json
import os
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import Cli

from mnist_batch.config import Scale
from mnist_batch.errors import ModelError
from mnist_batch.model.card import ModelCard, OutputKind, card_path, model_digest, read_card
from mnist_batch.model.loading import load_model
from mnist_batch.records import Pixels
from model.perceptron import Perceptron, train_perceptron
from model.saved_models import BuildModel, SaveKeras, export, save, score

ACTIVATIONS = {OutputKind.PROBABILITIES: "softmax", OutputKind.SIGMOIDS: "sigmoid", OutputKind.LOGITS: None}


@pytest.mark.parametrize("shape", [(784,), (28, 28), (28, 28, 1)])
@pytest.mark.parametrize("scale", Scale)
@pytest.mark.parametrize("kind", OutputKind)
def test_scale_and_output_are_inferred(
    shape: tuple[int, ...],
    scale: Scale,
    kind: OutputKind,
    save_keras: SaveKeras,
    digits: Pixels,
) -> None:
    network = train_perceptron(scale)
    model = load_model(save_keras(shape=shape, scale=scale, activation=ACTIVATIONS[kind]), None)
    assert (model.scale, model.output, model.card) == (scale, kind, None)
    probabilities = score(model, digits)
    assert probabilities.dtype == np.float32
    # A sigmoid near 1 has few digits left in float32.
    tolerance = 5e-3 if kind is OutputKind.SIGMOIDS else 1e-4
    np.testing.assert_allclose(probabilities, network.probabilities(digits), atol=tolerance)
    assert (probabilities.argmax(axis=1) == network.logits(digits).argmax(axis=1)).all()


@pytest.mark.parametrize("dtype", ["float32", "uint8"])
@pytest.mark.parametrize(("rescaling", "scale"), [((1 / 255, 0.0), Scale.UNIT), ((1 / 127.5, -1.0), Scale.SYMMETRIC)])
def test_model_with_rescaling_takes_bytes(
    rescaling: tuple[float, float],
    scale: Scale,
    dtype: str,
    save_keras: SaveKeras,
    digits: Pixels,
) -> None:
    network = train_perceptron(scale)
    layer = keras.layers.Rescaling(*rescaling)
    model = load_model(save_keras(scale=scale, first=(layer,), dtype=dtype), None)
    assert model.scale is Scale.BYTE
    np.testing.assert_allclose(score(model, digits), network.probabilities(digits), atol=1e-4)


@pytest.mark.parametrize("name", ["model_mnist", "model.h5", "model.keras.bak"])
def test_keras_file_loads_under_any_name(name: str, save_keras: SaveKeras, tmp_path: Path) -> None:
    path = save_keras().rename(tmp_path / name)
    assert load_model(path, None).scale is Scale.UNIT


def test_named_input_and_output_load(
    build_model: BuildModel, tmp_path: Path, network: Perceptron, digits: Pixels
) -> None:
    image = keras.Input((28, 28), name="image")
    path = save(keras.Model({"image": image}, {"digit": build_model()(image)}), tmp_path / "m.keras")
    model = load_model(path, None)
    np.testing.assert_allclose(score(model, digits), network.probabilities(digits), atol=1e-5)


def test_free_height_and_width_take_28x28(tmp_path: Path, build_model: BuildModel) -> None:
    image = keras.Input((None, None, 1))
    inner = keras.layers.Reshape((784,))(image)
    path = save(keras.Model(image, build_model(shape=(784,))(inner)), tmp_path / "m.keras")
    assert load_model(path, None).scale is Scale.UNIT


@pytest.mark.parametrize("shape", [(784,), (28, 28, 1)])
def test_saved_model_works_after_gc(
    shape: tuple[int, ...], build_model: BuildModel, tmp_path: Path, network: Perceptron, digits: Pixels
) -> None:
    exported = export(build_model(shape=shape, scale=Scale.BYTE, activation=None), tmp_path / "m")
    model = load_model(exported, None)
    gc.collect()
    assert (model.scale, model.output) == (Scale.BYTE, OutputKind.LOGITS)
    np.testing.assert_allclose(score(model, digits), network.probabilities(digits), atol=1e-4)


def test_h5_file_of_this_keras_loads(
    build_model: BuildModel, tmp_path: Path, network: Perceptron, digits: Pixels
) -> None:
    model = load_model(save(build_model(shape=(28, 28, 1)), tmp_path / "m.h5"), None)
    np.testing.assert_allclose(score(model, digits), network.probabilities(digits), atol=1e-5)


def test_single_signature_may_have_any_name(tmp_path: Path, network: Perceptron, digits: Pixels) -> None:
    module = tf.Module()
    module.weights = [tf.Variable(values) for values in (*network.hidden, *network.output)]

    def classify(images: tf.Tensor) -> dict[str, tf.Tensor]:
        first, second, third, fourth = module.weights
        hidden = tf.nn.relu(tf.cast(images, tf.float32) @ first + second)
        return {"scores": hidden @ third + fourth}

    signature = tf.function(classify, input_signature=[tf.TensorSpec([None, 784], tf.float64)])
    tf.saved_model.save(module, str(tmp_path / "m"), signatures={"classify": signature})
    model = load_model(tmp_path / "m", None)
    np.testing.assert_allclose(score(model, digits), network.probabilities(digits), atol=1e-4)


def test_loading_prints_nothing(save_keras: SaveKeras, capsys: pytest.CaptureFixture[str]) -> None:
    load_model(save_keras(), None)
    assert capsys.readouterr().out == ""


def test_model_that_ignores_scale_takes_the_usual_one(build_model: BuildModel, tmp_path: Path) -> None:
    # After scaling to length 9, the length of a digit in 0..1, the same image in 0..255 looks no different.
    first = (keras.layers.Flatten(), keras.layers.UnitNormalization(), keras.layers.Rescaling(9.0))
    path = save(build_model(first=first), tmp_path / "m.keras")
    assert load_model(path, None).scale is Scale.UNIT
    assert load_model(path, Scale.BYTE).scale is Scale.BYTE


def test_wrong_given_scale_is_refused(save_keras: SaveKeras) -> None:
    with pytest.raises(
        ModelError, match=r"at 0\.\.1, as --scale says, found 0\.\.1: 1\d% right .*0\.\.255: 100% right"
    ):
        load_model(save_keras(scale=Scale.BYTE), Scale.UNIT)


def test_model_name_may_be_invalid_utf8(cli: Cli, save_keras: SaveKeras, sample_data: Path, tmp_path: Path) -> None:
    path = save_keras().rename(tmp_path / os.fsdecode(b"m\xff.keras"))
    assert cli("predict", sample_data / "digits.zip", "--output", tmp_path / "out", "--model", path).code == 0
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["model"]["name"] == rf"{tmp_path}/m\xff.keras"


LOAD_IN_A_NEW_PROCESS = """
import sys
from pathlib import Path
if sys.argv[1] == "train":
    import mnist_batch.training.fit
from mnist_batch.model.loading import load_model
print(load_model(Path(sys.argv[2]), None).scale)
"""


@pytest.mark.slow
@pytest.mark.parametrize("first", ["train", "predict"])
def test_keras_backend_variable_is_ignored(first: str, save_keras: SaveKeras) -> None:
    run = subprocess.run(
        [sys.executable, "-c", LOAD_IN_A_NEW_PROCESS, first, save_keras()],
        env=os.environ | {"KERAS_BACKEND": "jax"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.stdout == "0..1\n", run.stderr


def test_other_keras_backend_is_refused(save_keras: SaveKeras, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(ModelError, match="Keras must run on TensorFlow, runs on jax in this process"):
        load_model(save_keras(), None)


@pytest.fixture
def card() -> ModelCard:
    return ModelCard(
        name="m",
        scale=Scale.UNIT,
        output=OutputKind.PROBABILITIES,
        temperature=2.0,
        digests={},
        accuracy=0.98,
        ece=0.01,
        nll=0.1,
        evaluated_on="drawn digits",
        evaluated_rows=300,
    )


@pytest.mark.parametrize("kind", OutputKind)
def test_card_sets_scale_and_temperature(
    kind: OutputKind, card: ModelCard, save_keras: SaveKeras, network: Perceptron, digits: Pixels
) -> None:
    path = save_keras(activation=ACTIVATIONS[kind])
    replace(card, output=kind, digests={path.name: model_digest(path)}).write(card_path(path))
    model = load_model(path, None)
    assert model.card is not None
    assert model.temperature == 2.0
    expected = np.exp(network.logits(digits) / 2)
    tolerance = 1e-2 if kind is OutputKind.SIGMOIDS else 1e-4  # as above
    np.testing.assert_allclose(score(model, digits), expected / expected.sum(axis=1, keepdims=True), atol=tolerance)


def test_card_of_other_bytes_is_ignored(card: ModelCard, save_keras: SaveKeras) -> None:
    path = save_keras()
    replace(card, digests={path.name: "0" * 64}).write(card_path(path))
    model = load_model(path, None)
    assert (model.card, model.temperature) == (None, 1.0)


@pytest.mark.parametrize(
    ("change", "scale", "reason"),
    [
        ({"scale": Scale.SYMMETRIC}, None, r"found 33 of 100 at most, at -1\.\.1"),
        ({"output": OutputKind.LOGITS}, None, "outputs must be logits as the model's card says, found probabilities"),
        ({}, Scale.BYTE, r"--scale must agree with the model's card, 0\.\.1, found 0\.\.255"),
    ],
)
def test_contradicting_card_is_refused(
    change: dict[str, Any], scale: Scale | None, reason: str, card: ModelCard, save_keras: SaveKeras
) -> None:
    path = save_keras()
    replace(card, digests={path.name: model_digest(path)}, **change).write(card_path(path))
    with pytest.raises(ModelError, match=reason):
        load_model(path, scale)


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"temperature": "hot"}, "in `temperature`: expected `float`, got `str`"),
        ({"temperature": None}, "in `temperature`: expected `float`, got `null`"),
        ({"temperature": 0}, "in `temperature`: expected `float` > 0.0"),
        ({"temperature": float("nan")}, "in `temperature`: expected `float` > 0.0"),
        ({"temperature": float("inf")}, "temperature inf"),
        ({"temperature": 10**400}, "in `temperature`: number out of range"),
        ({"digests": []}, "in `digests`: expected `object`, got `array`"),
        ({"scale": []}, "in `scale`: expected `str`, got `array`"),
        ({"more": 1}, "an unknown key `more`"),
    ],
)
def test_malformed_card_is_refused(change: dict[str, Any], found: str, card: ModelCard, tmp_path: Path) -> None:
    path = tmp_path / "m.card.json"
    path.write_text(json.dumps(asdict(card) | change))
    with pytest.raises(
        ModelError, match=f"must be the JSON that `train` writes, found .*{found}.*: remove it"
    ) as caught:
        read_card(path)
    assert len(str(caught.value).splitlines()) == 1
