"""Repairs Keras HDF5 files written by TensorFlow 2.2 to 2.15, so that Keras 3 can build them.

Only the architecture (the JSON in the attribute `model_config`) is repaired, in a copy. Weights are copied unchanged.
This module knows nothing of digits and builds no model. A configuration that it cannot repair is left for Keras to
refuse.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from mnist_batch.errors import ModelError
from mnist_batch.records import first_line

JsonObject = dict[str, Any]

# Keras 2 wrote `groups` for every convolution. Keras 3 accepts it only for layers where it can be other than 1.
_WITHOUT_GROUPS = ("DepthwiseConv2D", "SeparableConv1D", "SeparableConv2D", "Conv2DTranspose")
_MODELS = ("Sequential", "Functional", "Model")


def write_repaired_copy(source: Path, target: Path) -> None:
    """Copies the HDF5 file `source` to `target`, with a configuration that Keras 3 can build.

    Raises ModelError if the file is damaged or has no architecture, OSError if copying fails.
    """
    # Imported here because HDF5 takes a quarter of a second to start, and most models do not use it.
    import h5py

    shutil.copyfile(source, target)
    try:
        with h5py.File(target, "r+") as file:
            config = json.loads(_read_architecture(file, source))
            file.attrs["model_config"] = json.dumps(repair_config(config))
    except (OSError, RuntimeError, KeyError, ValueError) as error:
        raise ModelError(
            f"{source}: a Keras HDF5 file must be readable to its end, found {first_line(error)}; "
            "it was probably cut off while being copied: fetch it again"
        ) from error


def _read_architecture(file: Any, source: Path) -> str:
    config = file.attrs.get("model_config")
    if isinstance(config, bytes):
        config = config.decode()
    if isinstance(config, str) and config.startswith("{"):
        return config
    found = "weights only" if "layer_names" in file.attrs or "layers" in file else "none"
    raise ModelError(
        f"{source}: a model must hold its architecture (the HDF5 attribute model_config), found {found}: "
        "save it with model.save(), not save_weights()"
    )


def repair_config(config: JsonObject) -> JsonObject:
    """Returns a layer's or model's `{"class_name", "config"}` in the form that Keras 3 builds, nested models included.

    Keras 3.15 reads `batch_input_shape` on a first Dense as `input_shape`, builds (None, None, 784) and fails on the
    first call. Such a Sequential gets the InputLayer that TensorFlow 2.3 and later wrote.
    A batch size that was fixed for training is removed, because the weights do not depend on it.
    """
    inner = config.get("config")
    if not isinstance(inner, dict):  # before Keras 2.2.3, the config of a Sequential was its list of layers
        inner = {"name": "sequential", "layers": inner} if isinstance(inner, list) else {}
    inner = {key: _repair_value(key, value) for key, value in inner.items()}
    class_name = config.get("class_name")
    if class_name == "Sequential":
        inner = _add_input_layer(inner)
    if class_name in _MODELS:
        inner["layers"] = [repair_config(layer) for layer in inner.get("layers", [])]
    elif class_name != "InputLayer":
        inner.pop("batch_input_shape", None)
    if isinstance(inner.get("layer"), dict):  # a wrapper: TimeDistributed, Bidirectional
        inner["layer"] = repair_config(inner["layer"])
    # Any other value of these two changes what the layer computes, so it is left for Keras to refuse.
    if class_name in _WITHOUT_GROUPS and inner.get("groups") == 1:
        del inner["groups"]
    if inner.get("time_major") is False:
        del inner["time_major"]
    return {**config, "config": inner}


def _repair_value(key: str, value: Any) -> Any:
    if key in ("batch_input_shape", "batch_shape", "build_input_shape") and isinstance(value, list) and value:
        return [None, *value[1:]]
    if key == "dtype" and isinstance(value, dict) and value.get("class_name") == "Policy":
        return value["config"]["name"]
    if key.endswith("_initializer") and isinstance(value, dict) and "module" not in value:
        # TensorFlow 1 wrote a dtype for each initializer. Initializers do not matter: the weights come from the file.
        return {**value, "config": {k: v for k, v in (value.get("config") or {}).items() if k != "dtype"}}
    return "softmax" if key == "activation" and value == "softmax_v2" else value


def _add_input_layer(inner: JsonObject) -> JsonObject:
    layers = inner.get("layers") or []
    if not layers or layers[0].get("class_name") in ("InputLayer", *_MODELS):
        return inner  # a model as the first layer brings its own input
    first = layers[0]["config"]
    shape = first.get("batch_input_shape") or inner.get("build_input_shape")
    if not shape:
        return inner  # the file does not hold the shape; the shape check reports that
    input_config = {"batch_shape": [None, *shape[1:]], "dtype": "float32", "name": f"{first['name']}_input"}
    return {**inner, "layers": [{"class_name": "InputLayer", "config": input_config}, *layers]}
