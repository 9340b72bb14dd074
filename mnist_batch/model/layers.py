"""What the layers of a Keras model tell: a line for a person, and the weights that are fed the pixels themselves."""

from __future__ import annotations

from typing import Any

from mnist_batch.model.background import DenseWeights
from mnist_batch.records import IMAGE_SIDE

# Keys of a configuration that a person wants to see.
_SHOWN = ("filters", "units", "kernel_size", "pool_size", "rate", "scale", "activation")
# Layers that pass pixels on as they are.
_PASSING = ("InputLayer", "Flatten", "Reshape", "Dropout")


def list_layers(config: dict[str, Any]) -> str:
    """Returns the layers of a configuration that Keras has built a model from in one line, nested models included.

    Example: "Flatten, Dense(64, relu), Dense(10, softmax)".
    """
    texts = []
    for layer in config["config"]["layers"]:
        if "layers" in layer["config"]:
            texts.append(f"({list_layers(layer)})")
        elif layer["class_name"] != "InputLayer":
            texts.append(_describe_layer(layer))
    return ", ".join(texts)


def _describe_layer(layer: dict[str, Any]) -> str:
    values = [layer["config"].get(key) for key in _SHOWN]
    shown = [_format(value) for value in values if isinstance(value, (str, float, list)) or type(value) is int]
    shown = [text for text in shown if text != "linear"]
    return f"{layer['class_name']}({', '.join(shown)})" if shown else str(layer["class_name"])


def _format(value: str | float | list[int]) -> str:
    if isinstance(value, list):
        return "x".join(map(str, value))
    return value if isinstance(value, str) else f"{value:.4g}"


def find_first_dense(model: Any) -> DenseWeights | None:
    """Returns the weights of the dense layer that is fed the 784 pixels, None if the model has none.

    model: a Keras model. Layers between that change values, such as Rescaling, count as none.
    """
    for layer in model.layers:
        name = type(layer).__name__
        if name in _PASSING:
            continue
        if name == "Sequential":
            return find_first_dense(layer)
        if name != "Dense" or not layer.use_bias or layer.kernel.shape[0] != IMAGE_SIDE * IMAGE_SIDE:
            return None
        return DenseWeights(layer.kernel.numpy(), layer.bias.numpy())
    return None
