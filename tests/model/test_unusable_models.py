"""Each test writes one unusable model; each must be refused in one line that names the file and the reason."""

import json
import os
import zipfile
from pathlib import Path

import h5py
import keras
import pytest
import tensorflow as tf

from mnist_batch.config import ValueRange
from mnist_batch.errors import ModelError
from mnist_batch.model.loading import load_model
from model.h5_layouts import Layer, Layout, layers_of, write_h5, write_weights
from model.saved_models import export, save


def image_error(path: Path, scale: ValueRange | None = None) -> str:
    with pytest.raises(ModelError) as caught:
        load_model(path, scale)
    message = str(caught.value)
    assert caught.value.exit_code == 78
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    return message.removeprefix(f"{path}: ")


def saved(path: Path, *layers: keras.Layer) -> Path:
    return save(keras.Sequential(layers), path)


def test_a_missing_path(tmp_path):
    assert "found nothing there" in image_error(tmp_path / "model.h5")


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "model.h5")
    assert "found neither file nor folder" in image_error(tmp_path / "model.h5")


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"", "found an empty file"),
        (b"see the wiki for the model\n", "found text"),
        (b"text\n", "found text"),
        (b'{"class_name": "Sequential"}', "found text"),
        (b"\x08\x01\xff\x00 some protobuf", "found something else"),
    ],
)
def test_a_file_that_is_no_model(content, found, tmp_path):
    path = tmp_path / "model.h5"
    path.write_bytes(content)
    message = image_error(path)
    assert message.startswith("a model must be a .keras or .h5 file, or a SavedModel folder")
    assert found in message


def test_a_folder_without_saved_model_pb(tmp_path):
    assert "found a folder without saved_model.pb" in image_error(tmp_path)


@pytest.mark.parametrize(("content", "found"), [(b"cut off", "Cannot parse"), (b"", "none or several graphs")])
def test_a_damaged_saved_model(content, found, tmp_path):
    (tmp_path / "saved_model.pb").write_bytes(content)
    assert image_error(tmp_path).startswith(f"a SavedModel must be whole, of known operations, found {found}")


def test_a_saved_model_without_a_signature(tmp_path):
    tf.saved_model.save(tf.Module(), str(tmp_path / "m"))
    assert "serving_default or a single one, found none" in image_error(tmp_path / "m")


def test_saved_model_pb_instead_of_its_folder(build, tmp_path):
    assert "named by its folder" in image_error(export(build(), tmp_path / "m") / "saved_model.pb")


@pytest.mark.parametrize("kept", [0.3, 0.9])
def test_a_truncated_keras_file(kept, keras_file):
    path = keras_file()
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * kept)])
    assert "probably cut off" in image_error(path)


@pytest.mark.parametrize("kept", [0.1, 0.9])
def test_a_truncated_h5_file(kept, network, tmp_path):
    path = write_h5(tmp_path / "m.h5", Layout.TF_2_2, layers_of(network), (None, 784))
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * kept)])
    assert "probably cut off" in image_error(path)


def test_a_zip_that_keras_did_not_write(tmp_path):
    with zipfile.ZipFile(tmp_path / "m.keras", "w") as archive:
        archive.writestr("weights.pt", b"")
    assert "found a zip without it" in image_error(tmp_path / "m.keras")


def test_weights_without_an_architecture(network, tmp_path):
    with h5py.File(tmp_path / "m.h5", "w") as file:
        write_weights(file, Layout.TF_2_2, layers_of(network))
    assert "found weights only: save it with model.save()" in image_error(tmp_path / "m.h5")


@pytest.mark.parametrize("name", ["m.keras", "m.h5"])
def test_a_lambda_layer(name, tmp_path):
    doubled = keras.layers.Lambda(lambda x: x * 2, output_shape=(784,))
    message = image_error(saved(tmp_path / name, keras.Input((784,)), doubled, keras.layers.Dense(10)))
    assert "found a Lambda layer (Python code), which safe loading refuses" in message


def test_a_layer_of_somebodys_own_in_an_h5_file(network, tmp_path):
    layers = layers_of(network, Layer("Scribble", "scribble"))
    assert "found 'Scribble', whose code is not in the file" in image_error(
        write_h5(tmp_path / "m.h5", Layout.TF_2_15, layers, (None, 784))
    )


def test_a_layer_of_somebodys_own_in_a_keras_file(keras_file, tmp_path):
    with zipfile.ZipFile(keras_file("whole.keras")) as whole, zipfile.ZipFile(tmp_path / "m.keras", "w") as other:
        for name in whole.namelist():
            content = whole.read(name)
            if name == "config.json":
                config = json.loads(content)
                own = {"module": "course.layers", "registered_name": "course>Scribble", "class_name": "Scribble"}
                config["config"]["layers"][1].update(own)
                content = json.dumps(config).encode()
            other.writestr(name, content)
    assert "found 'Scribble', whose code is not in the file" in image_error(tmp_path / "m.keras")


def test_weights_of_another_shape_than_the_architecture(network, tmp_path):
    layers = layers_of(network)
    layers[1].weights["kernel"] = layers[1].weights["kernel"][:32]
    assert "this Keras can rebuild, found" in image_error(
        write_h5(tmp_path / "m.h5", Layout.TF_2_2, layers, (None, 784))
    )


def test_a_sequential_without_an_input(tmp_path):
    message = image_error(saved(tmp_path / "m.keras", keras.layers.Dense(10)))
    assert "must say the shape of its input, found none" in message


@pytest.mark.parametrize(
    ("shape", "found"),
    [((224, 224, 3), "[n,224,224,3]"), ((28, 28, 3), "[n,28,28,3]"), ((32, 32, 1), "[n,32,32,1]"), ((10,), "[n,10]")],
)
def test_an_input_of_another_shape(shape, found, tmp_path):
    path = saved(tmp_path / "m.keras", keras.Input(shape), keras.layers.Flatten(), keras.layers.Dense(10))
    assert f"must take one image, [n,784], [n,28,28] or [n,28,28,1], found {found}:" in image_error(path)


def test_an_input_of_a_fixed_number_of_images(tmp_path):
    path = saved(tmp_path / "m.keras", keras.Input((784,), batch_size=32), keras.layers.Dense(10))
    assert "for any n, found [32,784]: export it with a free batch size" in image_error(path)


def test_an_input_of_encoded_images(tmp_path):
    image = keras.Input((784,), dtype="string")
    number = keras.layers.Hashing(num_bins=2)(image)
    path = save(keras.Model(image, keras.layers.Dense(10)(number)), tmp_path / "m.keras")
    assert "of numbers, found [n,784] of string" in image_error(path)


@pytest.mark.parametrize("width", [1, 11])
def test_an_output_of_another_width(width, tmp_path):
    path = saved(tmp_path / "m.keras", keras.Input((784,)), keras.layers.Dense(width))
    assert f"must give ten values an image, [n,10], found [n,{width}]" in image_error(path)


def test_two_inputs(tmp_path):
    images = [keras.Input((784,)), keras.Input((28, 28))]
    flat = keras.layers.Concatenate()([images[0], keras.layers.Flatten()(images[1])])
    path = save(keras.Model(images, keras.layers.Dense(10)(flat)), tmp_path / "m.keras")
    assert "must take one image, [n,784], [n,28,28] or [n,28,28,1], found [n,784] and [n,28,28]" in image_error(path)


def test_two_outputs(tmp_path):
    image = keras.Input((784,))
    path = save(keras.Model(image, [keras.layers.Dense(10)(image), keras.layers.Dense(1)(image)]), tmp_path / "m.keras")
    assert "must give ten values an image, [n,10], found [n,10] and [n,1]" in image_error(path)


def test_an_untrained_model_at_every_scale(tmp_path):
    keras.utils.set_random_seed(0)
    path = saved(tmp_path / "m.keras", keras.Input((784,)), keras.layers.Dense(32, "relu"), keras.layers.Dense(10))
    for scale in (None, *ValueRange):
        message = image_error(path, scale)
        assert "at least 80% of the drawn digits at a scale that --scale can name" in message
        assert all(f"{each}: " in message for each in ValueRange)


def test_sigmoids_are_neither_probabilities_nor_logits(keras_file):
    assert "found values in 0..1 with sums of" in image_error(keras_file(activation="sigmoid"))


def test_a_model_that_fails_on_a_batch_of_digits(tmp_path, build):
    image = keras.Input((None, None, 1))
    small = keras.layers.Reshape((784,))(keras.layers.MaxPooling2D()(image))
    path = save(keras.Model(image, build(shape=(784,))(small)), tmp_path / "m.keras")
    assert image_error(path).startswith("a model must run on a batch of digits, found")
