"""Writes HDF5 model files like those of three generations of Keras, with h5py alone.

The layouts are copied from real files. TensorFlow 2.2 names no modules and puts `batch_input_shape` on the first layer.
TensorFlow 2.15 adds an InputLayer, modules and build configurations. Keras 3 writes `batch_shape` and dtype policies.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from model.perceptron import Perceptron


class Layout(Enum):
    TF_2_2 = "2.3.0-tf"
    TF_2_15 = "2.15.0"
    KERAS_3 = "3.15.1"


@dataclass(frozen=True)
class Layer:
    class_name: str
    name: str
    config: dict[str, Any] = field(default_factory=dict)
    weights: dict[str, np.ndarray] = field(default_factory=dict)


def make_dense(name: str, weights: tuple[np.ndarray, np.ndarray], activation: str) -> Layer:
    return Layer(
        "Dense",
        name,
        {"units": len(weights[1]), "activation": activation, "use_bias": True, "kernel_regularizer": None},
        {"kernel": weights[0], "bias": weights[1]},
    )


def make_layers(network: Perceptron, *first: Layer, activation: str = "softmax") -> list[Layer]:
    return [*first, make_dense("dense", network.hidden, "relu"), make_dense("dense_1", network.output, activation)]


def write_h5(path: Path, layout: Layout, layers: Sequence[Layer], input_shape: Sequence[int | None]) -> Path:
    """Writes a Sequential of `layers` for inputs of `input_shape`, batch included."""
    configs = [make_layer_config(layer, layout) for layer in layers]
    shape = list(input_shape)
    if layout is Layout.KERAS_3:
        configs.insert(0, {"class_name": "InputLayer", "config": {"batch_shape": shape, "name": "input_layer"}})
    else:
        configs[0]["config"]["batch_input_shape"] = shape
    if layout is Layout.TF_2_15:
        input_config = {
            "batch_input_shape": shape,
            "dtype": "float32",
            "sparse": False,
            "ragged": False,
            "name": "dense_input",
        }
        registration = {"module": "keras.layers", "registered_name": None}
        configs.insert(0, {**registration, "class_name": "InputLayer", "config": input_config})
    model = {"class_name": "Sequential", "config": {"name": "sequential", "layers": configs}}
    return write_config_and_weights(path, layout, model, layers)


def write_functional_h5(path: Path, layers: Sequence[Layer], input_shape: Sequence[int | None]) -> Path:
    """Writes a chain of `layers` built with `tf.keras.Model(inputs, outputs)`, as TensorFlow 2.2 did."""
    config = {
        "batch_input_shape": list(input_shape),
        "dtype": "float32",
        "sparse": False,
        "ragged": False,
        "name": "in",
    }
    nodes: list[dict[str, Any]] = [{"class_name": "InputLayer", "config": config, "name": "in", "inbound_nodes": []}]
    for layer in layers:
        inbound = [[[nodes[-1]["name"], 0, 0, {}]]]
        nodes.append({**make_layer_config(layer, Layout.TF_2_2), "name": layer.name, "inbound_nodes": inbound})
    ends = {"input_layers": [["in", 0, 0]], "output_layers": [[layers[-1].name, 0, 0]]}
    model = {"class_name": "Model", "config": {"name": "model", "layers": nodes, **ends}}
    return write_config_and_weights(path, Layout.TF_2_2, model, layers)


def make_layer_config(layer: Layer, layout: Layout) -> dict[str, Any]:
    inner = {"name": layer.name, "trainable": True, "dtype": "float32", **layer.config}
    if "kernel" in layer.weights:
        inner["bias_initializer"] = {"class_name": "Zeros", "config": {}}
        inner["kernel_initializer"] = {"class_name": "GlorotUniform", "config": {"seed": None}}
    if layout is Layout.TF_2_15:
        for key in ("bias_initializer", "kernel_initializer"):
            if key in inner:
                inner[key] = {"module": "keras.initializers", "registered_name": None, **inner[key]}
        registration = {"module": "keras.layers", "registered_name": None}
        build_config = (
            {"build_config": {"input_shape": [None, len(layer.weights["kernel"])]}}
            if layer.class_name == "Dense"
            else {}
        )
        return {**registration, "class_name": layer.class_name, "config": inner, **build_config}
    if layout is Layout.KERAS_3:
        inner["dtype"] = {"module": "keras", "class_name": "DTypePolicy", "config": {"name": "float32"}}
    return {"class_name": layer.class_name, "config": inner}


def write_config_and_weights(path: Path, layout: Layout, model: dict[str, Any], layers: Sequence[Layer]) -> Path:
    with h5py.File(path, "w") as file:
        config = json.dumps(model)
        file.attrs["model_config"] = config.encode() if layout is Layout.TF_2_2 else config
        file.attrs["keras_version"] = layout.value
        file.attrs["backend"] = "tensorflow"
        # RMSprop(lr=) no longer exists, so compiling this model fails.
        optimizer = {"class_name": "RMSprop", "config": {"name": "RMSprop", "lr": 0.001, "rho": 0.9, "decay": 0.0}}
        training = {"loss": "categorical_crossentropy", "metrics": ["accuracy"], "optimizer_config": optimizer}
        file.attrs["training_config"] = json.dumps(training).encode()
        write_weights(file.create_group("model_weights"), layout, layers)
    return path


def write_weights(group: h5py.Group, layout: Layout, layers: Sequence[Layer]) -> None:
    """Writes what `save_weights` wrote to the root of a file, and `save` to its group `model_weights`."""
    prefix, suffix = ("sequential/", "") if layout is Layout.KERAS_3 else ("", ":0")
    group.attrs["layer_names"] = [layer.name.encode() for layer in layers]
    group.attrs["keras_version"] = layout.value.encode()
    group.attrs["backend"] = b"tensorflow"
    for layer in layers:
        datasets = {f"{prefix}{layer.name}/{name}{suffix}": values for name, values in layer.weights.items()}
        folder = group.create_group(layer.name)
        folder.attrs["weight_names"] = [name.encode() for name in datasets]
        for name, values in datasets.items():
            folder.create_dataset(name, data=values)
    if layout is not Layout.TF_2_2:
        group.create_group("top_level_model_weights").attrs["weight_names"] = np.array([], dtype="S1")
