"""Repairs the configuration of a Keras model (`model_config` or `config.json`), so that Keras 3 can build it.

Each repair is a function over one `{"class_name", "config"}`. It returns what it was given if there is nothing to
repair, and may fail on a configuration of another shape, which is then left for Keras to refuse. No layer is built
here, and no code is run.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

JsonObject = dict[str, Any]

_MODELS = ("Sequential", "Functional", "Model")
_SEPARABLE = ("DepthwiseConv2D", "SeparableConv1D", "SeparableConv2D")
# TensorFlow's functions by the names in files -> Keras's activations that compute the same.
_ACTIVATIONS = {
    **dict.fromkeys(("softmax", "softmax_v2"), "softmax"),
    **dict.fromkeys(("log_softmax", "log_softmax_v2"), "log_softmax"),
    **dict.fromkeys(("silu", "swish"), "silu"),
    **{name: name for name in ("relu", "relu6", "elu", "selu", "sigmoid", "tanh", "softplus", "softsign", "gelu")},
    "leaky_relu": "leaky_relu",
}
# Operations on a tensor and a constant `c`, as the scale and offset of a Rescaling layer. The second table is for a
# constant on the left.
_Operation = Callable[[float], tuple[float, float]]
_OPERATIONS: dict[str, _Operation] = {
    **dict.fromkeys(("math.truediv", "math.divide", "RealDiv"), lambda c: (1 / c, 0.0)),
    **dict.fromkeys(("math.multiply", "Mul"), lambda c: (c, 0.0)),
    **dict.fromkeys(("math.subtract", "Sub"), lambda c: (1.0, -c)),
    **dict.fromkeys(("math.add", "__operators__.add", "AddV2", "Add"), lambda c: (1.0, c)),
}
_OPERATIONS_FROM_LEFT: dict[str, _Operation] = {
    **dict.fromkeys(("math.multiply", "Mul"), lambda c: (c, 0.0)),
    **dict.fromkeys(("math.subtract", "Sub"), lambda c: (-1.0, c)),
    **dict.fromkeys(("math.add", "__operators__.add", "AddV2", "Add"), lambda c: (1.0, c)),
}


@dataclass(frozen=True, slots=True)
class Repair:
    """A repair. text: what it does, for a person. versions: those that wrote what it repairs."""

    text: str
    versions: str
    apply: Callable[[JsonObject], JsonObject]


def repair_config(config: JsonObject) -> tuple[JsonObject, list[str]]:
    """Returns the configuration of a model in the form that Keras 3 builds, and the texts of the repairs made."""
    done: dict[str, None] = {}

    def repair(value: Any) -> Any:
        if isinstance(value, list):
            return [repair(item) for item in value]
        if not isinstance(value, dict):
            return value
        if isinstance(value.get("class_name"), str):
            for entry in REPAIRS:
                with suppress(AttributeError, IndexError, KeyError, TypeError, ValueError, ZeroDivisionError):
                    repaired = entry.apply(value)
                    if repaired != value:
                        value = repaired
                        done[f"{entry.text} ({entry.versions})"] = None
        return {key: repair(item) for key, item in value.items()}

    return repair(config), list(done)


def _change(layer: JsonObject, **changes: Any) -> JsonObject:
    """Returns the layer with changed keys of its inner configuration."""
    return {**layer, "config": {**layer["config"], **changes}}


def _drop(layer: JsonObject, *keys: str) -> JsonObject:
    return {**layer, "config": {key: value for key, value in layer["config"].items() if key not in keys}}


def _name_layer_list(layer: JsonObject) -> JsonObject:
    """Before Keras 2.2.3, the configuration of a Sequential was the list of its layers."""
    if layer["class_name"] == "Sequential" and isinstance(layer.get("config"), list):
        return {**layer, "config": {"name": "sequential", "layers": layer["config"]}}
    return layer


def _take_module_of_today(layer: JsonObject) -> JsonObject:
    """Keras 2.13 to 2.15 name the module `keras.src.engine.functional`, tf_keras its own."""
    if layer["class_name"] in _MODELS and "engine" in layer["module"]:
        place = "keras" if layer["class_name"] == "Sequential" else "keras.src.models.functional"
        return {**layer, "module": place, "registered_name": None}
    return layer


def _add_input_layer(layer: JsonObject) -> JsonObject:
    """TensorFlow 2.0 to 2.2 and Keras before 2.4 write the input's shape on the first layer of a Sequential.

    Keras 3.15 reads `batch_input_shape` on a first Dense as `input_shape`, builds (None, None, 784) and fails on the
    first call.
    """
    if layer["class_name"] != "Sequential":
        return layer
    layers = layer["config"]["layers"]
    if layers[0]["class_name"] in ("InputLayer", *_MODELS):  # a model as the first layer brings its own input
        return layer
    first = layers[0]["config"]
    shape = first.get("batch_input_shape") or first.get("batch_shape") or layer["config"]["build_input_shape"]
    # The names of layers in a file of weights do not depend on this one.
    input_layer = {"batch_shape": shape, "dtype": "float32", "name": f"{first.get('name', 'first')}_input"}
    return _change(layer, layers=[{"class_name": "InputLayer", "config": input_layer}, *layers])


def _move_input_shape(layer: JsonObject) -> JsonObject:
    """Keras 2 repeats the input's shape on the first layer, as `batch_input_shape`."""
    shape = layer["config"]["batch_input_shape"]
    moved = _drop(layer, "batch_input_shape")
    return _change(moved, batch_shape=shape) if layer["class_name"] == "InputLayer" else moved


def _free_batch_size(layer: JsonObject) -> JsonObject:
    """A model that was built by its first call has the size of that batch written into it. No weight depends on it."""
    changed = dict(layer)
    for place, keys in (("config", ("batch_shape", "build_input_shape")), ("build_config", ("input_shape",))):
        if isinstance(layer.get(place), dict):
            shapes = {key: layer[place][key] for key in keys if _has_fixed_batch(layer[place].get(key))}
            changed[place] = layer[place] | {key: [None, *shape[1:]] for key, shape in shapes.items()}
    return changed


def _has_fixed_batch(shape: Any) -> bool:
    return isinstance(shape, list) and len(shape) > 1 and isinstance(shape[0], int)


def _name_activation(layer: JsonObject) -> JsonObject:
    """`activation=tf.nn.softmax` is written by its name in TensorFlow, by Keras 3 as a function."""
    activation = layer["config"]["activation"]
    if activation == "softmax_v2":
        return _change(layer, activation="softmax")
    if activation["class_name"] == "function":
        return _change(layer, activation=_ACTIVATIONS[activation["config"]])
    return layer


def _name_dtype(layer: JsonObject) -> JsonObject:
    """TensorFlow 2.1 to 2.15 write a policy of mixed precision as an object of theirs."""
    dtype = layer["config"]["dtype"]
    return _change(layer, dtype=dtype["config"]["name"]) if dtype["class_name"] == "Policy" else layer


def _drop_initializer_dtype(layer: JsonObject) -> JsonObject:
    """TensorFlow 1 writes a dtype for each initializer. Initializers do not matter: the weights come from the file."""
    changes = {
        key: {**value, "config": {k: v for k, v in (value.get("config") or {}).items() if k != "dtype"}}
        for key, value in layer["config"].items()
        if key.endswith("_initializer") and isinstance(value, dict) and "module" not in value
    }
    return _change(layer, **changes)


def _drop_separable_keys(layer: JsonObject) -> JsonObject:
    """Keras 2 writes the keys of all convolutions for those that have no single kernel."""
    name = layer["class_name"]
    keys = ["kernel_initializer", "kernel_regularizer", "kernel_constraint"] if name in _SEPARABLE else []
    # Another number of groups changes what the layer computes, so it is left for Keras to refuse.
    if name in (*_SEPARABLE, "Conv2DTranspose") and layer["config"].get("groups") == 1:
        keys.append("groups")
    return _drop(layer, *keys)


def _drop_time_major(layer: JsonObject) -> JsonObject:
    """Keras 2 writes `time_major` for recurrent layers. True changes what they compute, so it is left."""
    return _drop(layer, "time_major") if layer["config"]["time_major"] is False else layer


def _drop_augmentation_keys(layer: JsonObject) -> JsonObject:
    """Keys of layers that do nothing when a model scores."""
    name = layer["class_name"]
    if not name.startswith("Random"):
        return layer
    takes_range = name in ("RandomBrightness", "RandomContrast") or "Color" in name or "Hue" in name
    return _drop(layer, "rng_type", *(() if takes_range else ("value_range",)))


def _rescale_by_layer(layer: JsonObject) -> JsonObject:
    """TensorFlow 2.0 to 2.15 write `x / 255.0` in a Functional model as an operation of TensorFlow."""
    if layer["class_name"] not in ("TFOpLambda", "TensorFlowOpLayer"):
        return layer
    scale, offset, source = _read_operation(layer)
    inner = {"name": layer["config"]["name"], "trainable": False, "dtype": "float32", "scale": scale, "offset": offset}
    return {
        "class_name": "Rescaling",
        "config": inner,
        "name": layer.get("name", inner["name"]),
        "inbound_nodes": [[[*source[:3], {}]]],
    }


def _read_operation(layer: JsonObject) -> tuple[float, float, Sequence[Any]]:
    """Returns scale, offset, and the node that the operation is applied to: the name of a layer and two numbers."""
    inner, node = layer["config"], layer["inbound_nodes"][0]
    if layer["class_name"] == "TensorFlowOpLayer":  # TensorFlow 2.0 to 2.3
        ((position, constant),) = inner["constants"].items()
        text = inner["node_def"] if isinstance(inner["node_def"], str) else json.dumps(inner["node_def"])
        name = re.findall(r'\bop"?: "(\w+)"', text)[0]
        table = _OPERATIONS_FROM_LEFT if int(position) == 0 else _OPERATIONS
        return *table[name](float(constant)), node[0]
    name, arguments = inner["function"], node[3]
    if node[0] == "_CONSTANT_VALUE":
        return *_OPERATIONS_FROM_LEFT[name](float(node[2])), arguments["y"]
    return *_OPERATIONS[name](float(arguments["y"])), node


# In this order: a repair may need the one before it.
REPAIRS = (
    Repair("list of layers named", "Keras before 2.2.3", _name_layer_list),
    Repair("module renamed", "Keras 2.13 to 2.15", _take_module_of_today),
    Repair("Input layer added", "Keras before 2.4, TensorFlow before 2.3", _add_input_layer),
    Repair("input shape moved", "Keras before 3", _move_input_shape),
    Repair("batch size freed", "all versions", _free_batch_size),
    Repair("activation named", "all versions", _name_activation),
    Repair("dtype named", "TensorFlow 2.1 to 2.15", _name_dtype),
    Repair("dtype of initializers dropped", "TensorFlow before 2.3", _drop_initializer_dtype),
    Repair("keys of separable convolutions dropped", "Keras before 3", _drop_separable_keys),
    Repair("time_major dropped", "Keras before 3", _drop_time_major),
    Repair("keys of augmentation dropped", "Keras 2.12 to 3", _drop_augmentation_keys),
    Repair("operation on a tensor replaced by Rescaling", "TensorFlow 2.0 to 2.15", _rescale_by_layer),
)
