"""Each test writes one unusable model. It must be refused in one line that names the file and the reason."""

import json
import os
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import h5py
import keras
import pytest
import tensorflow as tf

from mnist_batch.config import Scale
from mnist_batch.errors import ModelError
from mnist_batch.model.loading import load_model
from model.h5_layouts import Layer, Layout, make_layers, write_h5, write_weights
from model.perceptron import Perceptron
from model.saved_models import BuildModel, SaveKeras, export, rewrite_members, save


def load_error(path: Path, scale: Scale | None = None) -> str:
    """The message with which loading fails, without the path that it begins with."""
    with pytest.raises(ModelError) as caught:
        load_model(path, scale)
    message = str(caught.value)
    assert caught.value.exit_code == 78
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    return message.removeprefix(f"{path}: ")


def save_layers(path: Path, *layers: keras.Layer) -> Path:
    return save(keras.Sequential(layers), path)


def test_missing_path(tmp_path: Path) -> None:
    assert "found nothing there" in load_error(tmp_path / "model.h5")


def test_pipe_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "model.h5")
    assert "found neither file nor folder" in load_error(tmp_path / "model.h5")


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"", "found an empty file"),
        (b"see the wiki for the model\n", "found text"),
        (b"text\n", "found text"),
        (b'{"class_name": "Sequential"}', "found the architecture of a Keras model without weights"),
        (b"\x08\x01\xff\x00 some protobuf", "found something else"),
    ],
)
def test_file_in_no_model_format(content: bytes, found: str, tmp_path: Path) -> None:
    path = tmp_path / "model.h5"
    path.write_bytes(content)
    message = load_error(path)
    assert message.startswith("a model must be a .keras or .h5 file, or a SavedModel folder")
    assert found in message


def test_folder_without_saved_model_pb(tmp_path: Path) -> None:
    assert "found a folder without saved_model.pb" in load_error(tmp_path)


@pytest.mark.parametrize(
    ("content", "found"), [(b"cut off", "a damaged saved_model.pb"), (b"", "none or several graphs")]
)
def test_damaged_saved_model(content: bytes, found: str, tmp_path: Path) -> None:
    (tmp_path / "saved_model.pb").write_bytes(content)
    assert load_error(tmp_path).startswith(f"a SavedModel must be complete, with known operations, found {found}")


def test_saved_model_without_signature(tmp_path: Path) -> None:
    tf.saved_model.save(tf.Module(), str(tmp_path / "m"))
    assert "serving_default or a single one, found none" in load_error(tmp_path / "m")


def test_saved_model_pb_instead_of_folder(build_model: BuildModel, tmp_path: Path) -> None:
    assert "found a part of a SavedModel: name the folder that it is in" in load_error(
        export(build_model(), tmp_path / "m") / "saved_model.pb"
    )


@pytest.mark.parametrize("kept", [0.3, 0.9])
def test_truncated_keras_file(kept: float, save_keras: SaveKeras) -> None:
    path = save_keras()
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * kept)])
    assert "probably cut off" in load_error(path)


@pytest.mark.parametrize("kept", [0.1, 0.9])
def test_truncated_h5_file(kept: float, network: Perceptron, tmp_path: Path) -> None:
    path = write_h5(tmp_path / "m.h5", Layout.TF_2_2, make_layers(network), (None, 784))
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * kept)])
    assert "probably cut off" in load_error(path)


def test_zip_without_keras_config(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "m.keras", "w") as archive:
        archive.writestr("weights.pt", b"")
    assert "found a zip without config.json" in load_error(tmp_path / "m.keras")


def test_weights_without_architecture(network: Perceptron, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "m.h5", "w") as file:
        write_weights(file, Layout.TF_2_2, make_layers(network))
    assert "found weights only: build the model in Python, load these weights" in load_error(tmp_path / "m.h5")


@pytest.mark.parametrize("name", ["m.keras", "m.h5"])
def test_lambda_layer(name: str, tmp_path: Path) -> None:
    doubling = keras.layers.Lambda(lambda x: x * 2, output_shape=(784,))
    message = load_error(save_layers(tmp_path / name, keras.Input((784,)), doubling, keras.layers.Dense(10)))
    assert "found a Lambda layer (Python code), which safe loading refuses" in message


def test_custom_layer_in_h5_file(network: Perceptron, tmp_path: Path) -> None:
    layers = make_layers(network, Layer("Scribble", "scribble"))
    assert "found 'Scribble', whose code is not in the file" in load_error(
        write_h5(tmp_path / "m.h5", Layout.TF_2_15, layers, (None, 784))
    )


def test_custom_layer_in_keras_file(save_keras: SaveKeras) -> None:
    def customize(name: str, content: bytes) -> bytes:
        if name != "config.json":
            return content
        config = json.loads(content)
        custom = {"module": "course.layers", "registered_name": "course>Scribble", "class_name": "Scribble"}
        config["config"]["layers"][1].update(custom)
        return json.dumps(config).encode()

    path = rewrite_members(save_keras(), customize)
    assert "found 'Scribble', whose code is not in the file" in load_error(path)


def test_weights_of_another_shape(network: Perceptron, tmp_path: Path) -> None:
    layers = make_layers(network)
    layers[1].weights["kernel"] = layers[1].weights["kernel"][:32]
    assert "this Keras can rebuild, found" in load_error(
        write_h5(tmp_path / "m.h5", Layout.TF_2_2, layers, (None, 784))
    )


def test_sequential_without_input_shape(tmp_path: Path) -> None:
    message = load_error(save_layers(tmp_path / "m.keras", keras.layers.Dense(10)))
    assert "must declare the shape of its input, found none" in message


@pytest.mark.parametrize(
    ("shape", "found"),
    [((224, 224, 3), "[n,224,224,3]"), ((28, 28, 4), "[n,28,28,4]"), ((30, 30), "[n,30,30]"), ((10,), "[n,10]")],
)
def test_input_of_another_shape(shape: tuple[int, ...], found: str, tmp_path: Path) -> None:
    path = save_layers(tmp_path / "m.keras", keras.Input(shape), keras.layers.Flatten(), keras.layers.Dense(10))
    assert f"must take one image, [n,784], [n,28,28] or [n,28,28,1], found {found}:" in load_error(path)


def test_input_of_fixed_batch_size(tmp_path: Path) -> None:
    path = export_function(tmp_path / "m", lambda x: x[:, :10], [32, 784])
    assert "for any n, found [32,784]: export it with a free batch size" in load_error(path)


def test_input_of_encoded_images(tmp_path: Path) -> None:
    image = keras.Input((784,), dtype="string")
    number = keras.layers.Hashing(num_bins=2)(image)
    path = save(keras.Model(image, keras.layers.Dense(10)(number)), tmp_path / "m.keras")
    assert "of numbers, found [n,784] of string" in load_error(path)


def export_function(path: Path, function: Callable[[tf.Tensor], tf.Tensor], shape: Sequence[int | None] | None) -> Path:
    """Exports a function of one float32 tensor as a SavedModel."""
    module = tf.Module()
    module.score = tf.function(function, input_signature=[tf.TensorSpec(shape, tf.float32)])
    tf.saved_model.save(module, path, signatures=module.score)
    return path


def test_input_of_unknown_rank(tmp_path: Path) -> None:
    path = export_function(tmp_path / "m", lambda x: tf.reshape(x, (-1, 784))[:, :10], None)
    assert "must take one image, [n,784], [n,28,28] or [n,28,28,1], found [?]" in load_error(path)


def test_output_that_is_one_number(tmp_path: Path) -> None:
    path = export_function(tmp_path / "m", tf.reduce_sum, [None, 784])
    assert "must give ten values per image, [n,10], found [?]" in load_error(path)


@pytest.mark.parametrize("width", [1, 11])
def test_output_of_another_width(width: int, tmp_path: Path) -> None:
    path = save_layers(tmp_path / "m.keras", keras.Input((784,)), keras.layers.Dense(width))
    assert f"must give ten values per image, [n,10], found [n,{width}]" in load_error(path)


def test_two_inputs(tmp_path: Path) -> None:
    images = [keras.Input((784,)), keras.Input((28, 28))]
    flat = keras.layers.Concatenate()([images[0], keras.layers.Flatten()(images[1])])
    path = save(keras.Model(images, keras.layers.Dense(10)(flat)), tmp_path / "m.keras")
    assert "must take one image, [n,784], [n,28,28] or [n,28,28,1], found [n,784] and [n,28,28]" in load_error(path)


def test_two_outputs(tmp_path: Path) -> None:
    image = keras.Input((784,))
    path = save(keras.Model(image, [keras.layers.Dense(10)(image), keras.layers.Dense(1)(image)]), tmp_path / "m.keras")
    assert "must give ten values per image, [n,10], found [n,10] and [n,1]" in load_error(path)


def test_untrained_model_at_every_scale(tmp_path: Path) -> None:
    keras.utils.set_random_seed(0)
    layers = [keras.Input((784,)), keras.layers.Dense(32, "relu"), keras.layers.Dense(10)]
    path = save_layers(tmp_path / "m.keras", *layers)
    for scale in (None, *Scale):
        message = load_error(path, scale)
        assert message.startswith("it must recognize at least 80% of the drawn digits, found ")
        assert message.endswith(": train it on upright digits 0 to 9")


def test_failure_on_a_batch_of_digits(tmp_path: Path, build_model: BuildModel) -> None:
    image = keras.Input((None, None, 1))
    small = keras.layers.Reshape((784,))(keras.layers.MaxPooling2D()(image))
    path = save(keras.Model(image, build_model(shape=(784,))(small)), tmp_path / "m.keras")
    assert load_error(path).startswith("a model must run on a batch of digits, found")
