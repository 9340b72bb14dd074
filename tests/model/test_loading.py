import gc
import json
import os
import subprocess
import sys
from dataclasses import asdict, replace

import keras
import numpy as np
import pytest
import tensorflow as tf

from mnist_batch.config import ValueRange
from mnist_batch.errors import ModelError
from mnist_batch.model.card import ModelCard, OutputKind, card_path, model_digest, read_card
from mnist_batch.model.loading import load_model
from model.saved_models import export, save, scored


@pytest.mark.parametrize("shape", [(784,), (28, 28), (28, 28, 1)])
@pytest.mark.parametrize("scale", ValueRange)
@pytest.mark.parametrize("kind", OutputKind)
def test_input_form_scale_and_output_are_found_out(shape, scale, kind, keras_file, network, digits):
    activation = "softmax" if kind is OutputKind.PROBABILITIES else None
    model = load_model(keras_file(shape=shape, scale=scale, activation=activation), None)
    assert (model.scale, model.output, model.carded) == (scale, kind, False)
    probabilities = scored(model, digits)
    assert probabilities.dtype == np.float32
    np.testing.assert_allclose(probabilities, network.probabilities(digits), atol=1e-4)
    assert (probabilities.argmax(axis=1) == network.logits(digits).argmax(axis=1)).all()


@pytest.mark.parametrize("dtype", ["float32", "uint8"])
@pytest.mark.parametrize(
    ("rescaling", "scale"), [((1 / 255, 0.0), ValueRange.UNIT), ((1 / 127.5, -1.0), ValueRange.SYMMETRIC)]
)
def test_a_model_with_its_own_rescaling_gets_bytes(rescaling, scale, dtype, keras_file, network, digits):
    own = keras.layers.Rescaling(*rescaling)
    model = load_model(keras_file(scale=scale, first=(own,), dtype=dtype), None)
    assert model.scale is ValueRange.BYTE
    np.testing.assert_allclose(scored(model, digits), network.probabilities(digits), atol=1e-4)


@pytest.mark.parametrize("name", ["model_mnist", "model.h5", "model.keras.bak"])
def test_a_keras_file_is_recognised_under_any_name(name, keras_file, tmp_path):
    path = keras_file().rename(tmp_path / name)
    assert load_model(path, None).scale is ValueRange.UNIT


def test_a_functional_model_may_name_its_one_input_and_output(build, tmp_path, network, digits):
    image = keras.Input((28, 28), name="image")
    model = load_model(save(keras.Model({"image": image}, {"digit": build()(image)}), tmp_path / "m.keras"), None)
    np.testing.assert_allclose(scored(model, digits), network.probabilities(digits), atol=1e-5)


def test_an_input_of_free_height_and_width_takes_28x28(tmp_path, build):
    image = keras.Input((None, None, 1))
    inner = keras.layers.Reshape((784,))(image)
    path = save(keras.Model(image, build(shape=(784,))(inner)), tmp_path / "m.keras")
    assert load_model(path, None).scale is ValueRange.UNIT


@pytest.mark.parametrize("shape", [(784,), (28, 28, 1)])
def test_a_saved_model_answers_through_its_signature_long_after_loading(shape, build, tmp_path, network, digits):
    exported = export(build(shape=shape, scale=ValueRange.BYTE, activation=None), tmp_path / "m")
    model = load_model(exported, None)
    gc.collect()
    assert (model.scale, model.output) == (ValueRange.BYTE, OutputKind.LOGITS)
    np.testing.assert_allclose(scored(model, digits), network.probabilities(digits), atol=1e-4)


def test_an_h5_file_that_this_keras_saved_loads(build, tmp_path, network, digits):
    model = load_model(save(build(shape=(28, 28, 1)), tmp_path / "m.h5"), None)
    np.testing.assert_allclose(scored(model, digits), network.probabilities(digits), atol=1e-5)


def test_a_saved_model_may_call_its_one_signature_as_it_likes(tmp_path, network, digits):
    module = tf.Module()
    module.weights = [tf.Variable(values) for values in (*network.hidden, *network.output)]

    @tf.function(input_signature=[tf.TensorSpec([None, 784], tf.float64)])
    def classify(images):
        first, second, third, fourth = module.weights
        hidden = tf.nn.relu(tf.cast(images, tf.float32) @ first + second)
        return {"scores": hidden @ third + fourth}

    tf.saved_model.save(module, str(tmp_path / "m"), signatures={"classify": classify})
    model = load_model(tmp_path / "m", None)
    np.testing.assert_allclose(scored(model, digits), network.probabilities(digits), atol=1e-4)


def test_loading_prints_nothing(keras_file, capsys):
    load_model(keras_file(), None)
    assert capsys.readouterr().out == ""


def test_the_given_scale_is_used_where_the_self_test_cannot_tell(build, tmp_path):
    # Brought to length 9, as a digit in 0..1 has it, 0..255 is the same image.
    own = (keras.layers.Flatten(), keras.layers.UnitNormalization(), keras.layers.Rescaling(9.0))
    path = save(build(first=own), tmp_path / "m.keras")
    with pytest.raises(ModelError, match=r"must be clear .* --scale 0\.\.1\|0\.\.255\|-1\.\.1"):
        load_model(path, None)
    assert load_model(path, ValueRange.BYTE).scale is ValueRange.BYTE


def test_a_given_scale_at_which_digits_are_not_recognised_is_refused(keras_file):
    with pytest.raises(
        ModelError, match=r"at 0\.\.1, as --scale says, found 0\.\.1: 1\d% right .*0\.\.255: 100% right"
    ):
        load_model(keras_file(scale=ValueRange.BYTE), ValueRange.UNIT)


def test_a_model_whose_name_is_no_utf8_is_scored_with_and_named(cli, keras_file, sample_data, tmp_path):
    path = keras_file().rename(tmp_path / os.fsdecode(b"m\xff.keras"))
    assert cli("predict", sample_data / "digits.zip", "--output", tmp_path / "out", "--model", path).code == 0
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["model"]["name"] == rf"{tmp_path}/m\xff.keras"


IN_A_FRESH_PROCESS = """
import sys
from pathlib import Path
if sys.argv[1] == "train":
    import mnist_batch.training.fit
from mnist_batch.model.loading import load_model
print(load_model(Path(sys.argv[2]), None).scale)
"""


@pytest.mark.parametrize("first", ["train", "predict"])
def test_another_backend_of_keras_in_the_environment_does_not_matter(first, keras_file):
    run = subprocess.run(
        [sys.executable, "-c", IN_A_FRESH_PROCESS, first, keras_file()],
        env=os.environ | {"KERAS_BACKEND": "jax"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.stdout == "0..1\n", run.stderr


def test_a_process_in_which_keras_runs_on_something_else_is_told_so(keras_file, monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(ModelError, match="Keras must run on TensorFlow, runs on jax in this process"):
        load_model(keras_file(), None)


@pytest.fixture
def card():
    return ModelCard(
        name="m",
        scale=ValueRange.UNIT,
        output=OutputKind.PROBABILITIES,
        temperature=2.0,
        digests={},
        accuracy=0.98,
        ece=0.01,
        nll=0.1,
        evaluated_on="drawn digits",
        evaluated_rows=300,
        training={},
    )


@pytest.mark.parametrize("kind", OutputKind)
def test_a_card_says_scale_and_temperature(kind, card, keras_file, network, digits):
    path = keras_file(activation="softmax" if kind is OutputKind.PROBABILITIES else None)
    replace(card, output=kind, digests={path.name: model_digest(path)}).write(card_path(path))
    model = load_model(path, None)
    assert (model.carded, model.temperature) == (True, 2.0)
    cooler = np.exp(network.logits(digits) / 2)
    np.testing.assert_allclose(scored(model, digits), cooler / cooler.sum(axis=1, keepdims=True), atol=1e-4)


def test_a_card_of_other_bytes_is_not_used(card, keras_file):
    path = keras_file()
    replace(card, digests={path.name: "0" * 64}).write(card_path(path))
    model = load_model(path, None)
    assert (model.carded, model.temperature) == (False, 1.0)


@pytest.mark.parametrize(
    ("wrong", "given", "reason"),
    [
        ({"scale": ValueRange.SYMMETRIC}, None, r"at -1\.\.1, as the model's card says"),
        ({"output": OutputKind.LOGITS}, None, "outputs must be logits as the model's card says, found probabilities"),
        ({}, ValueRange.BYTE, r"--scale must agree with the model's card, 0\.\.1, found 0\.\.255"),
    ],
)
def test_a_card_that_does_not_hold_is_refused(wrong, given, reason, card, keras_file):
    path = keras_file()
    replace(card, digests={path.name: model_digest(path)}, **wrong).write(card_path(path))
    with pytest.raises(ModelError, match=reason):
        load_model(path, given)


@pytest.mark.parametrize(
    ("wrong", "found"),
    [
        ({"temperature": "hot"}, "hot"),
        ({"temperature": None}, "NoneType"),
        ({"temperature": 0}, "temperature 0.0"),
        ({"temperature": float("nan")}, "temperature nan"),
        ({"temperature": float("inf")}, "temperature inf"),
        ({"temperature": 10**400}, "too large"),
        ({"digests": []}, "digests that are no object"),
        ({"scale": []}, "is not a valid ValueRange"),
        ({"more": 1}, "more"),
    ],
)
def test_a_card_that_was_edited_into_something_else_is_refused_in_one_line(wrong, found, card, tmp_path):
    path = tmp_path / "m.card.json"
    path.write_text(json.dumps(asdict(card) | wrong))
    with pytest.raises(
        ModelError, match=f"must be the JSON that `train` writes, found .*{found}.*: remove it"
    ) as caught:
        read_card(path)
    assert len(str(caught.value).splitlines()) == 1
