import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mnist_batch.config import Scale
from mnist_batch.model.card import OutputKind
from mnist_batch.model.legacy.config import repair_config
from mnist_batch.model.loading import load_model
from mnist_batch.records import Pixels
from model.h5_layouts import Layer, Layout, make_layers, write_functional_h5, write_h5
from model.perceptron import Perceptron
from model.saved_models import score

FLATTEN = Layer("Flatten", "flatten", {"data_format": "channels_last"})


def assert_computes(path: Path, network: Perceptron, digits: Pixels) -> None:
    model = load_model(path, None)
    assert model.scale is Scale.UNIT
    assert model.output is OutputKind.PROBABILITIES
    np.testing.assert_allclose(score(model, digits), network.probabilities(digits), atol=1e-5)


@pytest.mark.parametrize("layout", Layout)
@pytest.mark.parametrize("shape", [(784,), (28, 28), (28, 28, 1)])
def test_each_layout_computes_its_weights(
    layout: Layout, shape: tuple[int, ...], network: Perceptron, digits: Pixels, tmp_path: Path
) -> None:
    layers = make_layers(network, *([FLATTEN] if len(shape) > 1 else []))
    assert_computes(write_h5(tmp_path / "model_mnist.h5", layout, layers, (None, *shape)), network, digits)


def test_fixed_batch_size_is_freed(network: Perceptron, digits: Pixels, tmp_path: Path) -> None:
    identity = {"kernel": np.ones((1, 1, 1, 1), np.float32), "bias": np.zeros(1, np.float32)}
    config = {"filters": 1, "kernel_size": [1, 1], "strides": [1, 1], "padding": "valid", "groups": 1}
    layers = make_layers(network, Layer("Conv2D", "conv2d", config, identity), FLATTEN)
    assert_computes(write_h5(tmp_path / "m.h5", Layout.TF_2_2, layers, (32, 28, 28, 1)), network, digits)


def test_dropout_and_depthwise_conv_load(network: Perceptron, digits: Pixels, tmp_path: Path) -> None:
    identity = {"depthwise_kernel": np.ones((1, 1, 1, 1), np.float32), "bias": np.zeros(1, np.float32)}
    depthwise = Layer("DepthwiseConv2D", "depthwise", {"kernel_size": [1, 1], "groups": 1}, identity)
    dropout = Layer("Dropout", "dropout", {"rate": 0.9, "noise_shape": None, "seed": None})
    layers = make_layers(network, depthwise, FLATTEN, dropout)
    assert_computes(write_h5(tmp_path / "m.h5", Layout.TF_2_15, layers, (None, 28, 28, 1)), network, digits)


def test_tf_2_2_functional_model_loads(network: Perceptron, digits: Pixels, tmp_path: Path) -> None:
    path = write_functional_h5(tmp_path / "m.h5", make_layers(network, FLATTEN), (None, 28, 28))
    assert_computes(path, network, digits)


def test_softmax_v2_is_softmax(network: Perceptron, digits: Pixels, tmp_path: Path) -> None:
    # TensorFlow's name for the function if `activation=tf.nn.softmax` was given.
    layers = make_layers(network, activation="softmax_v2")
    assert_computes(write_h5(tmp_path / "m.h5", Layout.TF_2_15, layers, (None, 784)), network, digits)


def test_build_shape_becomes_input_layer() -> None:
    layer = {"class_name": "Dense", "config": {"name": "dense", "units": 10}}
    config = {"name": "sequential", "layers": [layer], "build_input_shape": [32, 784]}
    first = repair_config({"class_name": "Sequential", "config": config})[0]["config"]["layers"][0]
    assert first["class_name"] == "InputLayer"
    assert first["config"]["batch_shape"] == [None, 784]


def test_nested_model_is_repaired() -> None:
    layer = {"class_name": "Dense", "config": {"name": "dense", "units": 10, "batch_input_shape": [None, 784]}}
    inner = {"class_name": "Sequential", "config": {"name": "inner", "layers": [layer]}}
    outer, _ = repair_config({"class_name": "Sequential", "config": {"name": "outer", "layers": [inner]}})
    assert [layer["class_name"] for layer in outer["config"]["layers"]] == ["Sequential"]
    assert [layer["class_name"] for layer in outer["config"]["layers"][0]["config"]["layers"]] == [
        "InputLayer",
        "Dense",
    ]


def test_loading_leaves_files_unchanged(network: Perceptron, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (temporary := tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    path = write_h5(tmp_path / "m.h5", Layout.TF_2_2, make_layers(network), (None, 784))
    before = path.read_bytes()
    load_model(path, None)
    assert path.read_bytes() == before
    assert list(temporary.iterdir()) == []


def repaired(config: dict[str, Any], class_name: str = "Dense") -> dict[str, Any]:
    """The configuration of a layer after its repair."""
    return repair_config({"class_name": class_name, "config": config})[0]["config"]


@pytest.mark.parametrize(
    ("class_name", "config", "expected"),
    [
        ("DepthwiseConv2D", {"groups": 1}, {}),
        ("DepthwiseConv2D", {"groups": 2}, {"groups": 2}),
        ("SeparableConv2D", {"groups": 1}, {}),
        ("Conv2DTranspose", {"groups": 1}, {}),
        ("Conv2D", {"groups": 1}, {"groups": 1}),
        ("LSTM", {"time_major": False}, {}),
        ("LSTM", {"time_major": True}, {"time_major": True}),
        ("Dense", {"batch_input_shape": [None, 784], "units": 3}, {"units": 3}),
        ("InputLayer", {"batch_input_shape": [64, 784]}, {"batch_shape": [None, 784]}),
        ("InputLayer", {"batch_shape": [64, 28, 28]}, {"batch_shape": [None, 28, 28]}),
        ("Dense", {"batch_shape": []}, {"batch_shape": []}),
        ("Dense", {"dtype": {"class_name": "Policy", "config": {"name": "float16"}}}, {"dtype": "float16"}),
        (
            "Dense",
            {"dtype": {"class_name": "DTypePolicy", "config": {}}},
            {"dtype": {"class_name": "DTypePolicy", "config": {}}},
        ),
        ("Dense", {"activation": "softmax_v2"}, {"activation": "softmax"}),
        ("Dense", {"activation": "relu"}, {"activation": "relu"}),
        ("Dense", {"other": "softmax_v2"}, {"other": "softmax_v2"}),
        (
            "Dense",
            {"kernel_initializer": {"class_name": "Zeros", "config": {"dtype": "float32", "seed": 3}}},
            {"kernel_initializer": {"class_name": "Zeros", "config": {"seed": 3}}},
        ),
        (
            "Dense",
            {"kernel_initializer": {"module": "keras", "class_name": "Zeros", "config": {"dtype": "float32"}}},
            {"kernel_initializer": {"module": "keras", "class_name": "Zeros", "config": {"dtype": "float32"}}},
        ),
        (
            "Dense",
            {"bias_initializer": {"class_name": "Zeros", "config": None}},
            {"bias_initializer": {"class_name": "Zeros", "config": {}}},
        ),
        ("Dense", {"bias_initializer": "zeros"}, {"bias_initializer": "zeros"}),
    ],
)
def test_layer_is_repaired(class_name: str, config: dict[str, Any], expected: dict[str, Any]) -> None:
    assert repaired(config, class_name) == expected


def test_wrapped_layer_is_repaired() -> None:
    wrapped = {"layer": {"class_name": "LSTM", "config": {"time_major": False, "units": 4}}}
    assert repaired(wrapped, "Bidirectional") == {"layer": {"class_name": "LSTM", "config": {"units": 4}}}


def test_list_of_layers_is_a_sequential() -> None:
    layers = [{"class_name": "Flatten", "config": {"name": "flatten", "batch_input_shape": [32, 28, 28]}}]
    config = repair_config({"class_name": "Sequential", "config": layers})[0]["config"]
    assert config["name"] == "sequential"
    assert [layer["class_name"] for layer in config["layers"]] == ["InputLayer", "Flatten"]
    expected = {"batch_shape": [None, 28, 28], "dtype": "float32", "name": "flatten_input"}
    assert config["layers"][0]["config"] == expected
    assert config["layers"][1]["config"] == {"name": "flatten"}


@pytest.mark.parametrize(
    "first",
    [
        {"class_name": "InputLayer", "config": {"name": "in", "batch_shape": [None, 784]}},
        {"class_name": "Functional", "config": {"name": "inner", "layers": []}},
        {"class_name": "Dense", "config": {"name": "dense"}},  # the file does not hold the shape
    ],
)
def test_sequential_that_needs_no_input_layer_gets_none(first: dict[str, Any]) -> None:
    config = repaired({"name": "sequential", "layers": [first]}, "Sequential")
    assert config["layers"] == [first]
    assert repaired({"name": "empty"}, "Sequential") == {"name": "empty"}


@pytest.mark.parametrize("config", [None, "text", 7])
def test_configuration_of_another_type_is_left_for_keras(config: object) -> None:
    layer = {"class_name": "Dense", "config": config}
    assert repair_config(layer) == (layer, [])
