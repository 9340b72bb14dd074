import tempfile
from pathlib import Path

import numpy as np
import pytest

from mnist_batch.config import ValueRange
from mnist_batch.model.card import OutputKind
from mnist_batch.model.legacy_h5 import repair_config
from mnist_batch.model.loading import load_model
from model.h5_layouts import Layer, Layout, layers_of, write_functional_h5, write_h5
from model.perceptron import Perceptron
from model.saved_models import scored

FLATTEN = Layer("Flatten", "flatten", {"data_format": "channels_last"})


def assert_computes(path: Path, network: Perceptron, digits: np.ndarray) -> None:
    model = load_model(path, None)
    assert model.scale is ValueRange.UNIT
    assert model.output is OutputKind.PROBABILITIES
    np.testing.assert_allclose(scored(model, digits), network.probabilities(digits), atol=1e-5)


@pytest.mark.parametrize("layout", Layout)
@pytest.mark.parametrize("shape", [(784,), (28, 28), (28, 28, 1)])
def test_each_layout_gives_what_its_weights_compute(layout, shape, network, digits, tmp_path):
    layers = layers_of(network, *([FLATTEN] if len(shape) > 1 else []))
    assert_computes(write_h5(tmp_path / "model_mnist.h5", layout, layers, (None, *shape)), network, digits)


def test_a_tensorflow_2_2_convolution_with_a_fixed_batch_takes_any_number_of_images(network, digits, tmp_path):
    same = {"kernel": np.ones((1, 1, 1, 1), np.float32), "bias": np.zeros(1, np.float32)}
    form = {"filters": 1, "kernel_size": [1, 1], "strides": [1, 1], "padding": "valid", "groups": 1}
    layers = layers_of(network, Layer("Conv2D", "conv2d", form, same), FLATTEN)
    assert_computes(write_h5(tmp_path / "m.h5", Layout.TF_2_2, layers, (32, 28, 28, 1)), network, digits)


def test_dropout_does_nothing_and_depthwise_groups_are_taken_for_granted(network, digits, tmp_path):
    same = {"depthwise_kernel": np.ones((1, 1, 1, 1), np.float32), "bias": np.zeros(1, np.float32)}
    depthwise = Layer("DepthwiseConv2D", "depthwise", {"kernel_size": [1, 1], "groups": 1}, same)
    dropout = Layer("Dropout", "dropout", {"rate": 0.9, "noise_shape": None, "seed": None})
    layers = layers_of(network, depthwise, FLATTEN, dropout)
    assert_computes(write_h5(tmp_path / "m.h5", Layout.TF_2_15, layers, (None, 28, 28, 1)), network, digits)


def test_the_functional_models_of_tensorflow_2_2_load(network, digits, tmp_path):
    path = write_functional_h5(tmp_path / "m.h5", layers_of(network, FLATTEN), (None, 28, 28))
    assert_computes(path, network, digits)


def test_an_activation_passed_as_tf_nn_softmax_is_softmax(network, digits, tmp_path):
    layers = layers_of(network, activation="softmax_v2")
    assert_computes(write_h5(tmp_path / "m.h5", Layout.TF_2_15, layers, (None, 784)), network, digits)


def test_a_sequential_that_was_built_on_its_first_batch_gets_its_input_from_there():
    layer = {"class_name": "Dense", "config": {"name": "dense", "units": 10}}
    config = {"name": "sequential", "layers": [layer], "build_input_shape": [32, 784]}
    first = repair_config({"class_name": "Sequential", "config": config})["config"]["layers"][0]
    assert first["class_name"] == "InputLayer"
    assert first["config"]["batch_shape"] == [None, 784]


def test_a_model_inside_a_model_is_repaired_too():
    layer = {"class_name": "Dense", "config": {"name": "dense", "units": 10, "batch_input_shape": [None, 784]}}
    inner = {"class_name": "Sequential", "config": {"name": "inner", "layers": [layer]}}
    outer = repair_config({"class_name": "Sequential", "config": {"name": "outer", "layers": [inner]}})
    assert [layer["class_name"] for layer in outer["config"]["layers"]] == ["Sequential"]
    assert [layer["class_name"] for layer in outer["config"]["layers"][0]["config"]["layers"]] == [
        "InputLayer",
        "Dense",
    ]


def test_the_file_is_left_alone_and_nothing_stays_in_the_temporary_folder(network, tmp_path, monkeypatch):
    (temporary := tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    path = write_h5(tmp_path / "m.h5", Layout.TF_2_2, layers_of(network), (None, 784))
    before = path.read_bytes()
    load_model(path, None)
    assert path.read_bytes() == before
    assert list(temporary.iterdir()) == []
