"""Files of earlier versions are repaired in a copy, and then compute what their weights say.

The files are made from those of today's Keras, changed to what earlier versions wrote.
`test_field_models.py` has files that Keras 2 itself writes.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from mnist_batch.errors import ModelError
from mnist_batch.model.legacy.config import REPAIRS, repair_config
from mnist_batch.model.loading import LoadedModel, load_model
from mnist_batch.records import Pixels
from model.perceptron import Perceptron
from model.saved_models import BuildModel, SaveKeras, export, rewrite_members, save, score

JsonObject = dict[str, Any]


def assert_computes(model: LoadedModel, network: Perceptron, digits: Pixels) -> None:
    np.testing.assert_allclose(score(model, digits), network.probabilities(digits), atol=1e-5)


def to_keras_2(name: str, content: bytes) -> bytes:
    """Changes a member of a `.keras` file of Keras 3 to what Keras 2.15 writes."""
    if name == "metadata.json":
        return json.dumps({"keras_version": "2.15.0", "date_saved": "2024-02-01@10:00:00"}).encode()
    if name != "config.json":
        return content
    config = json.loads(content)
    for layer in config["config"]["layers"]:
        if layer["class_name"] == "InputLayer":
            layer["config"]["batch_input_shape"] = layer["config"].pop("batch_shape")
        layer["config"]["dtype"] = "float32"
    if config["class_name"] == "Functional":
        config |= {"module": "keras.src.engine.functional", "registered_name": "Functional"}
    return json.dumps(config).encode()


def to_windows(name: str, content: bytes) -> bytes:
    """What `to_keras_2` does, and names groups of weights as Keras 2 on Windows does."""
    if name != "model.weights.h5":
        return to_keras_2(name, content)
    buffer = io.BytesIO(content)
    with h5py.File(buffer, "r+") as file:
        for group in list(file["layers"]):
            file.move(f"layers/{group}", f"layers\\{group}")
        del file["layers"]
    return buffer.getvalue()


@pytest.mark.parametrize("change", [to_keras_2, to_windows])
@pytest.mark.parametrize("functional", [False, True])
def test_keras_file_of_keras_2(
    change: Callable[[str, bytes], bytes],
    functional: bool,
    build_model: BuildModel,
    network: Perceptron,
    digits: Pixels,
    tmp_path: Path,
) -> None:
    model = build_model()
    if functional:
        image = keras.Input((28, 28))
        values: Any = image
        for layer in model.layers:
            values = layer(values)
        model = keras.Model(image, values)
    path = rewrite_members(save(model, tmp_path / "m.keras"), change)
    before = path.read_bytes()
    loaded = load_model(path, None)
    assert_computes(loaded, network, digits)
    assert loaded.opened.form == ".keras file of Keras 2.15.0"
    assert "input shape moved (Keras before 3)" in loaded.opened.repairs
    is_renamed = "groups of weights renamed (Keras 2.12 to 2.15 on Windows)" in loaded.opened.repairs
    assert is_renamed == (change is to_windows)
    assert path.read_bytes() == before


@pytest.mark.parametrize("name", ["m.keras", "m.h5"])
def test_model_built_by_its_first_call(name: str, network: Perceptron, digits: Pixels, tmp_path: Path) -> None:
    # Without an Input layer, the size of the batch is written in. `tf.nn.softmax` is named softmax_v2.
    layers = [keras.layers.Dense(64, tf.nn.relu), keras.layers.Dense(10, tf.nn.softmax)]
    model = keras.Sequential([keras.layers.Flatten(), *layers])
    model(np.zeros((32, 28, 28), np.float32))
    for layer, weights in zip(layers, (network.hidden, network.output), strict=True):
        layer.set_weights(weights)
    loaded = load_model(save(model, tmp_path / name), None)
    assert_computes(loaded, network, digits)
    assert loaded.opened.repairs == ["batch size freed (all versions)", "activation named (all versions)"]
    assert loaded.opened.layers == "Flatten, Dense(64, relu), Dense(10, softmax)"


def test_file_that_needs_no_repair_has_none(save_keras: SaveKeras) -> None:
    assert load_model(save_keras(), None).opened.repairs == []


def add_slots(path: Path) -> None:
    """Adds what TensorFlow 2.0 to 2.10 wrote for an optimizer with a slot for each variable."""
    model = saved_model_pb2.SavedModel()
    model.ParseFromString((path / "saved_model.pb").read_bytes())
    nodes = model.meta_graphs[0].object_graph_def.nodes
    variable = next(index for index, node in enumerate(nodes) if node.HasField("variable"))
    slot = nodes.add()
    slot.CopyFrom(nodes[variable])
    optimizer = nodes.add()
    optimizer.user_object.identifier = "optimizer"
    optimizer.user_object.version.producer = 1
    entry = optimizer.slot_variables.add()
    entry.original_variable_node_id, entry.slot_name, entry.slot_variable_node_id = variable, "m", len(nodes) - 2
    nodes[0].children.add(node_id=len(nodes) - 1, local_name="optimizer")
    (path / "saved_model.pb").write_bytes(model.SerializeToString())


def test_saved_model_with_slots(build_model: BuildModel, network: Perceptron, digits: Pixels, tmp_path: Path) -> None:
    path = export(build_model(), tmp_path / "m")
    add_slots(path)
    # "no attribute 'add_slot'", or where a library has registered an optimizer, variables without a value.
    with pytest.raises((AttributeError, AssertionError), match=r"add_slot|not bound to checkpointed values"):
        tf.saved_model.load(str(path))
    before = {file: file.read_bytes() for file in path.rglob("*") if file.is_file()}
    loaded = load_model(path, None)
    assert_computes(loaded, network, digits)
    assert loaded.opened.repairs == ["slots of the optimizer dropped (TensorFlow 2.0 to 2.10)"]
    assert {file: file.read_bytes() for file in path.rglob("*") if file.is_file()} == before


def test_saved_model_without_its_variables(build_model: BuildModel, tmp_path: Path) -> None:
    path = export(build_model(), tmp_path / "m")
    next(path.glob("variables/variables.data-*")).unlink()
    with pytest.raises(ModelError, match=r"found no variables/variables\.data-\* beside variables\.index: export it"):
        load_model(path, None)


def operation(class_name: str, inner: JsonObject, node: list[Any]) -> JsonObject:
    return {"class_name": class_name, "config": {"name": "op", **inner}, "name": "op", "inbound_nodes": [node]}


INPUT = ["input", 0, 0]


@pytest.mark.parametrize(
    ("layer", "scale", "offset"),
    [
        (operation("TFOpLambda", {"function": "math.truediv"}, [*INPUT, {"y": 255.0, "name": None}]), 1 / 255, 0),
        (operation("TFOpLambda", {"function": "math.divide"}, [*INPUT, {"y": 2}]), 0.5, 0),
        (operation("TFOpLambda", {"function": "math.multiply"}, [*INPUT, {"y": 2.0}]), 2, 0),
        (operation("TFOpLambda", {"function": "math.subtract"}, [*INPUT, {"y": 3.0}]), 1, -3),
        (operation("TFOpLambda", {"function": "__operators__.add"}, [*INPUT, {"y": 3.0}]), 1, 3),
        (operation("TFOpLambda", {"function": "math.subtract"}, ["_CONSTANT_VALUE", -1, 1.0, {"y": INPUT}]), -1, 1),
        (operation("TFOpLambda", {"function": "math.multiply"}, ["_CONSTANT_VALUE", -1, 4.0, {"y": INPUT}]), 4, 0),
        (
            operation(
                "TensorFlowOpLayer",
                {"node_def": 'name: "truediv"\nop: "RealDiv"\n', "constants": {"1": 255.0}},
                [INPUT],
            ),
            1 / 255,
            0,
        ),
        (
            operation("TensorFlowOpLayer", {"node_def": 'name: "sub"\nop: "Sub"\n', "constants": {"0": 1.0}}, [INPUT]),
            -1,
            1,
        ),
    ],
)
def test_operation_with_a_constant_is_a_rescaling(layer: JsonObject, scale: float, offset: float) -> None:
    repaired, repairs = repair_config(layer)
    assert repaired["class_name"] == "Rescaling"
    assert (repaired["config"]["scale"], repaired["config"]["offset"]) == (scale, offset)
    assert (repaired["name"], repaired["inbound_nodes"]) == ("op", [[[*INPUT, {}]]])
    assert repairs == ["operation on a tensor replaced by Rescaling (TensorFlow 2.0 to 2.15)"]


@pytest.mark.parametrize(
    "layer",
    [
        operation("TFOpLambda", {"function": "math.truediv"}, ["_CONSTANT_VALUE", -1, 1.0, {"y": INPUT}]),  # 1 / x
        operation("TFOpLambda", {"function": "math.pow"}, [*INPUT, {"y": 2.0}]),
        operation("TFOpLambda", {"function": "math.truediv"}, [*INPUT, {"y": 0.0}]),
        operation("TFOpLambda", {"function": "math.multiply"}, [*INPUT, {"y": ["other", 0, 0]}]),
        operation("TFOpLambda", {"function": "math.multiply"}, []),
    ],
)
def test_other_operation_is_left_for_keras(layer: JsonObject) -> None:
    assert repair_config(layer) == (layer, [])


@pytest.mark.parametrize(
    ("class_name", "config", "expected"),
    [
        ("SeparableConv2D", {"kernel_initializer": None, "kernel_size": [3, 3]}, {"kernel_size": [3, 3]}),
        ("Conv2D", {"kernel_regularizer": None}, {"kernel_regularizer": None}),
        ("RandomRotation", {"value_range": [0, 1], "rng_type": None, "factor": 0.1}, {"factor": 0.1}),
        ("RandomContrast", {"value_range": [0, 1], "rng_type": None}, {"value_range": [0, 1]}),
        ("Dense", {"activation": {"class_name": "function", "config": "relu6"}}, {"activation": "relu6"}),
        (
            "Dense",
            {"activation": {"class_name": "function", "config": "mine"}},
            {"activation": {"class_name": "function", "config": "mine"}},
        ),
    ],
)
def test_keys_that_keras_3_does_not_know(class_name: str, config: JsonObject, expected: JsonObject) -> None:
    assert repair_config({"class_name": class_name, "config": config})[0]["config"] == expected


def test_shape_in_the_build_configuration_is_freed() -> None:
    layer = {"class_name": "Dense", "config": {}, "build_config": {"input_shape": [64, 784]}}
    assert repair_config(layer)[0]["build_config"] == {"input_shape": [None, 784]}


def test_each_repair_names_its_versions() -> None:
    assert len({repair.text for repair in REPAIRS}) == len(REPAIRS)
    assert all(repair.versions and repair.apply.__doc__ for repair in REPAIRS)
